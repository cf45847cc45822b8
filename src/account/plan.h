/* SPDX-License-Identifier: Apache-2.0
 * plan.h - price plans, and statements: quantities of a month in, lines of money out.
 *
 * A plan is a name and a version that never changes once stored: the ledger keeps quantities and
 * the plan they were used under, and a statement computes the money anew each time. Pure: no clock,
 * no storage, no floating point.
 *
 * Money is in micro-units of the plan's currency (1.50 is 1,500,000) in uint64_t; whatever does not
 * fit into MICRO_MAX is an error (TOO_LARGE), never a wrong sum.
 * Threads: any. Ownership: arguments are borrowed; a statement owns its lines.
 */
#ifndef ACCOUNT_PLAN_H
#define ACCOUNT_PLAN_H
#include "base/bytes.h"

#define PLAN_NAME_SIZE  64 /* [a-z0-9][a-z0-9._-]* and the terminator */
#define PLAN_MODEL_SIZE 80
#define PLAN_PRICE_MAX  32u
#define PLAN_TIER_MAX   8u
#define PLAN_BODY_MAX   (64u << 10)
#define MICRO_MAX       ((uint64_t)INT64_MAX)
#define PLAN_UNIT_MAX   1000000000000ull /* the price of one image: a million, in micro-units */

/* Graduated: a tier's price is for the images inside it, not for all. */
struct plan_tier {
    uint64_t
        image_last; /* the last image of the month that is in it; UINT64_MAX in the last tier */
    uint64_t micro; /* for each image */
};

/* All models that a row stands for are counted together: its free images and tiers are theirs in
 * common. A model has the row of its name, else the row "*", else no price (and costs nothing). */
struct plan_price {
    char model[PLAN_MODEL_SIZE];
    uint64_t image_free; /* the first images of the month; tiers count them as well */
    uint32_t tier_count; /* 1 .. PLAN_TIER_MAX */
    struct plan_tier tiers[PLAN_TIER_MAX];
};

struct plan {
    char name[PLAN_NAME_SIZE];
    uint32_t version;       /* from 1 */
    char currency[4];       /* ISO 4217; "XXX" is no currency */
    uint64_t minimum_micro; /* of a month: what usage leaves open is a line of its own */
    uint32_t price_count;
    struct plan_price prices[PLAN_PRICE_MAX];
};

/* What a tenant without a plan has: everything is free. Name "", version 0. */
extern const struct plan plan_none;

/* {"name", "version", "currency", "monthly_minimum_micro"?, "prices": [{"model", "free_images"?,
 *  "tiers": [{"up_to"?, "price_micro"}]}]}. Errors: INVALID with the key and what it may be. */
NODISCARD enum rc plan_parse(struct bytes json, struct plan *ret_plan, struct error *err);
NODISCARD enum rc plan_check(const struct plan *plan, struct error *err);
/* The same JSON, with every key. */
NODISCARD enum rc plan_write(const struct plan *plan, struct buf *into);
/* False: nothing costs anything under it, and its currency says nothing. */
bool plan_costs(const struct plan *plan);

/* Images of one model, used while `plans[plan]` was the tenant's. */
struct quantity {
    const char *model;
    uint32_t plan;
    uint64_t image_count;
};
#define STATEMENT_PLAN_MAX     64u
#define STATEMENT_QUANTITY_MAX 10000u

enum line_kind { LINE_FREE, LINE_TIER, LINE_UNPRICED, LINE_MINIMUM };
struct statement_line {
    enum line_kind kind;
    char model[PLAN_MODEL_SIZE]; /* the price row's, or the model's own if it has none */
    char plan[PLAN_NAME_SIZE];
    uint32_t plan_version;
    uint64_t image_first; /* position in the month, from 1; 0 where there is none */
    uint64_t image_count;
    uint64_t unit_micro;
    uint64_t amount_micro;
};

struct statement {
    char currency[4];
    uint64_t image_count;
    uint64_t usage_micro;   /* without the minimum's line */
    uint64_t total_micro;   /* the sum of all lines */
    uint64_t minimum_micro; /* the last plan's */
    uint32_t line_count;
    struct statement_line *lines;
};

/* `plans` are those of the month in the order in which they were the tenant's, at least one; the
 * last gives the minimum, the last that costs anything the currency. Quantities may come in any
 * order and may repeat: the same sums give the same statement. When the plan changes within the
 * month, the later one's free images and tiers go on from the images of its models that came
 * before; so a change to the same terms changes nothing. Errors: INVALID (an index, a model's name,
 * two currencies), TOO_LARGE, NO_MEMORY. */
NODISCARD enum rc statement_compute(const struct plan *const plans[], uint32_t plan_count,
                                    const struct quantity quantities[], uint32_t quantity_count,
                                    struct statement *ret_statement, struct error *err);
/* usage_micro alone, without allocating: what a hard cap is compared with. */
NODISCARD enum rc statement_usage(const struct plan *const plans[], uint32_t plan_count,
                                  const struct quantity quantities[], uint32_t quantity_count,
                                  uint64_t *ret_micro, struct error *err);
void statement_done(struct statement *statement); /* all zero is fine */

/* What each piece of a month's usage adds to the statement's usage, piece by piece. Images under an
 * earlier plan are counted before those under a later one, whenever they came; within a plan, in
 * the order of the calls. So no piece costs less than nothing, and all pieces of a month add up to
 * statement_usage() exactly. */
struct meter {
    const struct plan *const *plans; /* borrowed */
    uint32_t plan_count;
    uint64_t positions[STATEMENT_PLAN_MAX][PLAN_PRICE_MAX]; /* images counted so far */
};
/* `quantities` are all of the month, summed as finely or coarsely as one likes. Errors as
 * statement_usage(). */
NODISCARD enum rc meter_start(struct meter *meter, const struct plan *const plans[],
                              uint32_t plan_count, const struct quantity quantities[],
                              uint32_t quantity_count, struct error *err);
/* The cost of `quantity`; the time it takes does not depend on what came before. */
NODISCARD enum rc meter_add(struct meter *meter, const struct quantity *quantity,
                            uint64_t *ret_micro, struct error *err);

struct statement_head {
    const char *tenant;
    const char *month; /* "2026-11" */
    bool complete;     /* the month is over */
};
#define STATEMENT_SIZE_MAX (8u << 20) /* a large enough cap for `into` */
/* The statements of a month, one for each currency: a table for people; RFC 4180 with a header row;
 * one JSON object (amounts as integers of micro-units and as decimal text). Errors: TOO_LARGE (the
 * cap of `into`), NO_MEMORY. */
typedef enum rc (*statement_print_fn)(const struct statement statements[], uint32_t count,
                                      const struct statement_head *head, struct buf *into);
NODISCARD enum rc statement_text(const struct statement statements[], uint32_t count,
                                 const struct statement_head *head, struct buf *into);
NODISCARD enum rc statement_csv(const struct statement statements[], uint32_t count,
                                const struct statement_head *head, struct buf *into);
NODISCARD enum rc statement_json(const struct statement statements[], uint32_t count,
                                 const struct statement_head *head, struct buf *into);

#define MONEY_TEXT_SIZE 32
/* Exact: "12.50", "0.000125"; two decimals at least, six at most. */
void money_text(uint64_t micro, char into[MONEY_TEXT_SIZE]);
/* "12", "12.5", "0.000125": six decimals at most, no sign. INVALID otherwise, or over MICRO_MAX. */
NODISCARD enum rc money_parse(const char *text, uint64_t *ret_micro);
#endif
