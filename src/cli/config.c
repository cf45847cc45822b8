/* SPDX-License-Identifier: Apache-2.0
 * config.c - `imago config`: the settings of `imago serve`, in force or as a reference page. */
#include "cli/cli.h"

#include <string.h>

#define PRINT_SIZE_MAX (256u * 1024)

int cli_config(int argc, char **argv)
{
    /* --print and --reference are this command's own; the rest are the server's settings. */
    bool reference = argc > 0 && strcmp(argv[0], "--reference") == 0;
    bool print = argc > 0 && strcmp(argv[0], "--print") == 0;
    if (reference || print) {
        argc--;
        argv++;
    }
    struct settings settings = {0};
    struct config config;
    struct error err = {0};
    enum config_result result;
    int rest = 0;
    enum rc rc = config_load(&config, settings_rows, settings_count, &settings, argc, argv, true,
                             &rest, &result, &err);
    if (rc != RC_OK)
        return cli_fail(&err);
    struct buf text = BUF_INIT(PRINT_SIZE_MAX);
    int status = 0;
    if (result == CONFIG_HELP || (!print && !reference)) {
        status =
            cli_help("config --print [--SETTING VALUE ...] | --reference",
                     "--print: the settings that 'imago serve' would use, each with its source; "
                     "the output is a\nvalid configuration file. --reference: the reference "
                     "page, in Markdown.",
                     settings_rows, settings_count, true);
    } else {
        if (rest > 0)
            rc = error_set(&err, RC_INVALID, "config takes no '%.60s'", argv[0]);
        else
            rc = reference ? config_reference(settings_rows, settings_count, &text)
                           : config_print(&config, &text);
        status = rc == RC_OK ? cli_print(&text) : cli_fail(&err);
    }
    buf_done(&text);
    config_done(&config);
    return status;
}
