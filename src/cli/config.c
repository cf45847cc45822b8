/* SPDX-License-Identifier: Apache-2.0
 * config.c - `imago config`: the settings of `imago serve`, in force or as a reference page. */
#include "cli/cli.h"

#define PRINT_SIZE_MAX (256u * 1024)

struct options {
    struct settings settings;
#define OPTION CONFIG_MEMBER
#include "cli/config_options.def"
#undef OPTION
};
static const struct option rows[] = {
#define OPTION(...) CONFIG_ROW_SERVER(struct settings, __VA_ARGS__)
#include "config/options.def"
#undef OPTION
#define OPTION(...) CONFIG_ROW_SERVER(struct stores_settings, __VA_ARGS__)
#include "config/stores.def"
#undef OPTION
#define OPTION(...) CONFIG_ROW(struct options, __VA_ARGS__)
#include "cli/config_options.def"
#undef OPTION
};

static enum rc run(struct cli_call *call, struct error *err)
{
    const struct options *options = call->options;
    struct buf text = BUF_INIT(PRINT_SIZE_MAX);
    /* The server's rows come first; those behind are this command's own. */
    struct config settings = *call->config;
    settings.count = settings_count;
    enum rc rc = RC_OK;
    if (options->print == options->reference)
        rc = error_set(err, RC_INVALID, "write either --print or --reference");
    else if (options->print)
        rc = config_print(&settings, &text);
    else
        rc = config_reference(settings_rows, settings_count, &text);
    if (rc == RC_OK)
        rc = cli_print(&text, err);
    buf_done(&text);
    return rc;
}

static const struct cli_verb verb = {"", "", 0, run};

int cli_config(int argc, char **argv)
{
    struct options options = {0};
    const struct cli_command command = {
        .name = "config",
        .flags = "--print [--SETTING VALUE ...] | --reference",
        .prose = "--print: the settings that 'imago serve' would use, each with its source; the "
                 "output is a\nvalid configuration file. --reference: the reference page, in "
                 "Markdown.",
        .rows = rows,
        .row_count = sizeof(rows) / sizeof(rows[0]),
        .verbs = &verb,
        .verb_count = 1};
    return cli_run(&command, &options, argc, argv);
}
