/* SPDX-License-Identifier: Apache-2.0
 * cli.h - the sub-commands of `imago`: one file each, one row each in commands.def.
 *
 * A command gets argv after its own name and returns the exit status (rc.def's third column).
 * Results go to standard output, everything else to standard error.
 *
 * A command is a table of options and a table of verbs; cli_run() does what all have in common:
 * reads the options, prints --help, finds the verb, counts its arguments, opens the stores it
 * needs, says what went wrong.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H
#include "cli/stores.h"
#include "config/config.h"

#define COMMAND(name, function, summary) int function(int argc, char **argv);
#include "cli/commands.def"
#undef COMMAND

/* What a verb is run with. */
struct cli_call {
    const void *options;         /* the command's struct, filled */
    const struct config *config; /* says where each option came from */
    struct stores *stores;       /* those that the verb needs are open */
    int argc;                    /* the arguments after command and verb */
    char **argv;                 /* NULL behind the last one */
    uint64_t now_ms;             /* when it began */
    int status; /* the exit status after RC_OK, for commands with one of their own */
};

struct cli_verb {
    const char *name;      /* "": the command has no verbs, and this is what it does */
    const char *arguments; /* as help shows them: "", "KEY", "TENANT [PLAN]", "FILE ..." */
    uint32_t needs;        /* STORE_...; with any, the options begin with struct stores_settings */
    enum rc (*run)(struct cli_call *call, struct error *err);
};

struct cli_command {
    const char *name;
    const char *flags; /* for the usage line: options that it does not work without, or NULL */
    const char *prose; /* lines of 100 characters at most */
    const struct option *rows;
    size_t row_count;
    const struct cli_verb *verbs;
    size_t verb_count;
};

/* `options` is zeroed. The exit status; a failure has been told. Without arguments a command that
 * has verbs prints its help. */
int cli_run(const struct cli_command *command, void *options, int argc, char **argv);

/* "imago: <text>" on standard error; the exit status of `err`. */
int cli_fail(const struct error *err);
/* What printing came to: INTERNAL, such as for a closed pipe, unless `wrote`. */
NODISCARD enum rc cli_wrote(bool wrote, struct error *err);
/* All of `text` to standard output. */
NODISCARD enum rc cli_print(const struct buf *text, struct error *err);
#endif
