/* SPDX-License-Identifier: Apache-2.0
 * config.h - settings from one table: flag, then environment, then file, then default.
 *
 * A table is a .def file of OPTION rows; the struct that holds the values, the parser, --help, the
 * printed configuration and the reference page all come from it. `options.def` is the server's;
 * commands with options of their own have a table beside them.
 *
 * It checks each value alone (form, range) and knows nothing of what the values are for.
 */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H
#include "base/bytes.h"

enum option_type {
    OPTION_TEXT,     /* const char *, never NULL; "" is unset */
    OPTION_COUNT,    /* uint32_t */
    OPTION_SIZE,     /* uint64_t bytes: 512, 64k, 20M, 1G (powers of 1,000), 64Ki, 20Mi, 1Gi */
    OPTION_DURATION, /* uint32_t ms: 250ms, 10s, 5m, 1h; a bare number is an error */
    OPTION_BOOL,     /* bool: --flag, --no-flag; true or false elsewhere */
    OPTION_REAL,     /* double */
};
#define CONFIG_FIELD_TEXT     const char *
#define CONFIG_FIELD_COUNT    uint32_t
#define CONFIG_FIELD_SIZE     uint64_t
#define CONFIG_FIELD_DURATION uint32_t
#define CONFIG_FIELD_BOOL     bool
#define CONFIG_FIELD_REAL     double

enum option_source { SOURCE_DEFAULT, SOURCE_FILE, SOURCE_ENVIRONMENT, SOURCE_FLAG };

struct option {
    const char *group; /* heading in --help and in the reference page */
    const char *field; /* C name; the flag has '-' for '_', the variable is IMAGO_<UPPER CASE> */
    enum option_type type;
    const char *preset; /* default, as a user would write it */
    uint64_t min;       /* of COUNT, SIZE (bytes), DURATION (ms), REAL; ignored for the others */
    uint64_t max;
    const char
        *shape; /* what --help prints for the value: HOST:PORT; with '|' it lists the choices */
    const char *help; /* one sentence or two; no line breaks */
    size_t offset;    /* in the struct of values */
    bool server;      /* a setting of `imago serve`, wherever it is used: has a variable */
};

/* In a struct:        #define OPTION CONFIG_MEMBER
 *                     #include "....def"
 *                     #undef OPTION
 * and in the table:   #define OPTION(...) CONFIG_ROW(struct values, __VA_ARGS__)            */
#define CONFIG_MEMBER(group, field, type, preset, min, max, shape, help) CONFIG_FIELD_##type field;
#define CONFIG_ROW(values, group, field, type, preset, min, max, shape, help)                      \
    {group, #field, OPTION_##type, preset, min, max, shape, help, offsetof(values, field), false},
#define CONFIG_ROW_SERVER(values, group, field, type, preset, min, max, shape, help)               \
    {group, #field, OPTION_##type, preset, min, max, shape, help, offsetof(values, field), true},

#define CONFIG_OPTION_MAX 96u

/* One table with its values, and where each came from. */
struct config {
    const struct option *rows;
    size_t count;
    void *values;
    enum option_source sources[CONFIG_OPTION_MAX];
    char *texts[CONFIG_OPTION_MAX]; /* owned: the TEXT values in use */
    char file[512];                 /* the configuration file that was read, "" if none */
};

enum config_result { CONFIG_RUN, CONFIG_HELP };

/* Fill `values` (zeroed by the caller). Flags come from argv[0..argc); what is no flag is moved to
 * the front of argv and counted in `*ret_rest`, in order; "--" ends the flags. With `environment`,
 * IMAGO_* variables and --config FILE (or IMAGO_CONFIG) are read too, for the rows that are the
 * server's; the file may name its other settings as well. --help or -h: CONFIG_HELP.
 * INVALID says which setting, from where, what it holds and what it may be. */
NODISCARD enum rc config_load(struct config *config, const struct option *rows, size_t count,
                              void *values, int argc, char **argv, bool environment, int *ret_rest,
                              enum config_result *ret_result, struct error *err);
void config_done(struct config *config);

/* The three printed forms of a table: --help's list, the values in force, the reference page. */
NODISCARD enum rc config_help(const struct option *rows, size_t count, bool environment,
                              struct buf *into);
NODISCARD enum rc config_print(const struct config *config, struct buf *into);
NODISCARD enum rc config_reference(const struct option *rows, size_t count, struct buf *into);

/* Where things are kept. The first member of the values of every table that has these rows:
 *   #define OPTION(...) CONFIG_ROW_SERVER(struct stores_settings, __VA_ARGS__)
 *   #include "config/stores.def"                                                            */
struct stores_settings {
#define OPTION CONFIG_MEMBER
#include "config/stores.def"
#undef OPTION
};

/* The server's table. */
struct settings {
    struct stores_settings stores;
#define OPTION CONFIG_MEMBER
#include "config/options.def"
#undef OPTION
};
extern const struct option settings_rows[];
extern const size_t settings_count;
#endif
