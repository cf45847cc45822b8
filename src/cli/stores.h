/* SPDX-License-Identifier: Apache-2.0
 * stores.h - where predictions, pictures, accounts and jobs are kept, for the server and for every
 * command that looks into them: config/stores.def with what its empty settings stand for.
 *
 *   results, accounts, queue   sqlite:DATA/imago.db      "none" switches one off
 *   images                     file:DATA/images          off with the results
 *
 * While any process has a store open it holds its folder's flock() shared; whoever replaces the
 * files holds it alone. Threads: one, but for the stores themselves.
 */
#ifndef CLI_STORES_H
#define CLI_STORES_H
#include "account/account.h"
#include "blob/blob.h"
#include "config/config.h"
#include "queue/queue.h"
#include "results/results.h"

#include <limits.h>

/* Follows the name of a database that is not in its place yet. */
#define STORES_STAGED   ".restoring"
#define STORES_URL_SIZE (PATH_MAX + 16)
#define STORES_COUNT    4

enum store_need {
    STORE_ACCOUNTS = 1,
    STORE_RESULTS = 2,
    STORE_IMAGES = 4,
    STORE_QUEUE = 8,
    STORE_ALL = 15,
    STORE_CREATE = 16,    /* what does not exist yet is made; otherwise it is NOT_FOUND */
    STORE_READ_ONLY = 32, /* databases are neither converted nor written, whatever happens */
};

struct stores {
    const struct stores_settings *settings; /* borrowed */
    /* "": off */
    char accounts_url[STORES_URL_SIZE];
    char results_url[STORES_URL_SIZE];
    char images_url[STORES_URL_SIZE];
    char queue_url[STORES_URL_SIZE];
    struct jwt *jwt; /* of whoever takes tokens too: set before the accounts are opened */
    /* NULL: not open */
    struct account *account;
    struct results *results;
    struct blob *blob;
    struct queue *queue;
    int locks[STORES_COUNT]; /* of their folders; private */
    uint32_t lock_count;
};

/* INVALID: what cannot go together, such as a queue without results. */
NODISCARD enum rc stores_resolve(const struct stores_settings *settings, struct stores *ret_stores,
                                 struct error *err);
/* Those that are not off, as STORE_... */
uint32_t stores_on(const struct stores *stores);
/* Opens those of `needs` that are not open yet. INVALID: one is off. NOT_FOUND: it is not there,
 * with what to do. BUSY: it is being restored. What was opened before a failure stays open. */
NODISCARD enum rc stores_open(struct stores *stores, uint32_t needs, struct error *err);
void stores_close(struct stores *stores);
/* Instead of opening them: keeps everybody else out of the folders of all that are on, until
 * stores_close(). BUSY: a server or a command has one open. */
NODISCARD enum rc stores_lock(struct stores *stores, struct error *err);

/* The file or folder of a URL, without its parameters; "" if it is not on a local disk. */
void stores_path(const char *url, char into[PATH_MAX]);
/* Makes the folder of --data. INVALID: it is a backup. */
NODISCARD enum rc stores_make_data(const struct stores_settings *settings, struct error *err);
#endif
