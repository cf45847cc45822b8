/* SPDX-License-Identifier: Apache-2.0
 * doctor.c - `imago doctor`: is everything as the server needs it? */
#include "cli/doctor.h"
#include "cli/accounts.h"
#include "cli/cli.h"

#include "telemetry/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct options {
    struct settings settings;
#define OPTION CONFIG_MEMBER
#include "cli/doctor_options.def"
#undef OPTION
};
static const struct option rows[] = {
#define OPTION(...) CONFIG_ROW(struct options, __VA_ARGS__)
#include "cli/doctor_options.def"
#undef OPTION
#define OPTION(...) CONFIG_ROW_SERVER(struct settings, __VA_ARGS__)
#include "config/options.def"
#undef OPTION
#define OPTION(...) CONFIG_ROW_SERVER(struct stores_settings, __VA_ARGS__)
#include "config/stores.def"
#undef OPTION
};

void doctor_say(struct doctor *doctor, enum finding finding, const char *check, const char *advice,
                const char *format, ...)
{
    static const char *const texts[] = {"ok", "warn", "fail"};
    char found[400];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(found, sizeof(found), format, arguments);
    va_end(arguments);
    doctor->counts[finding]++;
    if (doctor->json) {
        enum rc rc =
            accounts_print_json(json_pack("{s:s, s:s, s:s, s:s}", "check", check, "state",
                                          texts[finding], "found", found, "advice", advice),
                                NULL);
        (void)rc; /* the exit status says whether anything failed */
        return;
    }
    (void)printf("%-5s %-12s %s%s%s\n", texts[finding], check, found, advice[0] != '\0' ? ". " : "",
                 advice);
    (void)fflush(stdout);
}

/* The forms of single values were checked when they were read. */
static void check_settings(struct doctor *doctor, const struct config *config)
{
    const struct settings *settings = doctor->settings;
    struct error err = {0};
    enum log_level level;
    enum rc rc = log_level_parse(settings->log_level, &level);
    if (rc == RC_OK)
        rc = stores_resolve(&settings->stores, &doctor->stores, &err);
    if (rc == RC_OK && settings->jwt_issuer[0] != '\0' && doctor->stores.accounts_url[0] == '\0')
        rc = error_set(&err, RC_INVALID,
                       "--jwt-issuer with --accounts none: tokens are of "
                       "tenants, which are kept in the accounts");
    uint32_t given = 0;
    for (size_t i = 0; i < config->count; i++)
        given += config->rows[i].server && config->sources[i] != SOURCE_DEFAULT;
    if (rc != RC_OK)
        doctor_say(doctor, FINDING_FAIL, "settings", "'imago config --print' shows all of them",
                   "%s", err.text);
    else
        doctor_say(doctor, FINDING_OK, "settings", "", "%u set, %zu at their defaults%s%s", given,
                   settings_count - given, config->file[0] != '\0' ? "; file " : "", config->file);
}

static enum rc run(struct cli_call *call, struct error *err)
{
    const struct options *options = call->options;
    static struct doctor doctor;
    doctor = (struct doctor){.settings = &options->settings,
                             .full = options->full,
                             .json = accounts_form_choose(options->format) == ACCOUNTS_JSON,
                             .now_ms = call->now_ms};
    check_settings(&doctor, call->config);
    if (doctor.counts[FINDING_FAIL] == 0) {
        doctor_data(&doctor);
        doctor_databases(&doctor);
        doctor_pictures(&doctor);
        doctor_listen(&doctor);
    }
    doctor_limits(&doctor);
    doctor_clock(&doctor);
    doctor_models(&doctor);
    stores_close(&doctor.stores);
    (void)err;
    call->status = doctor.counts[FINDING_FAIL] > 0 ? rc_exit_status(RC_INTERNAL) : 0;
    if (!doctor.json)
        (void)printf("%u failed, %u to look at\n", doctor.counts[FINDING_FAIL],
                     doctor.counts[FINDING_WARN]);
    return RC_OK;
}

static const struct cli_verb verb = {"", "", 0, run};

int cli_doctor(int argc, char **argv)
{
    struct options options = {0};
    const struct cli_command command = {
        .name = "doctor",
        .flags = "[--full] [--SETTING VALUE ...]",
        .prose = "Checks whether everything is as 'imago serve' with the same settings needs it, "
                 "beside a running\nserver or without one, and says what to do. It changes nothing."
                 "\nExit status: 0 if nothing failed, else 1; warnings are not failures.",
        .rows = rows,
        .row_count = sizeof(rows) / sizeof(rows[0]),
        .verbs = &verb,
        .verb_count = 1};
    return cli_run(&command, &options, argc, argv);
}
