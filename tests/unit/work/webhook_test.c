/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "work/webhook.h"

#include <stdlib.h>
#include <string.h>

TEST(a_message_is_its_url_and_what_is_sent)
{
    json_t *data = json_pack("{s:s, s:f}", "id", "x\ny", "score", 0.25);
    struct buf into = BUF_INIT(RESULT_PAYLOAD_SIZE_MAX);
    assert_int_equal(webhook_message_write(bytes_of("https://example.com/?a"), "job.done",
                                           1796000000123u, data, &into, NULL),
                     RC_OK);
    static const char want[] = "https://example.com/?a\n{\"type\":\"job.done\",\"timestamp\":"
                               "\"2026-11-30T00:53:20.123Z\",\"data\":{\"id\":\"x\\ny\","
                               "\"score\":0.25}}";
    assert_int_equal(into.size, sizeof(want) - 1);
    assert_memory_equal(into.data, want, sizeof(want) - 1);
    assert_int_equal(data->refcount, 1);
    json_decref(data);
    buf_done(&into);
}

TEST(a_message_that_is_too_large)
{
    char *text = calloc(1, RESULT_PAYLOAD_SIZE_MAX);
    memset(text, 'a', RESULT_PAYLOAD_SIZE_MAX - 1);
    json_t *data = json_string(text);
    struct error err = {0};
    size_t caps[] = {RESULT_PAYLOAD_SIZE_MAX, 2 * RESULT_PAYLOAD_SIZE_MAX};
    for (size_t i = 0; i < 2; i++) {
        struct buf into = BUF_INIT(caps[i]);
        assert_int_equal(
            webhook_message_write(bytes_of("https://example.com/"), "t", 0, data, &into, &err),
            RC_TOO_LARGE);
        buf_done(&into);
    }
    json_decref(data);
    free(text);
}

TEST(receivers)
{
    assert_int_equal(webhook_url_check(bytes_of("https://example.com/"), false, NULL), RC_OK);
    assert_int_equal(webhook_url_check(bytes_of("http://example.com/"), false, NULL), RC_INVALID);
    assert_int_equal(webhook_url_check(bytes_of("https://10.0.0.1/"), false, NULL), RC_INVALID);
    assert_int_equal(webhook_url_check(bytes_of("http://10.0.0.1/"), true, NULL), RC_OK);
    assert_int_equal(webhook_url_check((struct bytes){0}, true, NULL), RC_INVALID);
}

TEST_MAIN("webhook")
