/* SPDX-License-Identifier: Apache-2.0
 * usage.c - `imago usage [TENANT]`, `imago usage statement` and `imago usage verify`. */
#include "api/moment.h"
#include "api/usage_print.h"
#include "cli/accounts.h"
#include "cli/billing.h"
#include "cli/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define OUTPUT_SIZE_MAX (1u << 30)
#define ROW_COUNT_MAX   1000000u
#define DAY_COUNT       30u

struct options {
    struct stores_settings stores;
#define OPTION CONFIG_MEMBER
#include "cli/usage_options.def"
#undef OPTION
};
static const struct option rows[] = {
#define OPTION(...) CONFIG_ROW_SERVER(struct stores_settings, __VA_ARGS__)
#include "config/stores.def"
#undef OPTION
#define OPTION(...) CONFIG_ROW(struct options, __VA_ARGS__)
#include "cli/usage_options.def"
#undef OPTION
};

enum form { FORM_JSON, FORM_CSV, FORM_TABLE };

static enum form form_choose(const struct options *options)
{
    if (strcmp(options->format, "auto") == 0)
        return isatty(STDOUT_FILENO) ? FORM_TABLE : FORM_JSON;
    return strcmp(options->format, "table") == 0 ? FORM_TABLE
           : strcmp(options->format, "csv") == 0 ? FORM_CSV
                                                 : FORM_JSON;
}

/* Without accounts there is one tenant, and nothing has a price. */
static enum rc find_tenant(struct cli_call *call, const char *tenant,
                           struct bill_source *ret_source, struct error *err)
{
    enum rc rc = stores_open(call->stores, stores_on(call->stores) & STORE_ACCOUNTS, err);
    struct account_tenant known;
    if (rc == RC_OK && call->stores->account != NULL)
        rc = account_tenant_get(call->stores->account, tenant, &known, err);
    else if (rc == RC_OK && strcmp(tenant, ACCOUNT_TENANT_DEFAULT) != 0)
        rc = error_set(err, RC_NOT_FOUND, "without accounts there is only the tenant '%s'",
                       ACCOUNT_TENANT_DEFAULT);
    *ret_source = (struct bill_source){call->stores->account, call->stores->results, tenant};
    return rc;
}

/* --- usage ----------------------------------------------------------------------------------- */

static enum rc read_question(const struct cli_call *call, struct usage_question *question,
                             struct error *err)
{
    const struct options *options = call->options;
    char month[MONTH_TEXT_SIZE];
    uint64_t start_ms = 0;
    uint64_t end_ms = 0;
    enum rc rc = usage_group_read(bytes_of(options->group), &question->group, err);
    if (rc == RC_OK && options->month[0] != '\0') {
        if (options->from[0] != '\0' || options->to[0] != '\0')
            return error_set(err, RC_INVALID, "give --month, or --from and --to; not both");
        rc = usage_month_read(bytes_of(options->month), month, &start_ms, &end_ms, err);
        question->from_day = (uint32_t)(start_ms / MS_PER_DAY);
        question->to_day = (uint32_t)(end_ms / MS_PER_DAY);
        return rc;
    }
    question->to_day = (uint32_t)(call->now_ms / MS_PER_DAY) + 1;
    if (rc == RC_OK && options->to[0] != '\0')
        rc = day_read("--to", bytes_of(options->to), &question->to_day, err);
    question->from_day = question->to_day > DAY_COUNT ? question->to_day - DAY_COUNT : 0;
    if (rc == RC_OK && options->from[0] != '\0')
        rc = day_read("--from", bytes_of(options->from), &question->from_day, err);
    if (rc == RC_OK && question->from_day > question->to_day)
        rc = error_set(err, RC_INVALID, "--from is after --to, which is the day after the last");
    return rc;
}

struct table {
    uint32_t group;
    int margin; /* of the total, up to the numbers */
};

static enum rc table_row(void *ctx, const struct bill_row *row)
{
    const struct table *table = ctx;
    const struct results_quantity *quantity = &row->quantity;
    char day[DAY_TEXT_SIZE];
    char money[MONEY_TEXT_SIZE];
    day_text(quantity->day, day);
    money_text(row->micro, money);
    if (table->margin > 0)
        (void)printf("%-*s", table->margin, "total");
    if (table->group & RESULTS_BY_DAY)
        (void)printf("%-11s ", day);
    if (table->group & RESULTS_BY_MODEL)
        (void)printf("%-28.*s ", (int)quantity->model.size, (const char *)quantity->model.data);
    if (table->group & RESULTS_BY_VERSION)
        (void)printf("%-10.*s ", (int)quantity->version.size, (const char *)quantity->version.data);
    if (table->group & RESULTS_BY_KEY)
        (void)printf("%-20.*s ", quantity->key.size > 0 ? (int)quantity->key.size : 1,
                     quantity->key.size > 0 ? (const char *)quantity->key.data : "-");
    (void)printf("%12" PRIu64 " %12" PRIu64 " %16s %s\n", quantity->requests, quantity->images,
                 money, row->currency);
    return RC_OK;
}

static enum rc print_table(const struct bill_source *source, const struct usage_question *question,
                           struct error *err)
{
    struct table table = {.group = question->group};
    struct table total = {0};
    if (question->group & RESULTS_BY_DAY)
        total.margin += printf("%-11s ", "DAY");
    if (question->group & RESULTS_BY_MODEL)
        total.margin += printf("%-28s ", "MODEL");
    if (question->group & RESULTS_BY_VERSION)
        total.margin += printf("%-10s ", "VERSION");
    if (question->group & RESULTS_BY_KEY)
        total.margin += printf("%-20s ", "KEY");
    (void)printf("%12s %12s %16s %s\n", "REQUESTS", "IMAGES", "COST", "CURRENCY");
    enum rc rc = bill_usage(source, question->from_day, question->to_day, question->group,
                            question->row_max, table_row, &table, err);
    if (rc == RC_OK && question->group != 0)
        rc = bill_usage(source, question->from_day, question->to_day, 0, question->row_max,
                        table_row, &total, err);
    return rc == RC_OK ? cli_wrote(fflush(stdout) == 0, err) : rc;
}

static enum rc show(struct cli_call *call, struct error *err)
{
    enum form form = form_choose(call->options);
    struct bill_source source;
    struct usage_question question = {.row_max = ROW_COUNT_MAX,
                                      .format = form == FORM_CSV ? ANSWER_CSV : ANSWER_JSON,
                                      .now_ms = call->now_ms};
    enum rc rc = read_question(call, &question, err);
    if (rc == RC_OK)
        rc = find_tenant(call, call->argc > 0 ? call->argv[0] : ACCOUNT_TENANT_DEFAULT, &source,
                         err);
    if (rc == RC_OK && form == FORM_TABLE)
        return print_table(&source, &question, err);
    struct buf text = BUF_INIT(OUTPUT_SIZE_MAX);
    if (rc == RC_OK)
        rc = usage_print(&source, &question, &text, err);
    if (rc == RC_OK)
        rc = cli_print(&text, err);
    buf_done(&text);
    return rc;
}

/* --- a month's statement --------------------------------------------------------------------- */

static enum rc statement(struct cli_call *call, struct error *err)
{
    static const statement_print_fn printers[] = {
        [FORM_JSON] = statement_json, [FORM_CSV] = statement_csv, [FORM_TABLE] = statement_text};
    const char *month = call->argv[1];
    struct bill_source source;
    struct bill bill = {0};
    struct buf text = BUF_INIT(STATEMENT_SIZE_MAX);
    uint64_t start_ms = 0;
    uint64_t end_ms = 0;
    enum rc rc = find_tenant(call, call->argv[0], &source, err);
    if (rc == RC_OK)
        rc = bill_month(&source, month, call->now_ms, &bill, err);
    if (rc == RC_OK)
        rc = month_parse(month, &start_ms, &end_ms);
    struct statement_head head = {
        .tenant = call->argv[0], .month = month, .complete = end_ms <= call->now_ms};
    if (rc == RC_OK && (rc = printers[form_choose(call->options)](bill.statements, bill.count,
                                                                  &head, &text)) != RC_OK)
        rc = error_set(err, rc, "the statement is too large to print");
    if (rc == RC_OK)
        rc = cli_print(&text, err);
    bill_done(&bill);
    buf_done(&text);
    return rc;
}

/* --- the proof ------------------------------------------------------------------------------- */

struct proving {
    const char *tenant;
    enum form form;
    struct progress progress;
    struct error *err;
};

static void proving_step(void *ctx, uint64_t count)
{
    struct proving *proving = ctx;
    progress_step(&proving->progress, count);
}

static enum rc proving_difference(void *ctx, const struct results_difference *row)
{
    struct proving *proving = ctx;
    char id[ID_TEXT_SIZE];
    char day[DAY_TEXT_SIZE];
    id_text(row->id, id);
    day_text(row->day, day);
    const char *where = id_is_zero(row->id) ? day : id;
    if (proving->form == FORM_JSON)
        return accounts_print_json(json_pack("{s:s, s:s, s:s}", "tenant", proving->tenant,
                                             "difference", row->what,
                                             id_is_zero(row->id) ? "day" : "id", where),
                                   proving->err);
    progress_clear(&proving->progress);
    (void)printf("%s: %s: %s\n", proving->tenant, row->what, where);
    return RC_OK;
}

/* About as many entries as the ledger has: one for each image. */
static enum rc add_images(void *ctx, const struct results_quantity *row)
{
    uint64_t *images = ctx;
    *images += row->images;
    return RC_OK;
}

static enum rc prove(struct cli_call *call, const char *tenant, struct error *err)
{
    struct proving proving = {.tenant = tenant, .form = form_choose(call->options), .err = err};
    struct results_verifier verifier = {proving_difference, proving_step, &proving};
    struct results_proof proof = {0};
    uint64_t images = 0;
    enum rc rc = results_usage(call->stores->results, bytes_of(tenant), 0, UINT32_MAX, 0,
                               add_images, &images, err);
    progress_init(&proving.progress, tenant, images);
    if (rc == RC_OK)
        rc = results_verify(call->stores->results, bytes_of(tenant), &verifier, &proof, err);
    progress_done(&proving.progress);
    if (rc != RC_OK)
        return rc;
    bool proven = proof.difference_count == 0;
    if (!proven)
        call->status = rc_exit_status(RC_INTERNAL);
    if (proving.form == FORM_JSON)
        return accounts_print_json(json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:I}", "tenant",
                                             tenant, "proven", proven, "ledger",
                                             (json_int_t)proof.ledger_count, "predictions",
                                             (json_int_t)proof.prediction_count, "tombstones",
                                             (json_int_t)proof.tombstone_count, "billed_only",
                                             (json_int_t)proof.billed_only_count, "differences",
                                             (json_int_t)proof.difference_count),
                                   err);
    (void)printf("%s: %s: %" PRIu64 " ledger entries, %" PRIu64 " predictions, %" PRIu64
                 " erased, %" PRIu64 " only billed, %" PRIu64 " differences\n",
                 tenant, proven ? "proven" : "NOT PROVEN", proof.ledger_count,
                 proof.prediction_count, proof.tombstone_count, proof.billed_only_count,
                 proof.difference_count);
    return cli_wrote(fflush(stdout) == 0, err);
}

/* Of whom anything is stored, tenants of old accounts among them. */
static enum rc prove_all(struct cli_call *call, struct error *err)
{
    char tenant[RESULT_TENANT_SIZE_MAX + 1] = "";
    enum rc rc = RC_OK;
    while (rc == RC_OK) {
        char next[RESULT_TENANT_SIZE_MAX + 1];
        rc = results_tenant_next(call->stores->results, tenant, next, err);
        if (rc == RC_NOT_FOUND)
            return RC_OK;
        if (rc == RC_OK) {
            memcpy(tenant, next, sizeof(tenant));
            rc = prove(call, tenant, err);
        }
    }
    return rc;
}

static enum rc verify(struct cli_call *call, struct error *err)
{
    struct bill_source source;
    if (form_choose(call->options) == FORM_CSV)
        return error_set(err, RC_INVALID, "verify prints --format table or json");
    if (call->argc == 0)
        return prove_all(call, err);
    enum rc rc = find_tenant(call, call->argv[0], &source, err);
    return rc == RC_OK ? prove(call, call->argv[0], err) : rc;
}

static const struct cli_verb verbs[] = {
    {"statement", "TENANT MONTH", STORE_RESULTS, statement},
    {"verify", "[TENANT]", STORE_RESULTS, verify},
    {"", "[TENANT]", STORE_RESULTS, show},
};

int cli_usage(int argc, char **argv)
{
    struct options options = {0};
    const struct cli_command command = {
        .name = "usage",
        .prose =
            "usage TENANT: what was billed and what it costs ('default' if no tenant is named). "
            "statement: what\na month costs, line by line. verify: proves that the ledger, the "
            "predictions and those that were\nerased agree, for one tenant or all; exit status 1 "
            "if they do not. All only read, and may run\nbeside the server.",
        .rows = rows,
        .row_count = sizeof(rows) / sizeof(rows[0]),
        .verbs = verbs,
        .verb_count = sizeof(verbs) / sizeof(verbs[0])};
    return cli_run(&command, &options, argc, argv);
}
