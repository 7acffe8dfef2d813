/* host.h: what a plugin may ask of the host. */
#ifndef DMSAE_HOST_H
#define DMSAE_HOST_H

#include "types.h"

DMSAE_BEGIN

/* Who is loading the plugin. Grows at its end. */
typedef struct dmsae_host_info {
    uint32_t struct_size;
    uint32_t abi_major; /* the host's own version, DMSAE-VERSION-01 */
    uint32_t abi_minor;
    uint32_t reserved;
    const char *name;    /* "dmsae"; UTF-8, the host's, valid until the entry function returns */
    const char *version; /* the program's version; as name */
    /* Since 0.3: where an entry function that returns null says why: [error_capacity] the host's, first byte 0, valid until
     * the entry function returns; null if error_capacity is 0. DMSAE-ENTRY-08. */
    char *DMSAE_NULLABLE error;
    uint64_t error_capacity; /* bytes, the ending zero byte included */
} dmsae_host_info;
#define DMSAE_HOST_INFO_SIZE_V0 32u

/* The host, as one instance sees it. Valid from its create until its destroy has returned. Grows at its end. */
struct dmsae_host {
    uint32_t struct_size;
    uint32_t reserved;
    void *DMSAE_NULLABLE context; /* the host's; a plugin does not touch it */

    /* The table behind an id, or null if this host does not have it.
     * [any] [created], and within create
     * Ownership: the table is the host's, valid as long as the host; the same pointer each time.
     * Errors: none; null is an answer, not a failure.  Since: 0.0
     *
     * DMSAE-HOST-01  A plugin works, with less comfort, where a service is missing, or returns DMSAE_ERR_UNSUPPORTED
     *                from create naming the id it cannot do without. */
    const void *DMSAE_NULLABLE (*DMSAE_NONNULL get_extension)(const dmsae_host *host, const char *id);
};
#define DMSAE_HOST_SIZE_V0 24u

/* ---- dmsae.log/1 ------------------------------------------------------------------------------------------------ */
#define DMSAE_LOG "dmsae.log/1"

DMSAE_ENUM(dmsae_log_level) {
    DMSAE_LOG_DEBUG = 1,
    DMSAE_LOG_INFO = 2,
    DMSAE_LOG_WARNING = 3,
    DMSAE_LOG_ERROR = 4,
    DMSAE_LOG_HOST_MISBEHAVING = 5 /* the host broke a rule of these headers: name the rule */
};

/* Frozen. */
typedef struct dmsae_host_log {
    uint32_t struct_size;
    uint32_t reserved;

    /* Passes one line to the user's log.
     * [any] [created], and within create
     * Ownership: `message` is the plugin's, UTF-8, and is copied.
     * Errors: none.  Since: 0.0
     *
     * DMSAE-HOST-02  A plugin never writes to standard output or standard error itself: they belong to the program. */
    void (*log)(const dmsae_host *host, dmsae_log_level level, const char *message);
} dmsae_host_log;

/* ---- dmsae.cancel/1 --------------------------------------------------------------------------------------------- */
#define DMSAE_CANCEL "dmsae.cancel/1"

/* Frozen. */
typedef struct dmsae_host_cancel {
    uint32_t struct_size;
    uint32_t reserved;

    /* Not 0 once the user wants the running call to stop. Cheap: a load and a compare.
     * [any] [created]
     * Errors: none.  Since: 0.0
     *
     * DMSAE-HOST-03  A call that may take longer than 50 ms asks at least that often; it stops with DMSAE_CANCELLED. */
    int32_t (*is_cancelled)(const dmsae_host *host);
} dmsae_host_cancel;

DMSAE_END

#endif
