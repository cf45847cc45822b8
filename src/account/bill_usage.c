/* SPDX-License-Identifier: Apache-2.0
 * bill_usage.c - usage with its cost: the ledger's sums walked in order, month by month, and added
 * up by the columns that are asked for. */
#include "account/bill_month.h"
#include "account/quota.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define MS_PER_DAY    86400000ull
#define ROOM_MIN      64u
#define TEXT_SIZE_MAX (256u << 20)
#define FREE_PLACE    UINT32_MAX

/* A row of the answer. Its texts are in `texts`, which moves as it grows. */
struct sum {
    uint32_t day;
    uint32_t text_at[3]; /* model, version, key */
    uint32_t text_size[3];
    char currency[4];
    uint64_t requests;
    uint64_t images;
    uint64_t micro;
};

struct walk {
    uint32_t from_day;
    uint32_t to_day;
    uint32_t group;
    uint32_t row_max;
    struct sum *sums;
    uint32_t count;
    uint32_t *places; /* open addressing over `sums`; as many again free as taken */
    uint32_t room;    /* of places; that of sums is half of it */
    struct buf texts;
    struct bill_month *month;
    struct meter *meters; /* one for each currency of the month */
    uint32_t *months;     /* days on which months begin that have usage */
    uint32_t month_count;
    uint32_t month_room;
    struct error *err;
};

static struct bytes text_at(const struct walk *walk, const struct sum *sum, int i)
{
    if (sum->text_size[i] == 0)
        return bytes_of("");
    return (struct bytes){walk->texts.data + sum->text_at[i], sum->text_size[i]};
}

static bool sum_is(const struct walk *walk, const struct sum *sum, uint32_t day,
                   const struct bytes texts[3], const char *currency)
{
    bool same = sum->day == day && memcmp(sum->currency, currency, 4) == 0;
    for (int i = 0; i < 3 && same; i++)
        same = bytes_equal(text_at(walk, sum, i), texts[i]);
    return same;
}

static uint64_t hash_of(uint32_t day, const struct bytes texts[3], const char *currency)
{
    uint64_t hash = 14695981039346656037ull ^ day;
    for (int i = 0; i < 4; i++) {
        struct bytes text = i < 3 ? texts[i] : bytes_of(currency);
        for (size_t k = 0; k < text.size; k++)
            hash = (hash ^ text.data[k]) * 1099511628211ull;
        hash = (hash ^ 0xff) * 1099511628211ull;
    }
    return hash ^ hash >> 32;
}

static uint32_t place_find(const struct walk *walk, uint32_t day, const struct bytes texts[3],
                           const char *currency)
{
    uint32_t mask = walk->room - 1;
    uint32_t place = (uint32_t)hash_of(day, texts, currency) & mask;
    while (walk->places[place] != FREE_PLACE &&
           !sum_is(walk, &walk->sums[walk->places[place]], day, texts, currency))
        place = (place + 1) & mask;
    return place;
}

static enum rc grow(struct walk *walk)
{
    uint32_t room = walk->room == 0 ? ROOM_MIN : walk->room * 2;
    struct sum *sums = realloc(walk->sums, room / 2 * sizeof(*sums));
    uint32_t *places = malloc(room * sizeof(*places));
    if (sums != NULL)
        walk->sums = sums;
    if (sums == NULL || places == NULL) {
        free(places);
        return error_set(walk->err, RC_NO_MEMORY, "%u rows of usage", walk->count);
    }
    free(walk->places);
    walk->places = places;
    walk->room = room;
    memset(places, 0xff, room * sizeof(*places));
    for (uint32_t i = 0; i < walk->count; i++) {
        const struct sum *sum = &walk->sums[i];
        const struct bytes texts[3] = {text_at(walk, sum, 0), text_at(walk, sum, 1),
                                       text_at(walk, sum, 2)};
        places[place_find(walk, sum->day, texts, sum->currency)] = i;
    }
    return RC_OK;
}

static enum rc sum_new(struct walk *walk, uint32_t day, const struct bytes texts[3],
                       const char *currency, struct sum **ret_sum)
{
    if (walk->count == walk->row_max)
        return error_set(walk->err, RC_INVALID,
                         "over %u rows; ask for fewer days, or group by less", walk->row_max);
    enum rc rc = walk->count * 2 == walk->room ? grow(walk) : RC_OK;
    if (rc != RC_OK)
        return rc;
    uint32_t place = place_find(walk, day, texts, currency);
    struct sum *sum = &walk->sums[walk->count];
    *sum = (struct sum){.day = day};
    memcpy(sum->currency, currency, sizeof(sum->currency));
    for (int i = 0; i < 3 && rc == RC_OK; i++) {
        sum->text_at[i] = (uint32_t)walk->texts.size;
        sum->text_size[i] = (uint32_t)texts[i].size;
        rc = buf_append(&walk->texts, texts[i]);
    }
    if (rc != RC_OK)
        return error_set(walk->err, rc, "%u rows of usage", walk->count);
    walk->places[place] = walk->count++;
    *ret_sum = sum;
    return RC_OK;
}

static enum rc add_up(struct walk *walk, const struct results_quantity *row, const char *currency,
                      uint64_t micro)
{
    uint32_t day = (walk->group & RESULTS_BY_DAY) != 0 ? row->day : 0;
    const struct bytes texts[3] = {
        (walk->group & RESULTS_BY_MODEL) != 0 ? row->model : bytes_of(""),
        (walk->group & RESULTS_BY_VERSION) != 0 ? row->version : bytes_of(""),
        (walk->group & RESULTS_BY_KEY) != 0 ? row->key : bytes_of("")};
    struct sum *sum = NULL;
    uint32_t place = walk->room > 0 ? place_find(walk, day, texts, currency) : 0;
    enum rc rc = RC_OK;
    if (walk->room > 0 && walk->places[place] != FREE_PLACE)
        sum = &walk->sums[walk->places[place]];
    else
        rc = sum_new(walk, day, texts, currency, &sum);
    if (rc != RC_OK)
        return rc;
    sum->requests += row->requests;
    sum->images += row->images;
    if (__builtin_add_overflow(sum->micro, micro, &sum->micro) || sum->micro > MICRO_MAX)
        return error_set(walk->err, RC_TOO_LARGE, "the sum does not fit into 63 bits");
    return RC_OK;
}

static enum rc walk_row(void *ctx, const struct results_quantity *row)
{
    struct walk *walk = ctx;
    const struct bill_month *month = walk->month;
    char model[PLAN_MODEL_SIZE] = "";
    if (row->model.size >= sizeof(model))
        return error_set(walk->err, RC_INTERNAL, "the ledger has a model's name of %zu bytes",
                         row->model.size);
    memcpy(model, row->model.data, row->model.size);
    uint32_t plan = bill_month_plan(month, row->plan, row->plan_version);
    if (plan == UINT32_MAX)
        return error_set(walk->err, RC_BUSY,
                         "the tenant's plan changed while its usage was read; ask again");
    uint32_t currency = month->currency_of[plan];
    struct quantity quantity = {
        .model = model, .plan = month->place_of[plan], .image_count = row->images};
    uint64_t micro = 0;
    enum rc rc = meter_add(&walk->meters[currency], &quantity, &micro, walk->err);
    if (rc == RC_OK && row->day >= walk->from_day)
        rc = add_up(walk, row, month->currencies[currency].text, micro);
    return rc;
}

/* A day's images of a model cost the same however they are shared out, so columns behind the last
 * one that was asked for are left to the store to sum. */
static uint32_t columns_of(uint32_t group)
{
    uint32_t columns = group | RESULTS_BY_DAY | RESULTS_BY_MODEL | RESULTS_BY_PLAN;
    return (group & RESULTS_BY_KEY) != 0 ? columns | RESULTS_BY_VERSION : columns;
}

static enum rc walk_month(const struct bill_source *source, const struct bill_tenures *tenures,
                          struct walk *walk, uint32_t start_day)
{
    struct bill_month *month = walk->month;
    enum rc rc = bill_month_open(source, tenures, start_day * MS_PER_DAY, month, walk->err);
    for (uint32_t i = 0; rc == RC_OK && i < month->currency_count; i++) {
        const struct bill_currency *currency = &month->currencies[i];
        rc = meter_start(&walk->meters[i], currency->plans, currency->plan_count,
                         currency->quantities, currency->quantity_count, walk->err);
    }
    uint32_t end_day = (uint32_t)(month->end_ms / MS_PER_DAY);
    if (rc == RC_OK)
        rc = results_usage(source->results, bytes_of(source->tenant), start_day,
                           end_day < walk->to_day ? end_day : walk->to_day, columns_of(walk->group),
                           walk_row, walk, walk->err);
    bill_month_done(month);
    return rc;
}

static enum rc note_month(void *ctx, const struct results_quantity *row)
{
    struct walk *walk = ctx;
    char text[MONTH_TEXT_SIZE];
    uint64_t start_ms = 0;
    uint64_t end_ms = 0;
    month_text(row->day * MS_PER_DAY, text);
    if (month_parse(text, &start_ms, &end_ms) != RC_OK)
        return error_set(walk->err, RC_INTERNAL, "the ledger has a day %u", row->day);
    uint32_t start_day = (uint32_t)(start_ms / MS_PER_DAY);
    if (walk->month_count > 0 && walk->months[walk->month_count - 1] == start_day)
        return RC_OK;
    if (walk->month_count == walk->month_room) {
        uint32_t room = walk->month_room == 0 ? ROOM_MIN : walk->month_room * 2;
        uint32_t *grown = realloc(walk->months, room * sizeof(*grown));
        if (grown == NULL)
            return error_set(walk->err, RC_NO_MEMORY, "%u months", room);
        walk->months = grown;
        walk->month_room = room;
    }
    walk->months[walk->month_count++] = start_day;
    return RC_OK;
}

static int compare_texts(struct bytes a, struct bytes b)
{
    size_t size = a.size < b.size ? a.size : b.size;
    int order = size > 0 ? memcmp(a.data, b.data, size) : 0;
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

static int compare_sums(const void *a, const void *b, void *ctx)
{
    const struct sum *first = a;
    const struct sum *second = b;
    int order = (first->day > second->day) - (first->day < second->day);
    for (int i = 0; i < 3 && order == 0; i++)
        order = compare_texts(text_at(ctx, first, i), text_at(ctx, second, i));
    return order != 0 ? order : strcmp(first->currency, second->currency);
}

static enum rc tell(struct walk *walk, bill_row_fn each, void *ctx)
{
    enum rc rc = RC_OK;
    if (walk->count > 0)
        qsort_r(walk->sums, walk->count, sizeof(*walk->sums), compare_sums, walk);
    for (uint32_t i = 0; rc == RC_OK && i < walk->count; i++) {
        const struct sum *sum = &walk->sums[i];
        struct bill_row row = {.quantity = {.day = sum->day,
                                            .model = text_at(walk, sum, 0),
                                            .version = text_at(walk, sum, 1),
                                            .key = text_at(walk, sum, 2),
                                            .requests = sum->requests,
                                            .images = sum->images},
                               .micro = sum->micro};
        memcpy(row.currency, sum->currency, sizeof(row.currency));
        rc = each(ctx, &row);
    }
    return rc;
}

enum rc bill_usage(const struct bill_source *source, uint32_t from_day, uint32_t to_day,
                   uint32_t group, uint32_t row_max, bill_row_fn each, void *ctx, struct error *err)
{
    assert((group & RESULTS_BY_PLAN) == 0 && row_max > 0);
    struct walk walk = {.from_day = from_day,
                        .to_day = to_day,
                        .group = group,
                        .row_max = row_max,
                        .texts = BUF_INIT(TEXT_SIZE_MAX),
                        .err = err};
    struct bill_tenures tenures = {0};
    walk.month = calloc(1, sizeof(*walk.month));
    walk.meters = calloc(BILL_CURRENCY_MAX, sizeof(*walk.meters));
    enum rc rc = walk.month == NULL || walk.meters == NULL
                     ? error_set(err, RC_NO_MEMORY, "a month's usage")
                     : bill_tenures_read(source, &tenures, err);
    if (rc == RC_OK)
        rc = results_usage(source->results, bytes_of(source->tenant), from_day, to_day,
                           RESULTS_BY_DAY, note_month, &walk, err);
    for (uint32_t i = 0; rc == RC_OK && i < walk.month_count; i++)
        rc = walk_month(source, &tenures, &walk, walk.months[i]);
    if (rc == RC_OK)
        rc = tell(&walk, each, ctx);
    bill_tenures_done(&tenures);
    free(walk.months);
    free(walk.meters);
    free(walk.month);
    free(walk.sums);
    free(walk.places);
    buf_done(&walk.texts);
    return rc;
}
