/* SPDX-License-Identifier: Apache-2.0
 * main.c - `imago COMMAND ...`: finds the command. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int (*function)(int argc, char **argv);
    const char *summary;
} commands[] = {
#define COMMAND(name, function, summary) {#name, function, summary},
#include "cli/commands.def"
#undef COMMAND
};
#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static void usage(FILE *stream)
{
    (void)fprintf(stream, "usage: imago COMMAND [...]\n\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        (void)fprintf(stream, "  %-9s %s\n", commands[i].name, commands[i].summary);
    (void)fprintf(stream, "\n'imago COMMAND --help' says more.\n");
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        usage(stderr);
        return rc_exit_status(RC_INVALID);
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        usage(stdout);
        return 0;
    }
    if (strcmp(name, "--version") == 0)
        name = "version";
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(commands[i].name, name) == 0)
            return commands[i].function(argc - 2, argv + 2);
    (void)fprintf(stderr, "imago: there is no command '%s'\n\n", name);
    usage(stderr);
    return rc_exit_status(RC_INVALID);
}
