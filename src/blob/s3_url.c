/* SPDX-License-Identifier: Apache-2.0
 * s3_url.c - s3://bucket/prefix?region=eu-central-1&... */
#include "blob/s3.h"
#include "net/query.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPTIONS "region, endpoint, sse, kms-key and storage-class"

static const char letters_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

static bool is_of(const char *text, const char *more)
{
    for (; *text != '\0'; text++)
        if (strchr(letters_digits, *text) == NULL && strchr(more, *text) == NULL)
            return false;
    return true;
}

static enum rc read_bucket(const char *text, size_t size, struct s3_place *place, struct error *err)
{
    bool fine = size >= 3 && size < S3_BUCKET_SIZE;
    for (size_t i = 0; i < size && fine; i++)
        fine = (text[i] >= 'a' && text[i] <= 'z') || (text[i] >= '0' && text[i] <= '9') ||
               (i > 0 && i + 1 < size && (text[i] == '-' || text[i] == '.'));
    if (!fine)
        return error_set(err, RC_INVALID,
                         "s3://%.60s: a bucket's name must follow, 3 to 63 of a-z, 0-9, '-' and "
                         "'.', as in s3://my-pictures/imago",
                         text);
    memcpy(place->bucket, text, size);
    place->bucket[size] = '\0';
    return RC_OK;
}

/* Plain characters only, so that a key is the same in a URL, in XML and to other tools. */
static enum rc read_prefix(const char *text, size_t size, struct s3_place *place, struct error *err)
{
    while (size > 0 && text[size - 1] == '/')
        size--;
    char *into = place->prefix;
    if (size + 2 > S3_PREFIX_SIZE)
        return error_set(err, RC_INVALID, "s3://%s: the prefix is over %u characters",
                         place->bucket, S3_PREFIX_SIZE - 2);
    memcpy(into, text, size);
    into[size] = '\0';
    bool fine = is_of(into, "-_./") && into[0] != '/' && strstr(into, "//") == NULL;
    for (const char *at = into; at != NULL && fine; at = strchr(at, '/')) {
        at += *at == '/';
        size_t part = strcspn(at, "/");
        fine = !(part == 1 && at[0] == '.') && !(part == 2 && at[0] == '.' && at[1] == '.');
    }
    if (!fine)
        return error_set(err, RC_INVALID,
                         "s3://%s/%.80s: a prefix is of letters, digits, '-', '_', '.' and '/', "
                         "without empty parts, '.' and '..'",
                         place->bucket, into);
    if (size > 0) {
        into[size] = '/';
        into[size + 1] = '\0';
    }
    return RC_OK;
}

static bool copy(struct bytes value, char *into, size_t size)
{
    return value.size > 0 &&
           snprintf(into, size, "%.*s", (int)value.size, (const char *)value.data) < (int)size;
}

static enum rc check_choice(const char *name, const char *value, const char *const all[],
                            const char *text, struct error *err)
{
    for (size_t i = 0; all[i] != NULL; i++)
        if (strcmp(value, all[i]) == 0)
            return RC_OK;
    return error_set(err, RC_INVALID, "s3: %s is one of %s", name, text);
}

static enum rc read_option(void *ctx, struct bytes name, struct bytes value, struct error *err)
{
    static const char *const encryptions[] = {"AES256", "aws:kms", NULL};
    static const char *const classes[] = {"STANDARD",   "STANDARD_IA",         "ONEZONE_IA",
                                          "GLACIER_IR", "INTELLIGENT_TIERING", NULL};
    struct s3_place *place = ctx;
    const struct {
        const char *name;
        char *into;
        size_t size;
    } options[] = {
        {"region", place->region, sizeof(place->region)},
        {"endpoint", place->endpoint, sizeof(place->endpoint)},
        {"sse", place->sse, sizeof(place->sse)},
        {"kms-key", place->kms_key, sizeof(place->kms_key)},
        {"storage-class", place->storage_class, sizeof(place->storage_class)},
    };
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        if (!bytes_equal(name, bytes_of(options[i].name)))
            continue;
        if (!copy(value, options[i].into, options[i].size))
            return error_set(err, RC_INVALID, "s3: %s is empty or too long", options[i].name);
        if (options[i].into == place->sse)
            return check_choice("sse", place->sse, encryptions, "AES256 and aws:kms", err);
        if (options[i].into == place->storage_class)
            return check_choice("storage-class", place->storage_class, classes,
                                "STANDARD, STANDARD_IA, ONEZONE_IA, GLACIER_IR and "
                                "INTELLIGENT_TIERING; a lifecycle rule moves pictures into an "
                                "archive",
                                err);
        return RC_OK;
    }
    return error_set(err, RC_INVALID, "s3: only " OPTIONS " may follow '?', not %.*s",
                     (int)(name.size < 40 ? name.size : 40), (const char *)name.data);
}

/* In headers and signatures they stand as they are. */
static enum rc check(struct s3_place *place, struct error *err)
{
    const char *endpoint = place->endpoint;
    if (!is_of(place->region, "-"))
        return error_set(err, RC_INVALID, "s3: '%.60s' is no region", place->region);
    if (!is_of(place->kms_key, "-_:/"))
        return error_set(err, RC_INVALID, "s3: kms-key is the key's id or ARN");
    if (place->kms_key[0] != '\0' && strcmp(place->sse, "aws:kms") != 0)
        return error_set(err, RC_INVALID, "s3: kms-key is of use with sse=aws:kms only");
    if (endpoint[0] == '\0')
        return RC_OK;
    size_t size = strlen(endpoint);
    if (endpoint[size - 1] == '/')
        place->endpoint[--size] = '\0';
    enum rc rc = client_url_check(bytes_of(endpoint), CLIENT_ANY, err);
    const char *host = strstr(endpoint, "//");
    if (rc != RC_OK || host == NULL || strpbrk(host + 2, "/?#") != NULL)
        return error_set(err, RC_INVALID,
                         "s3: the endpoint must be like https://storage.example.com:9000");
    return RC_OK;
}

/* Other services sign for a region too, and it is mostly this one. */
static enum rc find_region(struct s3_place *place, struct error *err)
{
    struct error why = {0};
    enum rc rc = aws_region_find(place->region, &why);
    if (rc == RC_NOT_FOUND && place->endpoint[0] != '\0') {
        (void)snprintf(place->region, sizeof(place->region), "us-east-1");
        return RC_OK;
    }
    return rc == RC_OK ? rc : error_set(err, rc == RC_NOT_FOUND ? RC_INVALID : rc, "%s", why.text);
}

enum rc s3_place_read(const char *text, struct s3_place *ret_place, struct error *err)
{
    struct s3_place place = {0};
    if (strncmp(text, "//", 2) != 0)
        return error_set(err, RC_INVALID, "s3: a bucket must follow, as in s3://my-pictures/imago");
    text += 2;
    size_t whole = strcspn(text, "?");
    size_t bucket = strcspn(text, "/?");
    enum rc rc = read_bucket(text, bucket, &place, err);
    size_t skip = bucket + (bucket < whole);
    if (rc == RC_OK)
        rc = read_prefix(text + skip, whole - skip, &place, err);
    if (rc == RC_OK && text[whole] == '?')
        rc = query_each(bytes_of(text + whole + 1), 255, read_option, &place, err);
    if (rc == RC_OK && place.endpoint[0] == '\0') {
        const char *given = getenv("AWS_ENDPOINT_URL_S3");
        if (given == NULL || given[0] == '\0')
            given = getenv("AWS_ENDPOINT_URL");
        if (given != NULL && snprintf(place.endpoint, sizeof(place.endpoint), "%s", given) >=
                                 (int)sizeof(place.endpoint))
            rc = error_set(err, RC_INVALID, "AWS_ENDPOINT_URL is too long");
    }
    if (rc == RC_OK)
        rc = check(&place, err);
    if (rc == RC_OK && place.region[0] == '\0')
        rc = find_region(&place, err);
    if (rc == RC_OK)
        *ret_place = place;
    return rc;
}

/* AWS wants the bucket in the host's name, where its certificate covers it; other services are
 * reached by one name for all buckets. */
void s3_place_origin(const struct s3_place *place, char origin[S3_ORIGIN_SIZE],
                     char path_start[S3_BUCKET_SIZE + 2])
{
    bool own = place->endpoint[0] != '\0';
    bool in_path = own || strchr(place->bucket, '.') != NULL;
    if (own)
        (void)snprintf(origin, S3_ORIGIN_SIZE, "%s", place->endpoint);
    else
        (void)snprintf(origin, S3_ORIGIN_SIZE, "https://%s%ss3.%s.%s", in_path ? "" : place->bucket,
                       in_path ? "" : ".", place->region, aws_domain(place->region));
    (void)snprintf(path_start, S3_BUCKET_SIZE + 2, "%s%s", in_path ? "/" : "",
                   in_path ? place->bucket : "");
}
