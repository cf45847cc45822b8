/* SPDX-License-Identifier: Apache-2.0
 * version.c - `imago version`. */
#include "cli/cli.h"
#include "image/image.h"

#include <stdio.h>
#include <string.h>

int cli_version(int argc, char **argv)
{
    if (argc > 0 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0))
        return cli_help("version", "Prints the version and the picture formats that are built in.",
                        NULL, 0, false);
    if (argc > 0) {
        struct error err = {.rc = RC_INVALID, .text = "version takes no arguments"};
        return cli_fail(&err);
    }
    (void)printf("imago %s\npictures:", IMAGO_VERSION);
    for (enum image_format format = 0; format < IMAGE_FORMAT_COUNT; format++)
        if (image_format_built_in(format))
            (void)printf(" %s", image_format_text(format));
    (void)printf("\n");
    return 0;
}
