#ifndef DMSAE_CURL_SHIM_H
#define DMSAE_CURL_SHIM_H

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

/// What is used of libcurl 7.66 or newer, by C types written down here. Loaded where something is asked for over HTTP, and not linked: no
/// other command needs it, and a program that is packed with its libraries would have to bring two dozen of them.
struct dmsae_curl {
    int (*global_init)(long);
    const char *(*version)(void);
    void *(*easy_init)(void);
    void (*easy_cleanup)(void *);
    const char *(*easy_strerror)(int);
    void *(*multi_init)(void);
    int (*multi_add)(void *, void *);
    int (*multi_remove)(void *, void *);
    int (*multi_perform)(void *, int *);
    int (*multi_poll)(void *, void *, unsigned, int, int *);
    int (*multi_cleanup)(void *);
    void *(*slist_append)(void *, const char *);
    void (*slist_free)(void *);
    /// Variadic, which Swift cannot call: see below.
    int (*easy_setopt)(void *, int, ...);
    int (*easy_getinfo)(void *, int, ...);
    struct dmsae_curl_message *(*multi_info_read)(void *, int *);
};

/// CURLMsg.
struct dmsae_curl_message {
    int message;
    void *handle;
    union {
        void *whatever;
        int result;
    } data;
};

// curl.h's numbers; they are its ABI and do not change.
#define DMSAE_CURL_GLOBAL_ALL 3L
#define DMSAE_CURL_DONE 1
#define DMSAE_CURL_WRITEDATA 10001
#define DMSAE_CURL_URL 10002
#define DMSAE_CURL_POSTFIELDS 10015
#define DMSAE_CURL_USERAGENT 10018
#define DMSAE_CURL_HTTPHEADER 10023
#define DMSAE_CURL_HEADERDATA 10029
#define DMSAE_CURL_POSTFIELDSIZE 60
#define DMSAE_CURL_NOSIGNAL 99
#define DMSAE_CURL_PRIVATE 10103
#define DMSAE_CURL_TIMEOUT_MS 155
#define DMSAE_CURL_CONNECTTIMEOUT_MS 156
#define DMSAE_CURL_NOPROXY 10177
#define DMSAE_CURL_PROTOCOLS 181
#define DMSAE_CURL_WRITEFUNCTION 20011
#define DMSAE_CURL_HEADERFUNCTION 20079
#define DMSAE_CURL_PROTOCOLS_HTTP_HTTPS 3L
#define DMSAE_CURL_INFO_RESPONSE_CODE 0x200002
#define DMSAE_CURL_INFO_PRIVATE 0x100015

/// Bytes that came in, or a line of the head; returns how many it took.
typedef size_t (*dmsae_curl_sink)(char *bytes, size_t size, size_t count, void *context);

/// Loads it. NULL, or why not.
static inline const char *dmsae_curl_load(struct dmsae_curl *curl) {
    static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4", "libcurl-nss.so.4"};
    void *library = NULL;
    for (size_t i = 0; !library && i < sizeof names / sizeof *names; i++) library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (!library) return "there is no libcurl.so.4";
    memset(curl, 0, sizeof *curl);
    const struct {
        void *place;
        const char *name;
    } wanted[] = {
        {&curl->global_init, "curl_global_init"},     {&curl->version, "curl_version"},
        {&curl->easy_init, "curl_easy_init"},         {&curl->easy_cleanup, "curl_easy_cleanup"},
        {&curl->easy_strerror, "curl_easy_strerror"}, {&curl->multi_init, "curl_multi_init"},
        {&curl->multi_add, "curl_multi_add_handle"},  {&curl->multi_remove, "curl_multi_remove_handle"},
        {&curl->multi_perform, "curl_multi_perform"}, {&curl->multi_poll, "curl_multi_poll"},
        {&curl->multi_cleanup, "curl_multi_cleanup"}, {&curl->slist_append, "curl_slist_append"},
        {&curl->slist_free, "curl_slist_free_all"},   {&curl->easy_setopt, "curl_easy_setopt"},
        {&curl->easy_getinfo, "curl_easy_getinfo"},   {&curl->multi_info_read, "curl_multi_info_read"},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        void *function = dlsym(library, wanted[i].name);
        if (!function) return "libcurl.so.4 is older than 7.66";
        memcpy(wanted[i].place, &function, sizeof function);
    }
    return NULL;
}

static inline int dmsae_curl_set_number(const struct dmsae_curl *curl, void *easy, int option, long value) {
    return curl->easy_setopt(easy, option, value);
}

static inline int dmsae_curl_set_pointer(const struct dmsae_curl *curl, void *easy, int option, const void *value) {
    return curl->easy_setopt(easy, option, value);
}

static inline int dmsae_curl_set_sink(const struct dmsae_curl *curl, void *easy, int option, dmsae_curl_sink sink) {
    return curl->easy_setopt(easy, option, sink);
}

static inline long dmsae_curl_status(const struct dmsae_curl *curl, void *easy) {
    long status = 0;
    curl->easy_getinfo(easy, DMSAE_CURL_INFO_RESPONSE_CODE, &status);
    return status;
}

static inline void *dmsae_curl_private(const struct dmsae_curl *curl, void *easy) {
    void *context = NULL;
    curl->easy_getinfo(easy, DMSAE_CURL_INFO_PRIVATE, &context);
    return context;
}

#endif
