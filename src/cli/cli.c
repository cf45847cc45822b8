/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define HELP_SIZE_MAX (256u * 1024)

int cli_fail(const struct error *err)
{
    (void)fprintf(stderr, "imago: %s\n", err->text[0] != '\0' ? err->text : rc_text(err->rc));
    return rc_exit_status(err->rc);
}

int cli_print(const struct buf *text)
{
    bool wrote = fwrite(text->data, 1, text->size, stdout) == text->size && fflush(stdout) == 0;
    return wrote ? 0 : rc_exit_status(RC_INTERNAL);
}

int cli_help(const char *usage, const char *prose, const struct option *rows, size_t count,
             bool environment)
{
    struct buf text = BUF_INIT(HELP_SIZE_MAX);
    enum rc rc = buf_printf(&text, "usage: imago %s\n\n%s\n\n", usage, prose);
    if (rc == RC_OK)
        rc = config_help(rows, count, environment, &text);
    int status = rc == RC_OK ? cli_print(&text) : rc_exit_status(rc);
    buf_done(&text);
    return status;
}
