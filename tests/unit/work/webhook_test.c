/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "work/webhook.h"
#include "work/webhook_form.h"

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

TEST(a_stored_message_is_read_back)
{
    struct bytes url;
    struct bytes body;
    assert_int_equal(webhook_message_read(bytes_of("https://e.com/\n{}\n"), &url, &body, NULL),
                     RC_OK);
    assert_true(bytes_equal(url, bytes_of("https://e.com/")));
    assert_true(bytes_equal(body, bytes_of("{}\n")));
    assert_int_equal(webhook_message_read(bytes_of("https://e.com/"), &url, &body, NULL),
                     RC_INVALID);
    assert_int_equal(webhook_message_read((struct bytes){0}, &url, &body, NULL), RC_INVALID);
}

/* The example that the libraries of Standard Webhooks are tested with. */
TEST(a_signature_is_that_of_standard_webhooks)
{
    static const uint8_t secret[24] = {0x31, 0xf2, 0x90, 0xf6, 0xbf, 0x06, 0x29, 0x8a,
                                       0xab, 0x4f, 0x08, 0xd4, 0x3c, 0x3f, 0x08, 0x2c,
                                       0xf6, 0x48, 0xa3, 0x62, 0xda, 0x2d, 0xa4, 0xb0};
    char text[WEBHOOK_SIGNATURE_SIZE];
    struct bytes content =
        bytes_of("msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{\"test\": 2432232314}");
    assert_int_equal(webhook_sign((struct bytes){secret, sizeof(secret)}, content, text, NULL),
                     RC_OK);
    assert_string_equal(text, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

TEST(retries_take_three_days)
{
    static const uint64_t steps_s[] = {5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400};
    for (uint32_t late = 0; late < 2; late++) {
        uint64_t age_ms = 250;
        uint64_t wait_ms = 0;
        for (uint32_t attempt = 1; attempt <= 9; attempt++) {
            uint64_t step_ms = steps_s[attempt - 1] * 1000;
            /* The most and the least that chance adds. */
            uint32_t random = late != 0 ? (uint32_t)(step_ms / 10) : 0;
            assert_true(webhook_retry_after(age_ms, attempt, random, &wait_ms));
            assert_int_equal(wait_ms, late != 0 ? step_ms + step_ms / 10 : step_ms);
            age_ms += wait_ms;
        }
        assert_false(webhook_retry_after(age_ms, 10, 0, &wait_ms));
        assert_true(age_ms > 3 * 86400000ull && age_ms < 4 * 86400000ull);
    }
}

TEST(retries_of_what_had_to_wait)
{
    uint64_t wait_ms = 0;
    /* Attempts that were taken back do not count. */
    assert_true(webhook_retry_after(0, 1000, 0, &wait_ms));
    assert_int_equal(wait_ms, 5000);
    assert_true(webhook_retry_after(4999, 1000, 0, &wait_ms));
    assert_int_equal(wait_ms, 5000);
    assert_true(webhook_retry_after(5000, 1000, 0, &wait_ms));
    assert_int_equal(wait_ms, 300000);
    /* Nor does the time before the first attempt. */
    assert_true(webhook_retry_after(UINT64_MAX, 1, 0, &wait_ms));
    assert_int_equal(wait_ms, 5000);
    assert_true(webhook_retry_after(UINT64_MAX, 9, UINT32_MAX, &wait_ms));
    assert_true(wait_ms >= 86400000 && wait_ms <= 95040000);
    assert_false(webhook_retry_after(UINT64_MAX, 10, 0, &wait_ms));
}

TEST_MAIN("webhook")
