/* SPDX-License-Identifier: Apache-2.0 */
#include "blob/s3_busy.h"

#include <pthread.h>
#include <string.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct s3_busy *first;

static bool meet(const struct s3_busy *a, const struct s3_busy *b)
{
    for (uint32_t i = 0; i < a->count; i++)
        for (uint32_t j = 0; j < b->count; j++)
            if (memcmp(a->hashes[i], b->hashes[j], BLOB_SHA256_SIZE) == 0)
                return true;
    return false;
}

void s3_busy_begin(struct s3_busy *busy)
{
    (void)pthread_mutex_lock(&mutex);
    const struct s3_busy *other = first;
    while (other != NULL) {
        if (meet(busy, other)) {
            (void)pthread_cond_wait(&changed, &mutex);
            other = first;
        } else {
            other = other->next;
        }
    }
    busy->next = first;
    first = busy;
    (void)pthread_mutex_unlock(&mutex);
}

void s3_busy_end(struct s3_busy *busy)
{
    (void)pthread_mutex_lock(&mutex);
    struct s3_busy **link = &first;
    while (*link != busy)
        link = &(*link)->next;
    *link = busy->next;
    (void)pthread_cond_broadcast(&changed);
    (void)pthread_mutex_unlock(&mutex);
}
