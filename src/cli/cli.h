/* SPDX-License-Identifier: Apache-2.0
 * cli.h - the sub-commands of `imago`: one file each, one row each in commands.def.
 *
 * A command gets argv after its own name and returns the exit status (rc.def's third column).
 * Results go to standard output, everything else to standard error.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H
#include "config/config.h"

#define COMMAND(name, function, summary) int function(int argc, char **argv);
#include "cli/commands.def"
#undef COMMAND

/* "imago: <text>" on standard error; the exit status of `err`. */
int cli_fail(const struct error *err);
/* The head of a command's --help (usage line and prose), then its options; exit status 0. */
int cli_help(const char *usage, const char *prose, const struct option *rows, size_t count,
             bool environment);
/* Write all of `text` to standard output; an exit status (a closed pipe is 1). */
int cli_print(const struct buf *text);
#endif
