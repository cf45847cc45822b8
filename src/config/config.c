/* SPDX-License-Identifier: Apache-2.0
 * config.c - values into the table's struct, from flags, environment and file. The printed forms
 * are in print.c, the forms of numbers in value.c. */
#include "config/config.h"
#include "config/value.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define FILE_SIZE_MAX (64u * 1024)

const struct option settings_rows[] = {
#define OPTION(...) CONFIG_ROW_SERVER(struct settings, __VA_ARGS__)
#include "config/options.def"
#undef OPTION
#define OPTION(...) CONFIG_ROW_SERVER(struct stores_settings, __VA_ARGS__)
#include "config/stores.def"
#undef OPTION
};
_Static_assert(offsetof(struct settings, stores) == 0, "stores.def's offsets count from there");
const size_t settings_count = sizeof(settings_rows) / sizeof(settings_rows[0]);
_Static_assert(sizeof(settings_rows) / sizeof(settings_rows[0]) <= CONFIG_OPTION_MAX,
               "raise CONFIG_OPTION_MAX");

/* Flags and file keys are written with '-', the table's fields with '_'; either is taken. */
static bool same_name(const char *field, const char *name, size_t size)
{
    if (strlen(field) != size)
        return false;
    for (size_t i = 0; i < size; i++)
        if ((name[i] == '-' ? '_' : name[i]) != field[i])
            return false;
    return true;
}

static const struct option *find_in(const struct option *rows, size_t count, const char *name,
                                    size_t size)
{
    for (size_t i = 0; i < count; i++)
        if (same_name(rows[i].field, name, size))
            return &rows[i];
    return NULL;
}

static const struct option *find(const struct config *config, const char *name, size_t size)
{
    return find_in(config->rows, config->count, name, size);
}

/* The option that shares the longest beginning with `name`, for "did you mean". */
static const struct option *nearest(const struct config *config, const char *name)
{
    const struct option *best = NULL;
    size_t best_size = 1;
    for (size_t i = 0; i < config->count; i++) {
        size_t size = 0;
        const char *field = config->rows[i].field;
        while (field[size] != '\0' && (name[size] == '-' ? '_' : name[size]) == field[size])
            size++;
        if (size > best_size) {
            best = &config->rows[i];
            best_size = size;
        }
    }
    return best;
}

static enum rc unknown(const struct config *config, const char *what, const char *name,
                       struct error *err)
{
    const struct option *near = nearest(config, name + strspn(name, "-"));
    char flag[64] = "";
    if (near != NULL)
        option_flag(near, flag, sizeof(flag));
    return error_set(err, RC_INVALID, "%.100s '%.60s' is unknown; %s%s", what, name,
                     near != NULL ? "did you mean " : "--help lists them", flag);
}

static enum rc assign(struct config *config, const struct option *row, const char *text,
                      enum option_source source, const char *from, struct error *err)
{
    size_t index = (size_t)(row - config->rows);
    char *copy = NULL;
    char why[120];
    enum rc rc = option_value_parse(row, text, (char *)config->values + row->offset, &copy, why,
                                    sizeof(why));
    if (rc == RC_NO_MEMORY)
        return error_set(err, rc, "no memory for the settings");
    if (rc != RC_OK)
        return error_set(err, rc, "%s: '%.60s' %s", from, text, why);
    if (row->type == OPTION_TEXT) {
        free(config->texts[index]);
        config->texts[index] = copy;
    }
    config->sources[index] = source;
    return RC_OK;
}

static enum rc load_presets(struct config *config, struct error *err)
{
    for (size_t i = 0; i < config->count; i++) {
        enum rc rc = assign(config, &config->rows[i], config->rows[i].preset, SOURCE_DEFAULT,
                            config->rows[i].field, err);
        if (rc != RC_OK)
            return rc;
    }
    return RC_OK;
}

static enum rc load_environment(struct config *config, struct error *err)
{
    for (size_t i = 0; i < config->count; i++) {
        char name[80];
        option_variable(&config->rows[i], name, sizeof(name));
        const char *text = config->rows[i].server ? getenv(name) : NULL;
        if (text == NULL)
            continue;
        enum rc rc = assign(config, &config->rows[i], text, SOURCE_ENVIRONMENT, name, err);
        if (rc != RC_OK)
            return rc;
    }
    return RC_OK;
}

/* The file is one flat mapping of names to scalars, read event by event: no tree, no aliases. */
static enum rc load_events(struct config *config, yaml_parser_t *parser, struct error *err)
{
    char key[80] = "";
    size_t depth = 0;
    for (;;) {
        yaml_event_t event;
        if (!yaml_parser_parse(parser, &event))
            return error_set(err, RC_INVALID, "%s:%zu: %s", config->file,
                             parser->problem_mark.line + 1,
                             parser->problem ? parser->problem : "not YAML");
        size_t line = event.start_mark.line + 1;
        yaml_event_type_t type = event.type;
        enum rc rc = RC_OK;
        if (type == YAML_MAPPING_START_EVENT) {
            if (++depth > 1)
                rc = error_set(err, RC_INVALID, "%s:%zu: '%s' must be a single value", config->file,
                               line, key);
        } else if (type == YAML_SEQUENCE_START_EVENT || type == YAML_ALIAS_EVENT) {
            rc =
                error_set(err, RC_INVALID, "%s:%zu: write 'name: value' lines, no lists or aliases",
                          config->file, line);
        } else if (type == YAML_SCALAR_EVENT) {
            const char *text = (const char *)event.data.scalar.value;
            if (depth == 0) {
                /* An empty document is one empty scalar. */
                if (text[0] != '\0')
                    rc = error_set(err, RC_INVALID, "%s:%zu: write 'name: value' lines",
                                   config->file, line);
            } else if (key[0] == '\0') {
                (void)snprintf(key, sizeof(key), "%s", text);
            } else {
                char from[640];
                const struct option *row = find(config, key, strlen(key));
                /* The file is the server's: a command may have no use for a setting of it. */
                bool known = find_in(settings_rows, settings_count, key, strlen(key)) != NULL;
                (void)snprintf(from, sizeof(from), "%s:%zu: %s", config->file, line,
                               known ? key : "the setting");
                if (!known)
                    rc = unknown(config, from, key, err);
                else if (row == NULL || !row->server)
                    rc = RC_OK;
                else if (config->sources[row - config->rows] == SOURCE_FILE)
                    rc = error_set(err, RC_INVALID, "%s is set twice", from);
                else
                    rc = assign(config, row, text, SOURCE_FILE, from, err);
                key[0] = '\0';
            }
        }
        yaml_event_delete(&event);
        if (rc != RC_OK || type == YAML_STREAM_END_EVENT)
            return rc;
    }
}

static enum rc load_file(struct config *config, const char *path, struct error *err)
{
    if (snprintf(config->file, sizeof(config->file), "%s", path) >= (int)sizeof(config->file))
        return error_set(err, RC_INVALID, "--config: the path is over %zu characters",
                         sizeof(config->file) - 1);
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return error_set(err, RC_NOT_FOUND, "--config: cannot read '%s': %s", path,
                         strerror(errno));
    enum rc rc = RC_OK;
    uint8_t *text = malloc(FILE_SIZE_MAX + 1);
    size_t size = text != NULL ? fread(text, 1, FILE_SIZE_MAX + 1, file) : 0;
    yaml_parser_t parser;
    if (text == NULL || !yaml_parser_initialize(&parser)) {
        rc = error_set(err, RC_NO_MEMORY, "no memory to read '%s'", path);
    } else {
        if (ferror(file) != 0)
            rc =
                error_set(err, RC_INVALID, "--config: cannot read '%s': %s", path, strerror(errno));
        else if (size > FILE_SIZE_MAX)
            rc = error_set(err, RC_TOO_LARGE, "--config: '%s' is over %u bytes", path,
                           FILE_SIZE_MAX);
        if (rc == RC_OK) {
            yaml_parser_set_input_string(&parser, text, size);
            rc = load_events(config, &parser, err);
        }
        yaml_parser_delete(&parser);
    }
    free(text);
    (void)fclose(file);
    return rc;
}

/* What one argument means. `value` is NULL where the next argument holds it. */
struct flag {
    const struct option *row;
    const char *value;
    bool negated;
};

static enum rc read_flag(const struct config *config, const char *argument, struct flag *ret_flag,
                         struct error *err)
{
    const char *name = argument + 2;
    size_t size = strcspn(name, "=");
    struct flag flag = {.row = find(config, name, size)};
    if (flag.row == NULL && size > 3 && strncmp(name, "no-", 3) == 0) {
        flag.row = find(config, name + 3, size - 3);
        flag.negated = true;
    }
    if (flag.row == NULL || (flag.negated && flag.row->type != OPTION_BOOL)) {
        char named[64];
        (void)snprintf(named, sizeof(named), "--%.*s", (int)size, name);
        return unknown(config, "the option", named, err);
    }
    if (name[size] == '=')
        flag.value = name + size + 1;
    else if (flag.row->type == OPTION_BOOL)
        flag.value = flag.negated ? "false" : "true";
    if (flag.negated && name[size] == '=')
        return error_set(err, RC_INVALID, "%s: --no-... takes no value", argument);
    *ret_flag = flag;
    return RC_OK;
}

/* One walk over argv, done twice: first to find --config and --help, then to assign, so that
 * flags win over the file whatever their order. */
static enum rc walk_flags(struct config *config, int argc, char **argv, bool assigning,
                          const char **ret_file, bool file_option, int *ret_rest, bool *ret_help,
                          struct error *err)
{
    int rest = 0;
    bool ended = false;
    for (int i = 0; i < argc; i++) {
        const char *argument = argv[i];
        if (ended || argument[0] != '-' || argument[1] == '\0') {
            if (assigning)
                argv[rest] = argv[i];
            rest++;
            continue;
        }
        if (strcmp(argument, "--") == 0) {
            ended = true;
            continue;
        }
        if (strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0) {
            *ret_help = true;
            return RC_OK;
        }
        struct flag flag = {0};
        if (argument[1] != '-')
            return unknown(config, "the option", argument, err);
        bool is_file = file_option && (strcmp(argument, "--config") == 0 ||
                                       strncmp(argument, "--config=", 9) == 0);
        if (is_file) {
            flag.value = argument[8] == '=' ? argument + 9 : NULL;
        } else {
            enum rc rc = read_flag(config, argument, &flag, err);
            if (rc != RC_OK)
                return rc;
        }
        if (flag.value == NULL) {
            if (i + 1 >= argc)
                return error_set(err, RC_INVALID, "%s needs a value", argument);
            flag.value = argv[++i];
        }
        if (is_file) {
            *ret_file = flag.value;
        } else if (assigning) {
            char from[80];
            option_flag(flag.row, from, sizeof(from));
            enum rc rc = assign(config, flag.row, flag.value, SOURCE_FLAG, from, err);
            if (rc != RC_OK)
                return rc;
        }
    }
    *ret_rest = rest;
    return RC_OK;
}

enum rc config_load(struct config *config, const struct option *rows, size_t count, void *values,
                    int argc, char **argv, bool environment, int *ret_rest,
                    enum config_result *ret_result, struct error *err)
{
    assert(count <= CONFIG_OPTION_MAX);
    *config = (struct config){.rows = rows, .count = count, .values = values};
    const char *file = environment ? getenv("IMAGO_CONFIG") : NULL;
    bool help = false;
    int rest = 0;
    enum rc rc = load_presets(config, err);
    if (rc == RC_OK)
        rc = walk_flags(config, argc, argv, false, &file, environment, &rest, &help, err);
    if (rc == RC_OK && help) {
        *ret_result = CONFIG_HELP;
        return RC_OK;
    }
    if (rc == RC_OK && file != NULL && file[0] != '\0')
        rc = load_file(config, file, err);
    if (rc == RC_OK && environment)
        rc = load_environment(config, err);
    if (rc == RC_OK)
        rc = walk_flags(config, argc, argv, true, &file, environment, &rest, &help, err);
    if (rc != RC_OK) {
        config_done(config);
        return rc;
    }
    *ret_rest = rest;
    *ret_result = CONFIG_RUN;
    return RC_OK;
}

void config_done(struct config *config)
{
    for (size_t i = 0; i < config->count; i++) {
        free(config->texts[i]);
        config->texts[i] = NULL;
    }
}
