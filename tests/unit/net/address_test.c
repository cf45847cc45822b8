/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "net/address.h"
#include "net/client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/un.h>

static struct sockaddr_storage address_of(const char *text)
{
    struct sockaddr_storage address = {0};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address;
    bool is_v6 = strchr(text, ':') != NULL;
    address.ss_family = is_v6 ? AF_INET6 : AF_INET;
    if (inet_pton(address.ss_family, text,
                  is_v6 ? (void *)&v6->sin6_addr : (void *)&v4->sin_addr) != 1)
        fail_msg("%s is no address", text);
    return address;
}

static bool is_public(const char *text)
{
    struct sockaddr_storage address = address_of(text);
    return address_is_public((const struct sockaddr *)&address, sizeof(address));
}

static bool is_loopback(const char *text)
{
    struct sockaddr_storage address = address_of(text);
    return address_is_loopback((const struct sockaddr *)&address, sizeof(address));
}

TEST(addresses_of_the_internet)
{
    static const char *const texts[] = {"1.1.1.1",
                                        "8.8.8.8",
                                        "9.255.255.255",
                                        "11.0.0.0",
                                        "100.63.255.255",
                                        "100.128.0.0",
                                        "126.255.255.255",
                                        "128.0.0.0",
                                        "169.253.255.255",
                                        "169.255.0.0",
                                        "172.15.255.255",
                                        "172.32.0.0",
                                        "192.0.1.0",
                                        "192.0.3.0",
                                        "192.88.98.255",
                                        "192.88.100.0",
                                        "192.167.255.255",
                                        "192.169.0.0",
                                        "198.17.255.255",
                                        "198.20.0.0",
                                        "198.51.99.255",
                                        "198.51.101.0",
                                        "203.0.112.255",
                                        "203.0.114.0",
                                        "223.255.255.255",
                                        "2606:4700:4700::1111",
                                        "2001:4860:4860::8888",
                                        "2001:200::",
                                        "2a00::1",
                                        "::ffff:8.8.8.8",
                                        "64:ff9b::8.8.8.8",
                                        "2002:808:808::1",
                                        "2600::5efe:8.8.8.8",
                                        "2001:db7:ffff::",
                                        "2001:db9::",
                                        "3fff:1000::"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (!is_public(texts[i]) || is_loopback(texts[i]))
            fail_msg("%s is public", texts[i]);
}

TEST(addresses_that_are_not)
{
    static const char *const texts[] = {"0.0.0.0",
                                        "0.255.255.255",
                                        "10.0.0.0",
                                        "10.255.255.255",
                                        "100.64.0.0",
                                        "100.127.255.255",
                                        "127.0.0.1",
                                        "127.255.255.255",
                                        "169.254.0.0",
                                        "169.254.169.254",
                                        "169.254.255.255",
                                        "172.16.0.0",
                                        "172.31.255.255",
                                        "192.0.0.0",
                                        "192.0.0.192",
                                        "192.0.2.1",
                                        "192.88.99.1",
                                        "192.168.0.0",
                                        "192.168.255.255",
                                        "198.18.0.0",
                                        "198.19.255.255",
                                        "198.51.100.7",
                                        "203.0.113.255",
                                        "224.0.0.1",
                                        "239.255.255.255",
                                        "240.0.0.0",
                                        "255.255.255.255",
                                        "::",
                                        "::1",
                                        "::2",
                                        "::127.0.0.1",
                                        "::8.8.8.8",
                                        "::ffff:127.0.0.1",
                                        "::ffff:10.1.2.3",
                                        "::ffff:169.254.169.254",
                                        "::ffff:0:8.8.8.8",
                                        "64:ff9b::127.0.0.1",
                                        "64:ff9b::169.254.169.254",
                                        "64:ff9b::192.168.1.1",
                                        "64:ff9b:1::8.8.8.8",
                                        "100::1",
                                        "2001::1",
                                        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
                                        "2001:2::1",
                                        "2001:10::1",
                                        "2001:20::1",
                                        "2001:1ff:ffff::",
                                        "2001:db8::1",
                                        "2001:db8:ffff:ffff::",
                                        "2002:7f00:1::",
                                        "2002:a00:1::1",
                                        "2002:a9fe:a9fe::",
                                        "2002:c0a8:101::",
                                        "2600::5efe:10.0.0.1",
                                        "2600::200:5efe:127.0.0.1",
                                        "3fff::1",
                                        "3fff:fff::",
                                        "4000::1",
                                        "5f00::1",
                                        "fc00::1",
                                        "fd00:ec2::254",
                                        "fdff::1",
                                        "fe80::1",
                                        "febf::1",
                                        "fec0::1",
                                        "ff02::1",
                                        "ff0e::1"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (is_public(texts[i]))
            fail_msg("%s is not public", texts[i]);
}

TEST(loopback_addresses)
{
    static const char *const local[] = {"127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"};
    static const char *const other[] = {"126.255.255.255", "128.0.0.1",       "::",      "::2",
                                        "::127.0.0.1",     "::ffff:10.0.0.1", "0.0.0.0", "fe80::1"};
    for (size_t i = 0; i < sizeof(local) / sizeof(local[0]); i++)
        assert_true(is_loopback(local[i]));
    for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++)
        assert_false(is_loopback(other[i]));
}

TEST(what_is_no_internet_address)
{
    struct sockaddr_un local = {.sun_family = AF_UNIX, .sun_path = "/tmp/x"};
    assert_false(address_is_public((const struct sockaddr *)&local, sizeof(local)));
    assert_false(address_is_loopback((const struct sockaddr *)&local, sizeof(local)));
    struct sockaddr_storage cut = address_of("2606::1");
    assert_false(
        address_is_public((const struct sockaddr *)&cut, (socklen_t)sizeof(struct sockaddr_in)));
}

static enum rc check(const char *url, enum client_reach reach)
{
    struct error err = {0};
    enum rc rc = client_url_check(bytes_of(url), reach, &err);
    if (rc != RC_OK)
        assert_null(strstr(err.text, "s3cret"));
    return rc;
}

TEST(urls_for_anybody)
{
    static const char *const good[] = {
        "https://example.com", "https://example.com:8443/a?b=s3cret", "HTTPS://EXAMPLE.com/",
        "https://8.8.8.8/",    "https://[2606:4700::1]:443/x",        "https://localhost.example/"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        if (check(good[i], CLIENT_PUBLIC) != RC_OK)
            fail_msg("%s", good[i]);
    static const char *const bad[] = {"",
                                      "example.com",
                                      "http://example.com/?s3cret",
                                      "ftp://example.com/",
                                      "file:///etc/passwd",
                                      "gopher://example.com/",
                                      "https://",

                                      "https://user:s3cret@example.com/",
                                      "https://user@example.com/",
                                      "https://example.com/#s3cret",
                                      "https://exam ple.com/",
                                      "https://example.com/\x01",
                                      "https://example.com/\xc3\xa9",
                                      "https://example.com:0x/",
                                      "https://example.com:99999/",
                                      "https://localhost/",
                                      "https://LOCALHOST.:1/",
                                      "https://a.localhost/",
                                      "https://127.0.0.1/",
                                      "https://127.1/",
                                      "https://2130706433/",
                                      "https://0x7f000001/",
                                      "https://0177.0.0.1/",
                                      "https://10.0.0.1/",
                                      "https://169.254.169.254/latest",
                                      "https://[::1]/",
                                      "https://[::ffff:10.0.0.1]/",
                                      "https://[fe80::1%25eth0]/",
                                      "https://[64:ff9b::a00:1]/",
                                      "https://0/"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (check(bad[i], CLIENT_PUBLIC) != RC_INVALID)
            fail_msg("%s", bad[i]);
    char long_url[CLIENT_URL_SIZE_MAX + 2] = "https://example.com/";
    memset(long_url + strlen(long_url), 'a', sizeof(long_url) - 1 - strlen(long_url));
    assert_int_equal(check(long_url, CLIENT_PUBLIC), RC_INVALID);
    long_url[CLIENT_URL_SIZE_MAX] = '\0';
    assert_int_equal(check(long_url, CLIENT_PUBLIC), RC_OK);
}

TEST(urls_of_settings_and_intranets)
{
    assert_int_equal(check("https://10.0.0.1/", CLIENT_TRUSTED), RC_OK);
    assert_int_equal(check("http://127.0.0.1:1/", CLIENT_TRUSTED), RC_OK);
    assert_int_equal(check("http://[::1]:1/", CLIENT_TRUSTED), RC_OK);
    assert_int_equal(check("http://localhost/", CLIENT_TRUSTED), RC_OK);
    assert_int_equal(check("http://example.com/", CLIENT_TRUSTED), RC_INVALID);
    assert_int_equal(check("http://10.0.0.1/", CLIENT_TRUSTED), RC_INVALID);
    assert_int_equal(check("http://127.0.0.1.example.com/", CLIENT_TRUSTED), RC_INVALID);
    assert_int_equal(check("http://10.0.0.1/", CLIENT_ANY), RC_OK);
    assert_int_equal(check("ftp://10.0.0.1/", CLIENT_ANY), RC_INVALID);
    assert_int_equal(check("https://user:s3cret@10.0.0.1/", CLIENT_ANY), RC_INVALID);
}

TEST(an_origin_says_where_without_saying_what)
{
    char text[CLIENT_ORIGIN_SIZE];
    client_origin(bytes_of("https://Example.com:8443/s3cret?s3cret"), text);
    assert_string_equal(text, "https://Example.com:8443");
    client_origin(bytes_of("http://[::1]/s3cret"), text);
    assert_string_equal(text, "http://[::1]");
    client_origin(bytes_of("nonsense"), text);
    assert_string_equal(text, "");
}

TEST_MAIN("address")
