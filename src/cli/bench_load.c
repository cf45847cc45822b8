/* SPDX-License-Identifier: Apache-2.0
 * bench_load.c - the load: libcurl's multi interface on one thread, one easy handle per connection.
 *
 * Open loop: arrivals are drawn ahead of time and a request's clock starts when it was due, even if
 * no connection was free by then; a server that stalls cannot hide the requests it kept from being
 * sent. */
#include "base/clock.h"
#include "cli/bench.h"

#include <curl/curl.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define SAMPLE_COUNT_MAX  10000000u
#define UPLOAD_CHUNK      (512l * 1024) /* a typical photo in one write */
#define HOPELESS_FAILURES 100u
#define HEADER_SETS_MAX   8u
#define POLL_MS           1000

struct client {
    CURL *easy;
    struct load *load;
    uint64_t due_ns;
    struct client *next_free;
    size_t excerpt_size;
    char excerpt[160]; /* the answer's beginning, shown when it is a failure */
};

struct header_set {
    const char *type;
    struct curl_slist *list;
};

struct load {
    const struct bench_options *options;
    const struct photos *photos;
    CURLM *multi;
    int timer;
    struct client *clients;
    struct client *free_clients;
    uint32_t outstanding;
    struct header_set headers[HEADER_SETS_MAX];
    size_t photo_next;
    uint64_t random;
    /* of the phase that runs */
    struct tally *tally;
    uint64_t issued;
};

static size_t keep_excerpt(char *data, size_t size, size_t count, void *ctx)
{
    struct client *client = ctx;
    size_t room = sizeof(client->excerpt) - 1 - client->excerpt_size;
    size_t take = size * count < room ? size * count : room;
    memcpy(client->excerpt + client->excerpt_size, data, take);
    client->excerpt_size += take;
    return size * count;
}

static struct curl_slist *headers_for(struct load *load, const char *type)
{
    struct header_set *set = load->headers;
    while (set->list != NULL && set->type != type)
        set++;
    if (set->list != NULL)
        return set->list;
    if (set + 1 == load->headers + HEADER_SETS_MAX)
        return NULL;
    char line[128];
    (void)snprintf(line, sizeof(line), "Content-Type: %s", type);
    const char *form = load->photos->content;
    const char *own = load->options->header;
    /* Without "Expect:" libcurl asks before it sends a large body, and waits. */
    const char *lines[] = {form[0] != '\0' ? form : line, "Expect:", own[0] != '\0' ? own : NULL};
    struct curl_slist *list = NULL;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]) && lines[i] != NULL; i++) {
        struct curl_slist *longer = curl_slist_append(list, lines[i]);
        if (longer == NULL) {
            curl_slist_free_all(list);
            return NULL;
        }
        list = longer;
    }
    *set = (struct header_set){type, list};
    return list;
}

static bool client_init(struct client *client, struct load *load, const char *url)
{
    CURL *easy = client->easy = curl_easy_init();
    client->load = load;
    if (easy == NULL)
        return false;
    long timeout_ms = (long)load->options->timeout;
    return curl_easy_setopt(easy, CURLOPT_URL, url) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PROXY, "") == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_POST, 1l) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, UPLOAD_CHUNK) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, timeout_ms) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1l) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, keep_excerpt) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_WRITEDATA, client) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PRIVATE, client) == CURLE_OK;
}

enum rc load_open(const struct bench_options *options, const char *url, const struct photos *photos,
                  struct load **ret_load, struct error *err)
{
    struct load *load = calloc(1, sizeof(*load));
    if (load == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        free(load);
        return error_set(err, RC_NO_MEMORY, "no memory for the load");
    }
    load->options = options;
    load->photos = photos;
    load->random = (uint64_t)options->seed ^ 0x5851f42d4c957f2dull;
    load->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    load->multi = curl_multi_init();
    load->clients = calloc(options->clients, sizeof(*load->clients));
    bool ready =
        load->timer >= 0 && load->multi != NULL && load->clients != NULL &&
        curl_multi_setopt(load->multi, CURLMOPT_MAXCONNECTS, (long)options->clients) == CURLM_OK;
    for (uint32_t i = 0; ready && i < options->clients; i++) {
        struct client *client = &load->clients[i];
        ready = client_init(client, load, url);
        client->next_free = load->free_clients;
        load->free_clients = client;
    }
    if (!ready) {
        load_free(load);
        return error_set(err, RC_NO_MEMORY, "no memory for %u connections", options->clients);
    }
    *ret_load = load;
    return RC_OK;
}

void load_free(struct load *load)
{
    if (load == NULL)
        return;
    for (uint32_t i = 0; load->clients != NULL && i < load->options->clients; i++) {
        if (load->clients[i].easy != NULL && load->multi != NULL)
            (void)curl_multi_remove_handle(load->multi, load->clients[i].easy);
        curl_easy_cleanup(load->clients[i].easy);
    }
    (void)curl_multi_cleanup(load->multi);
    for (size_t i = 0; i < HEADER_SETS_MAX; i++)
        curl_slist_free_all(load->headers[i].list);
    if (load->timer >= 0)
        (void)close(load->timer);
    free(load->clients);
    free(load);
    curl_global_cleanup();
}

static enum rc send_next(struct load *load, uint64_t due_ns, struct error *err)
{
    struct client *client = load->free_clients;
    const struct photo *photo = &load->photos->items[load->photo_next];
    struct curl_slist *headers = headers_for(load, photo->type);
    curl_off_t size = (curl_off_t)photo->body.size;
    if (headers == NULL ||
        curl_easy_setopt(client->easy, CURLOPT_HTTPHEADER, headers) != CURLE_OK ||
        curl_easy_setopt(client->easy, CURLOPT_POSTFIELDS, photo->body.data) != CURLE_OK ||
        curl_easy_setopt(client->easy, CURLOPT_POSTFIELDSIZE_LARGE, size) != CURLE_OK ||
        curl_multi_add_handle(load->multi, client->easy) != CURLM_OK)
        return error_set(err, RC_NO_MEMORY, "no memory to send a request");
    load->free_clients = client->next_free;
    load->photo_next = (load->photo_next + 1) % load->photos->count;
    load->issued++;
    load->outstanding++;
    client->due_ns = due_ns;
    client->excerpt_size = 0;
    return RC_OK;
}

static enum rc keep_latency(struct tally *tally, uint64_t latency_ns, struct error *err)
{
    if (tally->count == tally->room) {
        size_t room = tally->room == 0 ? 4096 : tally->room * 2;
        uint32_t *larger = realloc(tally->latency_us, room * sizeof(*larger));
        if (larger == NULL)
            return error_set(err, RC_NO_MEMORY, "no memory for %zu latencies", room);
        tally->latency_us = larger;
        tally->room = room;
    }
    uint64_t latency_us = latency_ns / 1000;
    tally->latency_us[tally->count++] = latency_us < UINT32_MAX ? (uint32_t)latency_us : UINT32_MAX;
    return RC_OK;
}

static enum rc receive(struct load *load, const CURLMsg *message, struct error *err)
{
    struct tally *tally = load->tally;
    struct client *client = NULL;
    long status = 0;
    CURLcode code = message->data.result;
    (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&client);
    (void)curl_easy_getinfo(message->easy_handle, CURLINFO_RESPONSE_CODE, &status);
    uint64_t latency_ns = clock_monotonic_ns() - client->due_ns;
    (void)curl_multi_remove_handle(load->multi, client->easy);
    client->next_free = load->free_clients;
    load->free_clients = client;
    load->outstanding--;
    if (code == CURLE_OK && status >= 200 && status < 300)
        return keep_latency(tally, latency_ns, err);

    client->excerpt[client->excerpt_size] = '\0';
    if (tally->failed++ == 0 && code == CURLE_OK)
        (void)snprintf(tally->first_failure, sizeof(tally->first_failure), "status %ld: %s", status,
                       client->excerpt);
    else if (tally->failed == 1)
        (void)snprintf(tally->first_failure, sizeof(tally->first_failure), "%s",
                       curl_easy_strerror(code));
    if (code == CURLE_OK)
        tally->status[status < (long)BENCH_STATUS_MAX ? (size_t)status : BENCH_STATUS_MAX - 1]++;
    else
        tally->transport[(size_t)code < BENCH_CURL_MAX ? (size_t)code : BENCH_CURL_MAX - 1]++;
    if (tally->count == 0 && tally->failed >= HOPELESS_FAILURES)
        return error_set(err, RC_UNAVAILABLE, "%u requests and not one success; the first: %s",
                         HOPELESS_FAILURES, tally->first_failure);
    return RC_OK;
}

/* Wait for the network or, in the open loop, for the next arrival. */
static enum rc wait_for_more(struct load *load, uint64_t next_due_ns, struct error *err)
{
    struct curl_waitfd timer = {.fd = load->timer, .events = CURL_WAIT_POLLIN};
    unsigned timer_count = 0;
    if (next_due_ns != 0) {
        struct itimerspec when = {.it_value = {.tv_sec = (time_t)(next_due_ns / NS_PER_S),
                                               .tv_nsec = (long)(next_due_ns % NS_PER_S)}};
        timer_count = 1;
        if (timerfd_settime(load->timer, TFD_TIMER_ABSTIME, &when, NULL) != 0)
            return error_set(err, RC_INTERNAL, "cannot set a timer: %s", strerror(errno));
    }
    if (curl_multi_poll(load->multi, &timer, timer_count, POLL_MS, NULL) != CURLM_OK)
        return error_set(err, RC_INTERNAL, "cannot wait for the network");
    return RC_OK;
}

static uint64_t draw_gap_ns(struct load *load)
{
    return (uint64_t)(-log(1 - random_unit(&load->random)) / load->options->rate *
                      (double)NS_PER_S);
}

/* What is left to send of the phase that runs. */
struct plan {
    bool open;
    uint64_t end_ns;
    uint64_t request_max;
    uint64_t next_due_ns; /* open loop */
};

static bool plan_done(const struct plan *plan, uint64_t issued, uint64_t now_ns)
{
    return issued >= plan->request_max || (plan->open ? plan->next_due_ns : now_ns) >= plan->end_ns;
}

static enum rc send_due(struct load *load, struct plan *plan, struct error *err)
{
    uint64_t now_ns = clock_monotonic_ns();
    enum rc rc = RC_OK;
    while (rc == RC_OK && load->free_clients != NULL && !plan_done(plan, load->issued, now_ns)) {
        if (plan->open && plan->next_due_ns > now_ns)
            break;
        rc = send_next(load, plan->open ? plan->next_due_ns : now_ns, err);
        if (plan->open)
            plan->next_due_ns += draw_gap_ns(load);
    }
    return rc;
}

static enum rc receive_all(struct load *load, uint32_t *ret_count, struct error *err)
{
    int running = 0;
    int queued = 0;
    enum rc rc = RC_OK;
    if (curl_multi_perform(load->multi, &running) != CURLM_OK)
        return error_set(err, RC_INTERNAL, "the HTTP client failed");
    *ret_count = 0;
    for (CURLMsg *message; rc == RC_OK && (message = curl_multi_info_read(load->multi, &queued));) {
        if (message->msg != CURLMSG_DONE)
            continue;
        (*ret_count)++;
        rc = receive(load, message, err);
    }
    return rc;
}

static void show(struct progress *progress, const struct load *load, const struct plan *plan,
                 uint64_t start_ns)
{
    uint64_t done = load->issued - load->outstanding;
    uint64_t elapsed_ns = clock_monotonic_ns() - start_ns;
    if (elapsed_ns == 0)
        return;
    /* How many it will be is known only by time. */
    double total = (double)done * (double)(plan->end_ns - start_ns) / (double)elapsed_ns;
    progress->total = total < (double)plan->request_max ? (uint64_t)total : plan->request_max;
    progress_step(progress, done);
}

enum rc load_run(struct load *load, uint64_t duration_ns, uint64_t request_max,
                 struct progress *progress, struct tally *ret_tally, struct error *err)
{
    struct tally tally = {0};
    uint64_t start_ns = clock_monotonic_ns();
    uint64_t cpu_ns = clock_thread_cpu_ns();
    struct plan plan = {.open = load->options->rate > 0,
                        .end_ns = start_ns + duration_ns,
                        .request_max = request_max != 0 ? request_max : SAMPLE_COUNT_MAX};
    load->tally = &tally;
    load->issued = 0;
    if (plan.open)
        plan.next_due_ns = start_ns + draw_gap_ns(load);
    enum rc rc = RC_OK;
    while (rc == RC_OK) {
        uint32_t received = 0;
        rc = send_due(load, &plan, err);
        bool all_sent = plan_done(&plan, load->issued, clock_monotonic_ns());
        if (rc == RC_OK && all_sent && load->outstanding == 0)
            break;
        if (rc == RC_OK)
            rc = receive_all(load, &received, err);
        show(progress, load, &plan, start_ns);
        bool arrival = plan.open && !all_sent && load->free_clients != NULL;
        if (rc == RC_OK && received == 0)
            rc = wait_for_more(load, arrival ? plan.next_due_ns : 0, err);
    }
    tally.wall_ns = clock_monotonic_ns() - start_ns;
    tally.client_cpu_ns = clock_thread_cpu_ns() - cpu_ns;
    load->tally = NULL;
    if (rc != RC_OK) {
        tally_done(&tally);
        return rc;
    }
    *ret_tally = tally;
    return RC_OK;
}
