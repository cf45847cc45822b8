/* SPDX-License-Identifier: Apache-2.0 */
#include "api/history_filter.h"

#include "api/moment.h"
#include "net/query.h"

#include <float.h>
#include <string.h>

#define TEXT_ROOM      257u
#define QUERY_SIZE_MAX (1u << 20)

static enum rc set_from(struct history_filter *filter, const char *name, const char *text,
                        struct error *err)
{
    return moment_read(name, bytes_of(text), &filter->results.from_ms, err);
}

static enum rc set_to(struct history_filter *filter, const char *name, const char *text,
                      struct error *err)
{
    enum rc rc = moment_read(name, bytes_of(text), &filter->results.to_ms, err);
    /* 0 would be no end; nothing is as old as that. */
    if (rc == RC_OK && filter->results.to_ms == 0)
        filter->results.to_ms = 1;
    return rc;
}

static enum rc set_min_score(struct history_filter *filter, const char *name, const char *text,
                             struct error *err)
{
    return score_read(name, text, &filter->results.min_score, err);
}

static enum rc set_max_score(struct history_filter *filter, const char *name, const char *text,
                             struct error *err)
{
    enum rc rc = score_read(name, text, &filter->results.max_score, err);
    if (rc == RC_OK && filter->results.max_score < FLT_TRUE_MIN)
        filter->results.max_score = FLT_TRUE_MIN; /* 0 would be no limit */
    return rc;
}

static enum rc set_limit(struct history_filter *filter, const char *name, const char *text,
                         struct error *err)
{
    return count_read(name, text, RESULTS_PAGE_MAX, &filter->limit, err);
}

static enum rc set_cursor(struct history_filter *filter, const char *name, const char *text,
                          struct error *err)
{
    (void)name;
    size_t size = strlen(text);
    if (size == 0 || size >= sizeof(filter->cursor))
        return error_set(err, RC_INVALID, "the cursor is none of ours; take 'next' of a page");
    memcpy(filter->cursor, text, size + 1);
    filter->has_cursor = true;
    return RC_OK;
}

static enum rc copy(char *into, size_t room, const char *name, const char *text, struct error *err)
{
    size_t size = strlen(text);
    if (size == 0 || size >= room)
        return error_set(err, RC_INVALID, "%s is %s", name,
                         size == 0 ? "empty; leave it out to ask for any" : "too long");
    memcpy(into, text, size + 1);
    return RC_OK;
}

#define TEXT_SETTER(field)                                                                         \
    static enum rc set_##field(struct history_filter *filter, const char *name, const char *text,  \
                               struct error *err)                                                  \
    {                                                                                              \
        enum rc rc = copy(filter->field, sizeof(filter->field), name, text, err);                  \
        if (rc == RC_OK)                                                                           \
            filter->results.field = bytes_of(filter->field);                                       \
        return rc;                                                                                 \
    }
TEXT_SETTER(label)
TEXT_SETTER(model)
TEXT_SETTER(reference)
TEXT_SETTER(version)

static const struct {
    const char *name;
    enum rc (*set)(struct history_filter *filter, const char *name, const char *text,
                   struct error *err);
} members[] = {
    {"from", set_from},           {"to", set_to},
    {"label", set_label},         {"model", set_model},
    {"reference", set_reference}, {"version", set_version},
    {"min_score", set_min_score}, {"max_score", set_max_score},
    {"limit", set_limit},         {"cursor", set_cursor},
};

static enum rc set_member(void *ctx, struct bytes name, struct bytes value, struct error *err)
{
    struct history_filter *filter = ctx;
    char text[TEXT_ROOM] = "";
    int shown = (int)(name.size < 40 ? name.size : 40);
    if (value.size >= sizeof(text) || (value.size > 0 && memchr(value.data, '\0', value.size)))
        return error_set(err, RC_INVALID, "the value of '%.*s' is over %zu bytes or has a NUL",
                         shown, (const char *)name.data, sizeof(text) - 1);
    if (value.size > 0)
        memcpy(text, value.data, value.size);
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
        if (bytes_equal(name, bytes_of(members[i].name)))
            return members[i].set(filter, members[i].name, text, err);
    return error_set(err, RC_INVALID,
                     "there is no filter '%.*s'; there are from, to, label, model, reference, "
                     "version, min_score, max_score, limit and cursor",
                     shown, (const char *)name.data);
}

static enum rc read_object(struct history_filter *filter, const json_t *root, struct error *err)
{
    const char *name = NULL;
    const json_t *value = NULL;
    json_object_foreach((json_t *)root, name, value)
    {
        char room[SCALAR_TEXT_SIZE];
        struct bytes text;
        enum rc rc = scalar_text(name, value, room, &text, err);
        if (rc == RC_OK)
            rc = set_member(filter, bytes_of(name), text, err);
        if (rc != RC_OK)
            return rc;
    }
    return RC_OK;
}

enum rc history_filter_read(struct history_filter *filter, struct bytes query, const json_t *root,
                            struct error *err)
{
    *filter = (struct history_filter){.limit = HISTORY_LIMIT_DEFAULT};
    enum rc rc = query_each(query, QUERY_SIZE_MAX, set_member, filter, err);
    if (rc == RC_OK && root != NULL)
        rc = read_object(filter, root, err);
    const struct results_filter *results = &filter->results;
    if (rc != RC_OK)
        return rc;
    if (results->to_ms != 0 && results->from_ms > results->to_ms)
        return error_set(err, RC_INVALID, "from is after to");
    if ((results->label.size > 0) + (results->model.size > 0) + (results->reference.size > 0) > 1)
        return error_set(err, RC_INVALID,
                         "ask for one of label, model and reference; the others can be narrowed "
                         "with from, to, version and scores only");
    return RC_OK;
}
