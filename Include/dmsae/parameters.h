/* parameters.h: the settings a plugin takes, described, so that a host can check them, print help and write records.
 *
 * Since 0.1. A dmsae_descriptor points at these. What a user writes as `scorer.so,seed=7,mode=signed` reaches create as
 * dmsae_parameter pairs of texts.
 */
#ifndef DMSAE_PARAMETERS_H
#define DMSAE_PARAMETERS_H

#include "types.h"

DMSAE_BEGIN

/* How a value is written and read. */
DMSAE_ENUM(dmsae_parameter_type) {
    DMSAE_PARAMETER_BOOL = 1,    /* "true" or "false" */
    DMSAE_PARAMETER_INTEGER = 2, /* decimal digits with an optional leading '-', in -2^63 .. 2^63 - 1 */
    DMSAE_PARAMETER_NUMBER = 3,  /* what C's strtod reads in the C locale, whole, finite */
    DMSAE_PARAMETER_CHOICE = 4,  /* one of `choices`, letter for letter */
    DMSAE_PARAMETER_TEXT = 5,    /* any UTF-8 without ',' */
    DMSAE_PARAMETER_PATH = 6     /* as text; the host makes it absolute */
};

/* The value changes no result: it is kept out of what says whether two runs are the same. */
#define DMSAE_PARAMETER_COSMETIC 0x1ull
/* Shown in the long help only. */
#define DMSAE_PARAMETER_ADVANCED 0x2ull
/* The value is a list: DMSAE-PARAM-05. Since 0.3; older hosts take the value for one of its type, and refuse several. */
#define DMSAE_PARAMETER_LIST 0x4ull

/* One setting. The plugin's, valid until the process ends. Grows at its end.
 *
 * DMSAE-PARAM-01  `key`: characters a-z, 0-9, '-', '_', '.', at least one, unique in the plugin; `description` is not
 *                 empty.
 * DMSAE-PARAM-02  A default is a legal value. The range of integers and numbers is minimum <= value <= maximum, neither
 *                 NaN; -infinity and infinity for none. Other types ignore both.
 * DMSAE-PARAM-03  A host of 0.1 or newer refuses what does not fit and passes create every setting of the list, in its
 *                 order, defaults filled in; a required one it demands of the user. An older host passes what the user
 *                 wrote: create with fewer settings behaves as if the missing ones had their defaults.
 * DMSAE-PARAM-04  Equal settings give equal results, whether written out or left at their defaults.
 * DMSAE-PARAM-05  The value of a setting with DMSAE_PARAMETER_LIST is one or more elements with ';' between them, each as its type
 *                 and range say, none with a ';' of its own: "layers=3;7;11".
 */
typedef struct dmsae_parameter_spec {
    uint32_t struct_size;
    dmsae_parameter_type type;
    const char *key;
    const char *description;                 /* one line; of what it does, not of its type */
    const char *DMSAE_NULLABLE default_value; /* as a user would write it; null: the user must give one */
    const char *DMSAE_NULLABLE unit;          /* "nats", "tokens"; null: none */
    double minimum;
    double maximum;
    const char *DMSAE_NONNULL const *DMSAE_NULLABLE choices; /* [choice_count]; null unless the type is CHOICE */
    uint32_t choice_count;
    uint32_t reserved;
    uint64_t flags; /* DMSAE_PARAMETER_... ; DMSAE-GROWTH-07 */
} dmsae_parameter_spec;
#define DMSAE_PARAMETER_SPEC_SIZE_V1 80u

DMSAE_END

#endif
