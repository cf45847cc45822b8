/* SPDX-License-Identifier: Apache-2.0 */
#include "results/cursor.h"

#include <string.h>

#define VERSION      1u
#define DIGEST_START 14695981039346656037ull /* of FNV-1a */
/* version, digest, created_ms, id: a multiple of 3, so that base64url needs no padding. */
#define RAW_SIZE  33u
#define TEXT_SIZE (RAW_SIZE / 3 * 4)
_Static_assert(TEXT_SIZE < RESULTS_CURSOR_SIZE, "a cursor fits its room");

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static uint64_t digest_add(uint64_t digest, const void *data, size_t size)
{
    const uint8_t *octets = data;
    for (size_t i = 0; i < size; i++)
        digest = (digest ^ octets[i]) * 1099511628211ull;
    return digest;
}

static uint64_t digest_text(uint64_t digest, struct bytes text)
{
    uint64_t size = text.size;
    digest = digest_add(digest, &size, sizeof(size));
    return text.size > 0 ? digest_add(digest, text.data, text.size) : digest;
}

uint64_t cursor_digest(struct bytes tenant, const struct results_filter *filter)
{
    uint64_t digest = DIGEST_START;
    digest = digest_text(digest, tenant);
    digest = digest_text(digest, filter->label);
    digest = digest_text(digest, filter->model);
    digest = digest_text(digest, filter->reference);
    digest = digest_text(digest, filter->version);
    digest = digest_add(digest, &filter->from_ms, sizeof(filter->from_ms));
    digest = digest_add(digest, &filter->to_ms, sizeof(filter->to_ms));
    digest = digest_add(digest, &filter->min_score, sizeof(filter->min_score));
    return digest_add(digest, &filter->max_score, sizeof(filter->max_score));
}

uint64_t cursor_digest_jobs(struct bytes tenant)
{
    return digest_text(digest_text(DIGEST_START, bytes_of("jobs")), tenant);
}

static void put_u64(uint8_t *into, uint64_t value)
{
    for (int i = 0; i < 8; i++)
        into[i] = (uint8_t)(value >> (56 - 8 * i));
}

static uint64_t get_u64(const uint8_t *from)
{
    uint64_t value = 0;
    for (int i = 0; i < 8; i++)
        value = value << 8 | from[i];
    return value;
}

void cursor_write(uint64_t digest, struct results_position position, char into[RESULTS_CURSOR_SIZE])
{
    uint8_t raw[RAW_SIZE];
    raw[0] = VERSION;
    put_u64(raw + 1, digest);
    put_u64(raw + 9, position.created_ms);
    memcpy(raw + 17, position.id.octets, sizeof(position.id.octets));
    size_t at = 0;
    for (size_t i = 0; i < RAW_SIZE; i += 3) {
        uint32_t group = (uint32_t)raw[i] << 16 | (uint32_t)raw[i + 1] << 8 | raw[i + 2];
        for (int shift = 18; shift >= 0; shift -= 6)
            into[at++] = alphabet[group >> shift & 63];
    }
    into[at] = '\0';
}

enum rc cursor_read(struct bytes text, uint64_t digest, struct results_position *ret_position,
                    struct error *err)
{
    static const char wrong[] = "the cursor is not the `next` of a page with the same filter";
    if (text.size != TEXT_SIZE)
        return error_set(err, RC_INVALID, "%s", wrong);
    uint8_t raw[RAW_SIZE];
    for (size_t i = 0; i < TEXT_SIZE; i += 4) {
        uint32_t group = 0;
        for (size_t j = i; j < i + 4; j++) {
            const char *found = text.data[j] != '\0' ? strchr(alphabet, (char)text.data[j]) : NULL;
            if (found == NULL)
                return error_set(err, RC_INVALID, "%s", wrong);
            group = group << 6 | (uint32_t)(found - alphabet);
        }
        raw[i / 4 * 3] = (uint8_t)(group >> 16);
        raw[i / 4 * 3 + 1] = (uint8_t)(group >> 8);
        raw[i / 4 * 3 + 2] = (uint8_t)group;
    }
    struct results_position position = {.created_ms = get_u64(raw + 9)};
    memcpy(position.id.octets, raw + 17, sizeof(position.id.octets));
    if (raw[0] != VERSION || get_u64(raw + 1) != digest || position.created_ms > RESULT_TIME_MS_MAX)
        return error_set(err, RC_INVALID, "%s", wrong);
    *ret_position = position;
    return RC_OK;
}
