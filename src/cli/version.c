/* SPDX-License-Identifier: Apache-2.0
 * version.c - `imago version`. */
#include "cli/cli.h"
#include "image/image.h"

#include <stdio.h>

static enum rc run(struct cli_call *call, struct error *err)
{
    (void)call;
    (void)printf("imago %s\npictures:", IMAGO_VERSION);
    for (enum image_format format = 0; format < IMAGE_FORMAT_COUNT; format++)
        if (image_format_built_in(format))
            (void)printf(" %s", image_format_text(format));
    return cli_wrote(puts("") >= 0 && fflush(stdout) == 0, err);
}

static const struct cli_verb verb = {"", "", 0, run};

int cli_version(int argc, char **argv)
{
    const struct cli_command command = {
        .name = "version",
        .prose = "Prints the version and the picture formats that are built in.",
        .verbs = &verb,
        .verb_count = 1};
    return cli_run(&command, NULL, argc, argv);
}
