/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include "base/clock.h"

#include <stdio.h>
#include <string.h>

#define HELP_SIZE_MAX  (256u * 1024)
#define USAGE_SIZE_MAX 512u

int cli_fail(const struct error *err)
{
    (void)fprintf(stderr, "imago: %s\n", err->text[0] != '\0' ? err->text : rc_text(err->rc));
    return rc_exit_status(err->rc);
}

enum rc cli_wrote(bool wrote, struct error *err)
{
    return wrote ? RC_OK : error_set(err, RC_INTERNAL, "cannot write to standard output");
}

enum rc cli_print(const struct buf *text, struct error *err)
{
    bool wrote = fwrite(text->data, 1, text->size, stdout) == text->size && fflush(stdout) == 0;
    return cli_wrote(wrote, err);
}

/* "key create | list | revoke KEY" */
static void usage(const struct cli_command *command, char into[USAGE_SIZE_MAX])
{
    size_t at = 0;
    for (size_t i = 0; i < command->verb_count && at < USAGE_SIZE_MAX; i++) {
        const struct cli_verb *verb = &command->verbs[i];
        at += (size_t)snprintf(into + at, USAGE_SIZE_MAX - at, "%s%s%s%s%s",
                               i == 0 ? command->name : " |", verb->name[0] != '\0' ? " " : "",
                               verb->name, verb->arguments[0] != '\0' ? " " : "", verb->arguments);
    }
    if (command->flags != NULL && at < USAGE_SIZE_MAX)
        (void)snprintf(into + at, USAGE_SIZE_MAX - at, " %s", command->flags);
}

static bool reads_environment(const struct cli_command *command)
{
    for (size_t i = 0; i < command->row_count; i++)
        if (command->rows[i].server)
            return true;
    return false;
}

static enum rc help(const struct cli_command *command, struct error *err)
{
    struct buf text = BUF_INIT(HELP_SIZE_MAX);
    char line[USAGE_SIZE_MAX];
    usage(command, line);
    enum rc rc = buf_printf(&text, "usage: imago %s\n\n%s\n\n", line, command->prose);
    if (rc == RC_OK)
        rc = config_help(command->rows, command->row_count, reads_environment(command), &text);
    rc = rc == RC_OK ? cli_print(&text, err) : error_set(err, rc, "no memory for the help");
    buf_done(&text);
    return rc;
}

/* "KEY": one; "[URL]": none or one; "FILE ...": one or more. */
static bool takes(const struct cli_verb *verb, int count)
{
    int least = 0;
    int most = 0;
    bool many = false;
    for (const char *word = verb->arguments; *word != '\0';) {
        size_t size = strcspn(word, " ");
        many = many || strncmp(word, "...", 3) == 0;
        most += strncmp(word, "...", 3) != 0;
        least += strncmp(word, "...", 3) != 0 && word[0] != '[';
        word += size + (word[size] == ' ');
    }
    return count >= least && (many || count <= most);
}

static const struct cli_verb *find(const struct cli_command *command, int rest, char **argv)
{
    for (size_t i = 0; i < command->verb_count; i++) {
        const struct cli_verb *verb = &command->verbs[i];
        if (verb->name[0] == '\0')
            return takes(verb, rest) ? verb : NULL;
        if (rest > 0 && strcmp(argv[0], verb->name) == 0)
            return takes(verb, rest - 1) ? verb : NULL;
    }
    return NULL;
}

static enum rc run(const struct cli_command *command, struct cli_call *call, struct error *err)
{
    const struct cli_verb *verb = find(command, call->argc, call->argv);
    if (verb == NULL) {
        char line[USAGE_SIZE_MAX];
        usage(command, line);
        const char *given = call->argc > 0 ? call->argv[0] : "";
        return error_set(err, RC_INVALID,
                         "'imago %s%s%.40s%s' does not name what it needs, or names too much; "
                         "write 'imago %s'",
                         command->name, call->argc > 0 ? " " : "", given,
                         call->argc > 1 ? " ..." : "", line);
    }
    if (verb->name[0] != '\0') {
        call->argc--;
        call->argv++;
    }
    struct stores stores = {0};
    enum rc rc = RC_OK;
    if (verb->needs != 0) {
        rc = stores_resolve(call->options, &stores, err);
        if (rc == RC_OK)
            rc = stores_open(&stores, verb->needs, err);
    }
    call->stores = &stores;
    if (rc == RC_OK)
        rc = verb->run(call, err);
    call->stores = NULL;
    stores_close(&stores);
    return rc;
}

int cli_run(const struct cli_command *command, void *options, int argc, char **argv)
{
    struct config config;
    struct error err = {0};
    enum config_result result;
    struct cli_call call = {
        .options = options, .config = &config, .argv = argv, .now_ms = clock_wall_ms()};
    enum rc rc = config_load(&config, command->rows, command->row_count, options, argc, argv,
                             reads_environment(command), &call.argc, &result, &err);
    if (rc != RC_OK)
        return cli_fail(&err);
    call.argv[call.argc] = NULL; /* flags are done with, and argv ends with one */
    bool asks =
        call.argc == 0 && command->verbs[0].name[0] != '\0' && find(command, 0, argv) == NULL;
    if (result == CONFIG_HELP || asks)
        rc = help(command, &err);
    else
        rc = run(command, &call, &err);
    config_done(&config);
    return rc == RC_OK ? call.status : cli_fail(&err);
}
