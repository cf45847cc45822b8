/* SPDX-License-Identifier: Apache-2.0
 * reader.c - one thread that reads large JSON bodies, in the order they came. The queue is as
 * long as there are connections, which the server bounds, and as their bodies' memory. */
#include "api/exchange.h"

#include <string.h>

static void *reader_main(void *argument)
{
    struct api *api = argument;
    pthread_mutex_lock(&api->lock);
    for (;;) {
        while (api->unread_head == NULL && !api->ending)
            pthread_cond_wait(&api->readable, &api->lock);
        struct exchange *exchange = api->unread_head;
        if (exchange == NULL)
            break;
        api->unread_head = exchange->next_unread;
        pthread_mutex_unlock(&api->lock);
        struct error err = {0};
        struct work_request *work = NULL;
        enum rc rc = RC_CANCELLED;
        if (!atomic_load(&exchange->gone))
            rc = body_json_read(exchange, &work, &err);
        predict_go(exchange, rc, work, &err);
        pthread_mutex_lock(&api->lock);
    }
    pthread_mutex_unlock(&api->lock);
    return NULL;
}

void reader_push(struct exchange *exchange)
{
    struct api *api = exchange->api;
    pthread_mutex_lock(&api->lock);
    if (api->unread_head == NULL)
        api->unread_head = exchange;
    else
        api->unread_tail->next_unread = exchange;
    api->unread_tail = exchange;
    pthread_cond_signal(&api->readable);
    pthread_mutex_unlock(&api->lock);
}

enum rc reader_open(struct api *api, struct error *err)
{
    (void)pthread_mutex_init(&api->lock, NULL);
    (void)pthread_cond_init(&api->readable, NULL);
    int failed = pthread_create(&api->reader, NULL, reader_main, api);
    api->reader_running = failed == 0;
    return failed == 0 ? RC_OK
                       : error_set(err, RC_INTERNAL, "cannot start a thread: %s", strerror(failed));
}

void reader_close(struct api *api)
{
    pthread_mutex_lock(&api->lock);
    api->ending = true;
    pthread_cond_signal(&api->readable);
    pthread_mutex_unlock(&api->lock);
    if (api->reader_running)
        pthread_join(api->reader, NULL);
    pthread_cond_destroy(&api->readable);
    pthread_mutex_destroy(&api->lock);
}
