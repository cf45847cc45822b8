/* SPDX-License-Identifier: Apache-2.0
 * print.c - a table of options as --help, as the values in force, as the reference page. */
#include "config/value.h"

#include <stdio.h>
#include <string.h>

#define HELP_INDENT 30
#define HELP_WIDTH  96

/* `text` in lines of HELP_WIDTH, the first starting at column `column`. */
static enum rc append_wrapped(struct buf *into, const char *text, size_t column)
{
    enum rc rc = RC_OK;
    while (*text != '\0' && rc == RC_OK) {
        size_t word = strcspn(text, " ");
        if (column > HELP_INDENT && column + 1 + word > HELP_WIDTH) {
            rc = buf_printf(into, "\n%*s", HELP_INDENT, "");
            column = HELP_INDENT;
        }
        if (rc == RC_OK)
            rc = buf_printf(into, "%s%.*s", column > HELP_INDENT ? " " : "", (int)word, text);
        column += word + (column > HELP_INDENT);
        text += word + (text[word] == ' ');
    }
    return rc == RC_OK ? buf_printf(into, "\n") : rc;
}

enum rc config_help(const struct option *rows, size_t count, bool environment, struct buf *into)
{
    enum rc rc = RC_OK;
    for (size_t i = 0; i < count && rc == RC_OK; i++) {
        if (i == 0 || strcmp(rows[i].group, rows[i - 1].group) != 0)
            rc = buf_printf(into, "%s%s\n", i == 0 ? "" : "\n", rows[i].group);
        char flag[64];
        option_flag(&rows[i], flag, sizeof(flag));
        char left[128];
        int width = snprintf(left, sizeof(left), "  %s%s%s", flag, rows[i].shape[0] ? " " : "",
                             strchr(rows[i].shape, '|') ? "KIND" : rows[i].shape);
        if (rc == RC_OK)
            rc = width >= HELP_INDENT ? buf_printf(into, "%s\n%*s", left, HELP_INDENT, "")
                                      : buf_printf(into, "%-*s", HELP_INDENT, left);
        char help[640];
        (void)snprintf(help, sizeof(help), "%s%s%s%s%s%s%s", rows[i].help,
                       strchr(rows[i].shape, '|') ? " One of " : "",
                       strchr(rows[i].shape, '|') ? rows[i].shape : "",
                       strchr(rows[i].shape, '|') ? "." : "", rows[i].preset[0] ? " [" : "",
                       rows[i].preset, rows[i].preset[0] ? "]" : "");
        if (rc == RC_OK)
            rc = append_wrapped(into, help, HELP_INDENT);
    }
    if (rc == RC_OK && environment)
        rc = buf_printf(into,
                        "\nEach setting may also come from the environment (--admin-listen is "
                        "IMAGO_ADMIN_LISTEN) or\nfrom a YAML file of 'name: value' lines given "
                        "by --config FILE or IMAGO_CONFIG.\nFlags win over the environment, the "
                        "environment over the file, the file over defaults.\n");
    return rc;
}

enum rc config_print(const struct config *config, struct buf *into)
{
    static const char *const sources[] = {"default", "file", "environment", "flag"};
    enum rc rc = RC_OK;
    for (size_t i = 0; i < config->count && rc == RC_OK; i++) {
        const struct option *row = &config->rows[i];
        char flag[64];
        char value[600];
        option_flag(row, flag, sizeof(flag));
        option_value_text(row, (const char *)config->values + row->offset, value, sizeof(value));
        char line[1400];
        size_t at = (size_t)snprintf(line, sizeof(line), "%s: ", flag + 2);
        bool quoted = row->type == OPTION_TEXT;
        if (quoted)
            line[at++] = '"';
        for (const char *c = value; *c != '\0'; c++) {
            if (quoted && (*c == '"' || *c == '\\'))
                line[at++] = '\\';
            line[at++] = *c;
        }
        if (quoted)
            line[at++] = '"';
        line[at] = '\0';
        rc = buf_printf(into, "%-40s # %s\n", line, sources[config->sources[i]]);
    }
    return rc;
}

enum rc config_reference(const struct option *rows, size_t count, struct buf *into)
{
    enum rc rc = buf_printf(
        into,
        "# Settings\n\nEvery setting of `imago serve`. A flag wins over the environment, the "
        "environment over the file\n(`--config FILE`, `name: value` lines), the file over the "
        "default. `imago config --print`\nshows the values in force and where each came "
        "from.\n\nSIZE is in bytes; `k`, `M`, `G` are thousands, `Ki`, `Mi`, `Gi` are powers of "
        "1024. TIME has a unit: `ms`, `s`,\n`m` or `h`. What is true by default is switched off "
        "by `--no-` before its name, in the environment and the file by `false`.\n");
    for (size_t i = 0; i < count && rc == RC_OK; i++) {
        if (i == 0 || strcmp(rows[i].group, rows[i - 1].group) != 0)
            rc = buf_printf(
                into, "\n## %s\n\n| flag | variable | default | meaning |\n|---|---|---|---|\n",
                rows[i].group);
        char flag[64];
        char variable[80];
        option_flag(&rows[i], flag, sizeof(flag));
        option_variable(&rows[i], variable, sizeof(variable));
        bool choices = strchr(rows[i].shape, '|') != NULL;
        if (rc == RC_OK)
            rc = buf_printf(into, "| `%s%s%s` | `%s` | %s%s%s | %s", flag,
                            rows[i].shape[0] ? " " : "", choices ? "KIND" : rows[i].shape, variable,
                            rows[i].preset[0] ? "`" : "", rows[i].preset,
                            rows[i].preset[0] ? "`" : "(empty)", rows[i].help);
        /* A '|' would end the table's cell. */
        for (const char *at = rows[i].shape; choices && *at != '\0' && rc == RC_OK;) {
            size_t size = strcspn(at, "|");
            rc = buf_printf(into, "%s`%.*s`", at == rows[i].shape ? " One of " : ", ", (int)size,
                            at);
            at += size + (at[size] == '|');
        }
        if (rc == RC_OK)
            rc = buf_printf(into, "%s |\n", choices ? "." : "");
    }
    return rc;
}
