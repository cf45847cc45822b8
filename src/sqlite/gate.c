/* SPDX-License-Identifier: Apache-2.0
 * gate.c - one writer at a time for each file of this process. SQLite would make the others poll
 * with growing sleeps, which costs milliseconds for each hand-over between modules. */
#include "sqlite/connection.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

static pthread_mutex_t gates_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct file_gate *gates;

int condition_init(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    int failed = pthread_cond_init(condition, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    return failed;
}

struct timespec condition_deadline(uint32_t ms)
{
    struct timespec at;
    (void)clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += (time_t)(ms / 1000);
    at.tv_nsec += (long)(ms % 1000) * 1000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    return at;
}

static struct file_gate *gate_new(uint64_t device, uint64_t inode)
{
    struct file_gate *gate = calloc(1, sizeof(*gate));
    if (gate == NULL)
        return NULL;
    if (pthread_mutex_init(&gate->mutex, NULL) != 0) {
        free(gate);
        return NULL;
    }
    if (condition_init(&gate->freed) != 0) {
        (void)pthread_mutex_destroy(&gate->mutex);
        free(gate);
        return NULL;
    }
    gate->device = device;
    gate->inode = inode;
    return gate;
}

enum rc gate_ref(const char *path, struct file_gate **ret_gate, struct error *err)
{
    struct stat stat_of;
    if (stat(path, &stat_of) != 0)
        return error_set(err, RC_UNAVAILABLE, "%s: %s", path, strerror(errno));
    uint64_t device = (uint64_t)stat_of.st_dev;
    uint64_t inode = (uint64_t)stat_of.st_ino;
    (void)pthread_mutex_lock(&gates_mutex);
    struct file_gate *gate = gates;
    while (gate != NULL && (gate->device != device || gate->inode != inode))
        gate = gate->next;
    if (gate == NULL) {
        gate = gate_new(device, inode);
        if (gate != NULL) {
            gate->next = gates;
            gates = gate;
        }
    }
    if (gate != NULL)
        gate->ref_count++;
    (void)pthread_mutex_unlock(&gates_mutex);
    if (gate == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory to open %s", path);
    *ret_gate = gate;
    return RC_OK;
}

void gate_unref(struct file_gate *gate)
{
    if (gate == NULL)
        return;
    (void)pthread_mutex_lock(&gates_mutex);
    bool last = --gate->ref_count == 0;
    if (last) {
        struct file_gate **link = &gates;
        while (*link != gate)
            link = &(*link)->next;
        *link = gate->next;
    }
    (void)pthread_mutex_unlock(&gates_mutex);
    if (last) {
        (void)pthread_cond_destroy(&gate->freed);
        (void)pthread_mutex_destroy(&gate->mutex);
        free(gate);
    }
}

/* Who leaves hands over to somebody waiting: a committer that comes back at once would otherwise
 * take its own place again and again. */
bool gate_enter(struct file_gate *gate, uint32_t wait_ms_max)
{
    (void)pthread_mutex_lock(&gate->mutex);
    bool entered = !gate->taken;
    if (entered) {
        gate->taken = true;
    } else {
        struct timespec deadline = condition_deadline(wait_ms_max);
        gate->waiting_count++;
        while (!gate->handed &&
               pthread_cond_timedwait(&gate->freed, &gate->mutex, &deadline) != ETIMEDOUT)
            continue;
        gate->waiting_count--;
        entered = gate->handed;
        gate->handed = false;
    }
    (void)pthread_mutex_unlock(&gate->mutex);
    return entered;
}

void gate_leave(struct file_gate *gate)
{
    (void)pthread_mutex_lock(&gate->mutex);
    if (gate->waiting_count > 0) {
        gate->handed = true;
        (void)pthread_cond_signal(&gate->freed);
    } else {
        gate->taken = false;
    }
    (void)pthread_mutex_unlock(&gate->mutex);
}
