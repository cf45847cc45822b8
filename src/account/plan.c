/* SPDX-License-Identifier: Apache-2.0
 * plan.c - price plans as JSON: read strictly, checked, written again. */
#include "account/plan.h"

#include <assert.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

const struct plan plan_none = {.currency = "XXX"};

static bool text_fits(const char *text, size_t size, size_t size_max)
{
    if (size == 0 || size >= size_max)
        return false;
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!word && (i == 0 || (c != '.' && c != '_' && c != '-')))
            return false;
    }
    return true;
}

static bool model_fits(const char *model)
{
    size_t size = strnlen(model, PLAN_MODEL_SIZE);
    return strcmp(model, "*") == 0 || text_fits(model, size, PLAN_MODEL_SIZE);
}

static enum rc check_price(const struct plan *plan, uint32_t index, struct error *err)
{
    const struct plan_price *price = &plan->prices[index];
    if (!model_fits(price->model))
        return error_set(err, RC_INVALID, "prices[%u].model: a model's name or \"*\"", index);
    for (uint32_t i = 0; i < index; i++)
        if (strcmp(plan->prices[i].model, price->model) == 0)
            return error_set(err, RC_INVALID, "prices[%u].model: %s has a row already", index,
                             price->model);
    if (price->tier_count == 0 || price->tier_count > PLAN_TIER_MAX)
        return error_set(err, RC_INVALID, "prices[%u].tiers: 1 to %u tiers", index, PLAN_TIER_MAX);
    if (price->image_free > MICRO_MAX)
        return error_set(err, RC_INVALID, "prices[%u].free_images: 0 to 2^63-1", index);
    uint64_t last = 0;
    for (uint32_t i = 0; i < price->tier_count; i++) {
        const struct plan_tier *tier = &price->tiers[i];
        bool open = i + 1 == price->tier_count;
        if (open != (tier->image_last == UINT64_MAX))
            return error_set(err, RC_INVALID,
                             "prices[%u].tiers[%u].up_to: every tier but the last has one", index,
                             i);
        if (!open && (tier->image_last <= last || tier->image_last > MICRO_MAX))
            return error_set(err, RC_INVALID, "prices[%u].tiers[%u].up_to: must grow", index, i);
        if (tier->micro > PLAN_UNIT_MAX)
            return error_set(err, RC_INVALID, "prices[%u].tiers[%u].price_micro: 0 to %llu", index,
                             i, PLAN_UNIT_MAX);
        last = tier->image_last;
    }
    return RC_OK;
}

enum rc plan_check(const struct plan *plan, struct error *err)
{
    if (!text_fits(plan->name, strnlen(plan->name, PLAN_NAME_SIZE), PLAN_NAME_SIZE))
        return error_set(err, RC_INVALID,
                         "name: up to %d of a-z 0-9 . _ -, the first a letter or digit",
                         PLAN_NAME_SIZE - 1);
    if (plan->version == 0 || plan->version > INT32_MAX)
        return error_set(err, RC_INVALID, "version: 1 to 2^31-1");
    for (int i = 0; i < 3; i++)
        if (plan->currency[i] < 'A' || plan->currency[i] > 'Z')
            return error_set(err, RC_INVALID, "currency: three capital letters (ISO 4217)");
    if (plan->currency[3] != '\0')
        return error_set(err, RC_INVALID, "currency: three capital letters (ISO 4217)");
    if (plan->minimum_micro > MICRO_MAX)
        return error_set(err, RC_INVALID, "monthly_minimum_micro: 0 to 2^63-1");
    if (plan->price_count > PLAN_PRICE_MAX)
        return error_set(err, RC_INVALID, "prices: at most %u rows", PLAN_PRICE_MAX);
    for (uint32_t i = 0; i < plan->price_count; i++) {
        enum rc rc = check_price(plan, i, err);
        if (rc != RC_OK)
            return rc;
    }
    return RC_OK;
}

/* Unknown keys are errors: a mistyped "free_image" must not cost anybody money. */
static enum rc only_keys(json_t *object, const char *where, const char *const keys[],
                         struct error *err)
{
    if (!json_is_object(object))
        return error_set(err, RC_INVALID, "%s: must be an object", where);
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        bool known = false;
        for (size_t i = 0; keys[i] != NULL && !known; i++)
            known = strcmp(keys[i], key) == 0;
        if (!known)
            return error_set(err, RC_INVALID, "%s: there is no key '%.40s'", where, key);
    }
    return RC_OK;
}

static enum rc read_text(json_t *object, const char *key, char *into, size_t into_size,
                         struct error *err)
{
    json_t *value = json_object_get(object, key);
    /* A zero byte inside would make the stored text another than the checked one. */
    if (!json_is_string(value) || json_string_length(value) >= into_size ||
        strlen(json_string_value(value)) != json_string_length(value))
        return error_set(err, RC_INVALID, "%s: must be a text of 1 to %zu bytes", key,
                         into_size - 1);
    memcpy(into, json_string_value(value), json_string_length(value) + 1);
    return RC_OK;
}

static enum rc read_number(json_t *object, const char *key, uint64_t preset, bool needed,
                           uint64_t *ret_number, struct error *err)
{
    json_t *value = json_object_get(object, key);
    if (value == NULL && !needed) {
        *ret_number = preset;
        return RC_OK;
    }
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return error_set(err, RC_INVALID, "%s: must be an integer of 0 or more", key);
    *ret_number = (uint64_t)json_integer_value(value);
    return RC_OK;
}

static enum rc read_price(json_t *object, struct plan_price *price, struct error *err)
{
    static const char *const keys[] = {"model", "free_images", "tiers", NULL};
    static const char *const tier_keys[] = {"up_to", "price_micro", NULL};
    enum rc rc = only_keys(object, "prices", keys, err);
    if (rc == RC_OK)
        rc = read_text(object, "model", price->model, sizeof(price->model), err);
    if (rc == RC_OK)
        rc = read_number(object, "free_images", 0, false, &price->image_free, err);
    if (rc != RC_OK)
        return rc;
    json_t *tiers = json_object_get(object, "tiers");
    if (!json_is_array(tiers) || json_array_size(tiers) > PLAN_TIER_MAX)
        return error_set(err, RC_INVALID, "tiers: 1 to %u of them", PLAN_TIER_MAX);
    price->tier_count = (uint32_t)json_array_size(tiers);
    for (uint32_t i = 0; rc == RC_OK && i < price->tier_count; i++) {
        json_t *tier = json_array_get(tiers, i);
        rc = only_keys(tier, "tiers", tier_keys, err);
        if (rc == RC_OK)
            rc = read_number(tier, "up_to", UINT64_MAX, false, &price->tiers[i].image_last, err);
        if (rc == RC_OK)
            rc = read_number(tier, "price_micro", 0, true, &price->tiers[i].micro, err);
    }
    return rc;
}

static enum rc read_plan(json_t *root, struct plan *plan, struct error *err)
{
    static const char *const keys[] = {"name",   "version", "currency", "monthly_minimum_micro",
                                       "prices", NULL};
    enum rc rc = only_keys(root, "plan", keys, err);
    uint64_t version = 0;
    if (rc == RC_OK)
        rc = read_text(root, "name", plan->name, sizeof(plan->name), err);
    if (rc == RC_OK)
        rc = read_number(root, "version", 0, true, &version, err);
    if (rc == RC_OK)
        rc = read_text(root, "currency", plan->currency, sizeof(plan->currency), err);
    if (rc == RC_OK)
        rc = read_number(root, "monthly_minimum_micro", 0, false, &plan->minimum_micro, err);
    if (rc != RC_OK)
        return rc;
    plan->version = version > UINT32_MAX ? UINT32_MAX : (uint32_t)version;
    json_t *prices = json_object_get(root, "prices");
    if (!json_is_array(prices) || json_array_size(prices) > PLAN_PRICE_MAX)
        return error_set(err, RC_INVALID, "prices: a list of at most %u rows", PLAN_PRICE_MAX);
    plan->price_count = (uint32_t)json_array_size(prices);
    for (uint32_t i = 0; rc == RC_OK && i < plan->price_count; i++)
        rc = read_price(json_array_get(prices, i), &plan->prices[i], err);
    return rc == RC_OK ? plan_check(plan, err) : rc;
}

enum rc plan_parse(struct bytes json, struct plan *ret_plan, struct error *err)
{
    assert(ret_plan != NULL);
    if (json.size > PLAN_BODY_MAX)
        return error_set(err, RC_TOO_LARGE, "a plan has at most %u bytes", PLAN_BODY_MAX);
    json_error_t wrong;
    json_t *root = json_loadb((const char *)json.data, json.size, JSON_REJECT_DUPLICATES, &wrong);
    if (root == NULL)
        return error_set(err, RC_INVALID, "line %d, column %d: %.120s", wrong.line, wrong.column,
                         wrong.text);
    struct plan *plan = calloc(1, sizeof(*plan));
    enum rc rc = plan == NULL ? error_set(err, RC_NO_MEMORY, "a plan") : read_plan(root, plan, err);
    if (rc == RC_OK)
        *ret_plan = *plan;
    free(plan);
    json_decref(root);
    return rc;
}

static json_t *price_json(const struct plan_price *price)
{
    json_t *tiers = json_array();
    for (uint32_t i = 0; i < price->tier_count; i++) {
        json_t *tier = json_object();
        if (price->tiers[i].image_last != UINT64_MAX)
            (void)json_object_set_new(tier, "up_to",
                                      json_integer((json_int_t)price->tiers[i].image_last));
        (void)json_object_set_new(tier, "price_micro",
                                  json_integer((json_int_t)price->tiers[i].micro));
        (void)json_array_append_new(tiers, tier);
    }
    return json_pack("{s:s, s:I, s:o}", "model", price->model, "free_images",
                     (json_int_t)price->image_free, "tiers", tiers);
}

enum rc plan_write(const struct plan *plan, struct buf *into)
{
    json_t *prices = json_array();
    bool whole = prices != NULL;
    for (uint32_t i = 0; whole && i < plan->price_count; i++)
        whole = json_array_append_new(prices, price_json(&plan->prices[i])) == 0;
    json_t *root =
        json_pack("{s:s, s:I, s:s, s:I, s:o}", "name", plan->name, "version",
                  (json_int_t)plan->version, "currency", plan->currency, "monthly_minimum_micro",
                  (json_int_t)plan->minimum_micro, "prices", prices);
    char *text = whole && root != NULL ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    enum rc rc = text == NULL ? RC_NO_MEMORY : buf_append(into, bytes_of(text));
    free(text);
    return rc;
}
