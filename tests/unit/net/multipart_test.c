/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "net/multipart.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TYPE "multipart/form-data; boundary=xyz"
#define PART "Content-Disposition: form-data; name=\"a\"\r\n\r\n"

/* Parts as "name/filename/type/body|", or the failure's name. */
static void parse(const char *type, struct bytes body, char *got, size_t got_size)
{
    struct multipart multipart;
    struct error err = {0};
    struct multipart_part part = {0};
    bool found = true;
    size_t at = 0;
    got[0] = '\0';
    enum rc rc = multipart_start(&multipart, bytes_of(type), body, &err);
    while (rc == RC_OK && found) {
        rc = multipart_next(&multipart, &part, &found, &err);
        if (rc == RC_OK && found)
            at += (size_t)snprintf(
                got + at, got_size - at, "%.*s/%.*s/%.*s/%.*s|", (int)part.name.size,
                (const char *)part.name.data, part.filename.data ? (int)part.filename.size : 1,
                part.filename.data ? (const char *)part.filename.data : "-",
                part.content_type.data ? (int)part.content_type.size : 1,
                part.content_type.data ? (const char *)part.content_type.data : "-",
                (int)part.body.size, (const char *)part.body.data);
    }
    if (rc != RC_OK) {
        assert_int_equal(err.rc, rc);
        assert_true(err.text[0] != '\0');
        (void)snprintf(got + at, got_size - at, "%s", rc_name(rc));
    }
}

static void expect_typed(const char *type, const char *body, const char *expected)
{
    char got[1024];
    parse(type, bytes_of(body), got, sizeof(got));
    assert_string_equal(got, expected);
}

static void expect(const char *body, const char *expected) { expect_typed(TYPE, body, expected); }

TEST(parts_come_in_order)
{
    expect("--xyz\r\n" PART "hello\r\n--xyz--\r\n", "a/-/-/hello|");
    expect("--xyz\r\n" PART "hello\r\n--xyz--", "a/-/-/hello|");
    expect("--xyz\r\nContent-Disposition: form-data; name=\"image\"; filename=\"p.jpg\"\r\n"
           "Content-Type: image/jpeg\r\n\r\nJPEG\r\n--xyz\r\n" PART "\r\n--xyz--\r\n",
           "image/p.jpg/image/jpeg/JPEG|a/-/-/|");
    expect("--xyz--\r\n", "");
}

TEST(preamble_epilogue_and_padding_are_tolerated)
{
    expect("pre\r\namble --xyz\r\n--xyz\r\n" PART "b\r\n--xyz--\r\nepi\r\n--xyz\r\nlogue",
           "a/-/-/b|");
    expect("\r\n--xyz \t\r\n" PART "b\r\n--xyz-- \r\n", "a/-/-/b|");
}

TEST(bodies_may_hold_almost_anything)
{
    expect("--xyz\r\n" PART "\r\n\r\n--xy\r\n--\n--xyz\r--xyz--\r\n--xyz--",
           "a/-/-/\r\n\r\n--xy\r\n--\n--xyz\r--xyz--|");
    expect("--xyz\r\n" PART "\r\n--xyz--", "a/-/-/|");
    expect("--xyz\r\nContent-Disposition: form-data; name=a\r\n\r\n--xyz--", "a/-/-/|");
}

#define TEN "0123456789"

TEST(boundaries_quoted_and_not)
{
    expect_typed("Multipart/Form-Data;boundary=\"x y:z\"", "--x y:z\r\n" PART "b\r\n--x y:z--",
                 "a/-/-/b|");
    expect_typed("multipart/form-data; charset=utf-8; Boundary=xyz ;",
                 "--xyz\r\n" PART "b\r\n--xyz--", "a/-/-/b|");
    expect_typed("multipart/form-data; boundary=----=_a/b",
                 "------=_a/b\r\n" PART "b\r\n------=_a/b--", "a/-/-/b|");
    expect_typed("multipart/form-data; boundary=" TEN TEN TEN TEN TEN TEN TEN,
                 "--" TEN TEN TEN TEN TEN TEN TEN "\r\n" PART "b\r\n--" TEN TEN TEN TEN TEN TEN TEN
                 "--",
                 "a/-/-/b|");
    const char *bad[] = {"",
                         "multipart/form-data",
                         "multipart/form-data; boundary=",
                         "multipart/form-data; boundary",
                         "multipart/form-data; boundary=\"\"",
                         "multipart/form-data; boundary=\"xyz",
                         "multipart/form-data; boundary=\"xyz \"",
                         "multipart/form-data; boundary=\"x\\yz\"",
                         "multipart/form-data; boundary=xyz; boundary=xyz",
                         "multipart/mixed; boundary=xyz",
                         "multipart/form-datax; boundary=xyz",
                         "image/jpeg",
                         "multipart/form-data boundary=xyz",
                         "multipart/form-data; boundary=\xc3\xa4",
                         "multipart/form-data; =xyz",
                         "multipart/form-data; boundary=xyz xyz",
                         "multipart/form-data; boundary=x\"yz",
                         "multipart/form-data; boundary=" TEN TEN TEN TEN TEN TEN TEN "1"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        expect_typed(bad[i], "--xyz\r\n" PART "b\r\n--xyz--", "INVALID");
}

TEST(names_and_file_names)
{
#define WITH(disposition) "--xyz\r\nContent-Disposition:" disposition "\r\n\r\nb\r\n--xyz--"
    expect(WITH("form-data;name=a;filename=b"), "a/b/-/b|");
    expect(WITH("  Form-Data ; NAME=\"a b\" ; FileName=\"c;d\" ;"), "a b/c;d/-/b|");
    expect(WITH("form-data; name=\"a\\\"b\\\\\"; filename=\"\""), "a\\\"b\\\\//-/b|");
    expect(WITH("form-data; name=\"\""), "/-/-/b|");
    expect(WITH("form-data; name=a; filename*=UTF-8''x; other=y"), "a/-/-/b|");
    expect(WITH("form-data; name=\"\xc3\xa4\""), "\xc3\xa4/-/-/b|");
    expect(WITH("form-data"), "INVALID");
    expect(WITH("form-data; filename=x"), "INVALID");
    expect(WITH("attachment; name=a"), "INVALID");
    expect(WITH("form-data; name=a; name=b"), "INVALID");
    expect(WITH("form-data; name=a; filename=b; filename=c"), "INVALID");
    expect(WITH("form-data; name=\"a"), "INVALID");
    expect(WITH("form-data; name=\"a\\"), "INVALID");
    expect(WITH("form-data; name=\"a\"b"), "INVALID");
    expect(WITH("form-data; name="), "INVALID");
    expect(WITH("form-data name=a"), "INVALID");
    expect(WITH(" form-data; name=\"a\nb\""), "INVALID");
    expect(WITH(" form-data; name=\"a\rb\""), "INVALID");
    expect(WITH(" form-data; name=\"a\x01\""), "INVALID");
}

TEST(headers_are_strict)
{
#define LINES(lines) "--xyz\r\n" lines PART "b\r\n--xyz--"
    expect(LINES("X-Other: anything at all\r\n"), "a/-/-/b|");
    expect(LINES("Content-Type:\ttext/plain \r\n"), "a/-/text/plain/b|");
    expect(LINES("Content-Transfer-Encoding: Binary\r\n"), "a/-/-/b|");
    expect(LINES("Content-Transfer-Encoding: base64\r\n"), "INVALID");
    expect(LINES("Content-Transfer-Encoding: 8bit\r\nContent-Transfer-Encoding: 8bit\r\n"),
           "INVALID");
    expect(LINES("Content-Disposition: form-data; name=b\r\n"), "INVALID");
    expect(LINES("Content-Type: a\r\nContent-Type: a\r\n"), "INVALID");
    expect(LINES("no colon\r\n"), "INVALID");
    expect(LINES("A : b\r\n"), "INVALID");
    expect(LINES(": b\r\n"), "INVALID");
    expect(LINES("A: b\r\n c\r\n"), "INVALID");
    expect(LINES("A: b\n"), "INVALID");
    expect(LINES("\r\n"), "INVALID");
    expect("--xyz\n" PART "b\r\n--xyz--", "INVALID");
    expect("--xyzz\r\n" PART "b\r\n--xyz--", "INVALID");
    expect("--xyz\r\n" PART "b\r\n--xyz-", "a/-/-/b|INVALID");
    expect("--xyz\r\n" PART "b\r\n--xyz", "a/-/-/b|INVALID");
    expect("--xyz\r\n" PART "b\r\n--xyz--x", "a/-/-/b|INVALID");
    expect("--xyz\r\n" PART "b\n--xyz--", "INVALID");
    expect("--xyz\r\n", "INVALID");
    expect("", "INVALID");
    expect("nothing", "INVALID");
}

TEST(header_blocks_are_bounded)
{
    for (int over = 0; over < 2; over++) {
        char body[5000], got[5000];
        int fill = 4096 - (int)strlen("X: \r\n" PART) + over;
        int size =
            snprintf(body, sizeof(body), "--xyz\r\nX: %*s\r\n" PART "b\r\n--xyz--", fill, "y");
        parse(TYPE, (struct bytes){(const uint8_t *)body, (size_t)size}, got, sizeof(got));
        assert_string_equal(got, over ? "INVALID" : "a/-/-/b|");
    }
}

/* Random parts of random bytes, written out and read back; and no proper prefix is accepted. */

#define PARTS_MAX 4

struct made {
    struct buf body;
    struct buf payloads[PARTS_MAX];
    size_t count;
};

static void must(enum rc rc) { assert_int_equal(rc, RC_OK); }

static void make(struct made *made, const char *boundary)
{
    *made = (struct made){.body = BUF_INIT(65536), .count = (size_t)rand() % (PARTS_MAX + 1)};
    if (rand() % 2)
        must(buf_printf(&made->body, "preamble\r\n"));
    for (size_t i = 0; i < made->count; i++) {
        made->payloads[i] = (struct buf)BUF_INIT(4096);
        must(buf_printf(&made->body,
                        "--%s\r\nContent-Disposition: form-data; name=\"n%zu\"\r\n\r\n", boundary,
                        i));
        size_t size = (size_t)rand() % 300;
        for (size_t j = 0; j < size; j++) { /* biased to what a parser might trip over */
            static const char tricky[] = "\r\n--xyz\0\"";
            uint8_t byte =
                rand() % 3 ? (uint8_t)tricky[(size_t)rand() % sizeof(tricky)] : (uint8_t)rand();
            must(buf_append(&made->payloads[i], (struct bytes){&byte, 1}));
        }
        must(buf_append(&made->body, (struct bytes){made->payloads[i].data, size}));
        must(buf_printf(&made->body, "\r\n"));
    }
    must(buf_printf(&made->body, "--%s--", boundary));
}

static void made_done(struct made *made)
{
    for (size_t i = 0; i < made->count; i++)
        buf_done(&made->payloads[i]);
    buf_done(&made->body);
}

static enum rc read_all(const char *type, struct bytes body, const struct made *made)
{
    struct multipart multipart;
    struct multipart_part part = {0};
    enum rc rc = multipart_start(&multipart, bytes_of(type), body, NULL);
    bool found = true;
    for (size_t i = 0; rc == RC_OK && found; i++) {
        rc = multipart_next(&multipart, &part, &found, NULL);
        if (rc != RC_OK || !found || made == NULL)
            continue;
        assert_true(i < made->count && part.body.size == made->payloads[i].size);
        assert_true(bytes_equal(part.body, (struct bytes){made->payloads[i].data, part.body.size}));
        char name[8];
        (void)snprintf(name, sizeof(name), "n%zu", i);
        assert_true(bytes_equal(part.name, bytes_of(name)));
    }
    return rc;
}

TEST(random_parts_come_back_and_a_cut_is_never_accepted)
{
    srand(2);
    for (int round = 0; round < 300; round++) {
        char boundary[32], type[96];
        (void)snprintf(boundary, sizeof(boundary), "xyz%08x", (unsigned)rand());
        (void)snprintf(type, sizeof(type), "multipart/form-data; boundary=%s", boundary);
        struct made made;
        make(&made, boundary);
        assert_int_equal(read_all(type, (struct bytes){made.body.data, made.body.size}, &made),
                         RC_OK);
        for (size_t cut = 0; cut < made.body.size; cut++) {
            uint8_t *copy = malloc(cut + 1); /* its own allocation, so that ASan sees a step over */
            assert_non_null(copy);
            memcpy(copy, made.body.data, cut);
            assert_int_equal(read_all(type, (struct bytes){copy, cut}, NULL), RC_INVALID);
            free(copy);
        }
        made_done(&made);
    }
}

TEST(flipped_bytes_never_step_outside)
{
    srand(3);
    struct made made;
    make(&made, "xyz");
    for (int round = 0; round < 20000; round++) {
        size_t at = (size_t)rand() % made.body.size;
        uint8_t before = made.body.data[at];
        made.body.data[at] = (uint8_t)rand();
        enum rc rc = read_all(TYPE, (struct bytes){made.body.data, made.body.size}, NULL);
        assert_true(rc == RC_OK || rc == RC_INVALID);
        made.body.data[at] = before;
    }
    made_done(&made);
}

TEST(an_empty_body_is_refused)
{
    struct multipart multipart;
    assert_int_equal(multipart_start(&multipart, bytes_of("multipart/form-data; boundary=b"),
                                     (struct bytes){0}, NULL),
                     RC_INVALID);
}

TEST_MAIN("net multipart")
