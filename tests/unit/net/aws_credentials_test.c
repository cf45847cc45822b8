/* SPDX-License-Identifier: Apache-2.0
 * Every place that credentials come from, against a small server of this test. */
#include "check.h"
#include "net/aws_credentials.h"

#include <arpa/inet.h>
#include <ftw.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define NOW_MS  1795521600000ull /* 2026-11-24 12:00 UTC */
#define HOUR_MS 3600000ull

/* --- a server that answers by path --------------------------------------------------------------
 */

static struct {
    int listener;
    char origin[64];
    pthread_t thread;
    atomic_int request_count;
    atomic_int failures; /* so many requests are answered 500 */
    char seen[16384];    /* the last request */
    char expires[32];
} server;

static void answer(int fd, int status, const char *body)
{
    char text[4096];
    int size = snprintf(text, sizeof(text),
                        "HTTP/1.1 %d X\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
                        status, strlen(body), body);
    assert_int_equal(write(fd, text, (size_t)size), size);
}

static void answer_path(int fd, const char *request)
{
    char json[512];
    int number = atomic_load(&server.request_count);
    (void)snprintf(json, sizeof(json),
                   "{\"Code\":\"Success\",\"AccessKeyId\":\"AKID%d\",\"SecretAccessKey\":\"s%d\","
                   "\"Token\":\"t%d\",\"Expiration\":\"%s\"}",
                   number, number, number, server.expires);
    if (atomic_fetch_sub(&server.failures, 1) > 0)
        answer(fd, 500, "no");
    else if (strncmp(request, "PUT /latest/api/token", 21) == 0 &&
             strcasestr(request, "x-aws-ec2-metadata-token-ttl-seconds: 21600") != NULL)
        answer(fd, 200, "TOKEN==");
    else if (strncmp(request, "GET /latest/", 12) == 0 &&
             strcasestr(request, "x-aws-ec2-metadata-token: TOKEN==") == NULL)
        answer(fd, 401, "a token is needed");
    else if (strncmp(request, "GET /latest/meta-data/iam/security-credentials/ ", 48) == 0)
        answer(fd, 200, "my-role\n");
    else if (strncmp(request, "GET /latest/meta-data/iam/security-credentials/my-role ", 55) == 0)
        answer(fd, 200, json);
    else if (strncmp(request, "GET /latest/meta-data/placement/region ", 39) == 0)
        answer(fd, 200, "eu-north-1");
    else if (strncmp(request, "GET /container ", 15) == 0 &&
             strcasestr(request, "authorization: the-pod") != NULL)
        answer(fd, 200, json);
    else if (strncmp(request, "POST / ", 7) == 0 &&
             strstr(request, "Action=AssumeRoleWithWebIdentity") != NULL) {
        (void)snprintf(json, sizeof(json),
                       "<R><AssumeRoleWithWebIdentityResult><Credentials><SessionToken>t&amp;1"
                       "</SessionToken><SecretAccessKey>s</SecretAccessKey><Expiration>%s"
                       "</Expiration><AccessKeyId>ASIAWEB</AccessKeyId></Credentials></"
                       "AssumeRoleWithWebIdentityResult></R>",
                       server.expires);
        answer(fd, 200, json);
    } else
        answer(fd, 404, "nothing here");
}

static bool is_whole(const char *request)
{
    const char *end = strstr(request, "\r\n\r\n");
    const char *length = strcasestr(request, "content-length: ");
    size_t size = length != NULL ? strtoull(length + 16, NULL, 10) : 0;
    return end != NULL && strlen(end + 4) >= size;
}

static void *serve(void *unused)
{
    (void)unused;
    for (;;) {
        int fd = accept(server.listener, NULL, NULL);
        if (fd < 0)
            return NULL;
        size_t size = 0;
        ssize_t got = 1;
        memset(server.seen, 0, sizeof(server.seen));
        while (!is_whole(server.seen) && got > 0) {
            got = read(fd, server.seen + size, sizeof(server.seen) - 1 - size);
            size += got > 0 ? (size_t)got : 0;
        }
        atomic_fetch_add(&server.request_count, 1);
        answer_path(fd, server.seen);
        (void)close(fd);
    }
}

static void server_start(const char *expires)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    server.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server.listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(server.listener, 16), 0);
    assert_int_equal(getsockname(server.listener, (struct sockaddr *)&address, &size), 0);
    (void)snprintf(server.origin, sizeof(server.origin), "http://127.0.0.1:%d",
                   ntohs(address.sin_port));
    (void)snprintf(server.expires, sizeof(server.expires), "%s", expires);
    atomic_store(&server.request_count, 0);
    atomic_store(&server.failures, 0);
    assert_int_equal(pthread_create(&server.thread, NULL, serve, NULL), 0);
}

static void server_stop(void)
{
    (void)shutdown(server.listener, SHUT_RDWR);
    (void)pthread_join(server.thread, NULL);
    (void)close(server.listener);
}

/* --- the environment -------------------------------------------------------------------------- */

static char home[64];

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status;
    (void)kind;
    (void)walk;
    return remove(path);
}

static void remove_home(void)
{
    if (home[0] != '\0')
        (void)nftw(home, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void forget_all(void)
{
    static const char *const names[] = {"AWS_ACCESS_KEY_ID",
                                        "AWS_SECRET_ACCESS_KEY",
                                        "AWS_SESSION_TOKEN",
                                        "AWS_PROFILE",
                                        "AWS_REGION",
                                        "AWS_DEFAULT_REGION",
                                        "AWS_SHARED_CREDENTIALS_FILE",
                                        "AWS_CONFIG_FILE",
                                        "AWS_WEB_IDENTITY_TOKEN_FILE",
                                        "AWS_ROLE_ARN",
                                        "AWS_ROLE_SESSION_NAME",
                                        "AWS_ENDPOINT_URL_STS",
                                        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                                        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                                        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
                                        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
                                        "AWS_EC2_METADATA_SERVICE_ENDPOINT"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        (void)unsetenv(names[i]);
    (void)setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    if (home[0] == '\0')
        (void)atexit(remove_home);
    remove_home();
    (void)snprintf(home, sizeof(home), "/tmp/imago-aws-XXXXXX");
    assert_non_null(mkdtemp(home));
    (void)setenv("HOME", home, 1);
}

static void set(const char *name, const char *format, const char *value)
{
    char text[256];
    size_t at = strcspn(format, "%");
    (void)snprintf(text, sizeof(text), "%.*s%s%s", (int)at, format, value,
                   format[at] != '\0' ? format + at + 1 : "");
    (void)setenv(name, text, 1);
}

static void write_file(const char *name, const char *content, char path[128])
{
    (void)snprintf(path, 128, "%s/%s", home, name);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(content, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static struct aws_credentials *open_chain(void)
{
    struct aws_credentials *credentials = NULL;
    assert_int_equal(aws_credentials_open(&credentials, NULL), RC_OK);
    return credentials;
}

static struct aws_keys get_once(void)
{
    struct aws_credentials *credentials = open_chain();
    struct aws_keys keys;
    struct error err = {0};
    if (aws_credentials_get(credentials, NOW_MS, &keys, &err) != RC_OK)
        fail_msg("%s", err.text);
    aws_credentials_free(credentials);
    return keys;
}

static enum rc fail_once(struct error *err)
{
    struct aws_credentials *credentials = open_chain();
    struct aws_keys keys = {0};
    enum rc rc = aws_credentials_get(credentials, NOW_MS, &keys, err);
    assert_int_equal(keys.access_key[0], '\0');
    aws_credentials_free(credentials);
    return rc;
}

TEST(from_the_environment)
{
    forget_all();
    set("AWS_ACCESS_KEY_ID", "AKIDENV", "");
    set("AWS_SECRET_ACCESS_KEY", "secret", "");
    struct aws_keys keys = get_once();
    assert_string_equal(keys.access_key, "AKIDENV");
    assert_string_equal(keys.secret_key, "secret");
    assert_string_equal(keys.session_token, "");
    assert_int_equal(keys.expires_ms, 0);
    set("AWS_SESSION_TOKEN", "token", "");
    assert_string_equal(get_once().session_token, "token");
    (void)unsetenv("AWS_SECRET_ACCESS_KEY");
    struct error err = {0};
    assert_int_equal(fail_once(&err), RC_INVALID);
}

TEST(from_a_profile)
{
    char credentials[128], config[128], region[AWS_REGION_SIZE];
    struct error err = {0};
    forget_all();
    write_file("credentials",
               "# mine\n[default]\naws_access_key_id = AKIDDEFAULT\naws_secret_access_key=one\n"
               "[work]\n  ignored = nested\naws_access_key_id=AKIDWORK\n"
               "aws_secret_access_key = two=2 \r\naws_session_token = tok\n",
               credentials);
    write_file("config",
               "[default]\nregion = eu-west-1\n[profile work]\nregion=us-west-2\n"
               "[profile sso]\nsso_session = corp\nregion = us-east-1\n[work]\nregion = wrong\n",
               config);
    set("AWS_SHARED_CREDENTIALS_FILE", "%", credentials);
    set("AWS_CONFIG_FILE", "%", config);
    assert_string_equal(get_once().access_key, "AKIDDEFAULT");
    assert_int_equal(aws_region_find(region, &err), RC_OK);
    assert_string_equal(region, "eu-west-1");
    set("AWS_PROFILE", "work", "");
    struct aws_keys keys = get_once();
    assert_string_equal(keys.access_key, "AKIDWORK");
    assert_string_equal(keys.secret_key, "two=2");
    assert_string_equal(keys.session_token, "tok");
    assert_int_equal(aws_region_find(region, &err), RC_OK);
    assert_string_equal(region, "us-west-2");
    set("AWS_REGION", "ap-south-1", "");
    assert_int_equal(aws_region_find(region, &err), RC_OK);
    assert_string_equal(region, "ap-south-1");
    set("AWS_PROFILE", "sso", "");
    assert_int_equal(fail_once(&err), RC_INVALID);
    assert_non_null(strstr(err.text, "sso_session"));
    set("AWS_PROFILE", "nobody", "");
    assert_int_equal(fail_once(&err), RC_INVALID);
    assert_non_null(strstr(err.text, "nobody"));
}

TEST(from_a_containers_endpoint)
{
    char token[128];
    struct error err = {0};
    forget_all();
    server_start("2026-11-24T18:00:00Z");
    write_file("token", "the-pod\n", token);
    set("AWS_CONTAINER_CREDENTIALS_FULL_URI", "%/container", server.origin);
    set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "%", token);
    struct aws_keys keys = get_once();
    assert_string_equal(keys.access_key, "AKID1");
    assert_string_equal(keys.session_token, "t1");
    assert_int_equal(keys.expires_ms, NOW_MS + 6 * HOUR_MS);
    write_file("token", "somebody else's\n", token);
    assert_int_equal(fail_once(&err), RC_UNAVAILABLE);
    assert_null(strstr(err.text, "somebody else"));
    /* The token must not go to strangers in clear. */
    set("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://192.0.2.1/container", "");
    assert_int_equal(fail_once(&err), RC_INVALID);
    set("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1.example.com/container", "");
    assert_int_equal(fail_once(&err), RC_INVALID);
    server_stop();
}

TEST(from_a_web_identity)
{
    char token[128];
    forget_all();
    server_start("2026-11-24T13:00:00Z");
    write_file("token", "eyJ.a+b/c=.sig\n", token);
    set("AWS_WEB_IDENTITY_TOKEN_FILE", "%", token);
    set("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/imago", "");
    set("AWS_ENDPOINT_URL_STS", "%", server.origin);
    struct aws_keys keys = get_once();
    assert_string_equal(keys.access_key, "ASIAWEB");
    assert_string_equal(keys.session_token, "t&1");
    assert_int_equal(keys.expires_ms, NOW_MS + HOUR_MS);
    assert_non_null(strstr(server.seen, "&RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fimago&"
                                        "WebIdentityToken=eyJ.a%2Bb%2Fc%3D.sig"));
    assert_non_null(strstr(server.seen, "RoleSessionName=imago-"));
    /* It is set up, so nobody else's keys are used when it fails. */
    struct error err = {0};
    atomic_store(&server.failures, 1);
    assert_int_equal(fail_once(&err), RC_UNAVAILABLE);
    assert_null(strstr(err.text, "eyJ"));
    server_stop();
}

TEST(from_an_instance)
{
    char region[AWS_REGION_SIZE];
    forget_all();
    server_start("2026-11-24T18:00:00Z");
    (void)unsetenv("AWS_EC2_METADATA_DISABLED");
    set("AWS_EC2_METADATA_SERVICE_ENDPOINT", "%", server.origin);
    struct aws_keys keys = get_once();
    assert_string_equal(keys.access_key, "AKID3"); /* the third request: token, role, keys */
    assert_int_equal(aws_region_find(region, NULL), RC_OK);
    assert_string_equal(region, "eu-north-1");
    server_stop();
}

TEST(from_nowhere)
{
    char region[AWS_REGION_SIZE];
    struct error err = {0};
    forget_all();
    assert_int_equal(fail_once(&err), RC_NOT_FOUND);
    assert_non_null(strstr(err.text, "AWS_ACCESS_KEY_ID"));
    assert_int_equal(aws_region_find(region, &err), RC_NOT_FOUND);
    assert_non_null(strstr(err.text, "AWS_REGION"));
}

TEST(they_are_kept_and_renewed_before_they_expire)
{
    struct aws_keys keys;
    struct error err = {0};
    forget_all();
    server_start("2026-11-24T13:00:00Z");
    set("AWS_CONTAINER_CREDENTIALS_FULL_URI", "%/container", server.origin);
    set("AWS_CONTAINER_AUTHORIZATION_TOKEN", "the-pod", "");
    struct aws_credentials *credentials = open_chain();
    uint64_t expires_ms = NOW_MS + HOUR_MS;
    assert_int_equal(aws_credentials_get(credentials, NOW_MS, &keys, &err), RC_OK);
    assert_int_equal(aws_credentials_get(credentials, expires_ms - 310000, &keys, &err), RC_OK);
    assert_string_equal(keys.access_key, "AKID1");
    /* Near the end: a failure is no harm while they last, and is not repeated at once. */
    atomic_store(&server.failures, 1);
    assert_int_equal(aws_credentials_get(credentials, expires_ms - 290000, &keys, &err), RC_OK);
    assert_string_equal(keys.access_key, "AKID1");
    assert_int_equal(atomic_load(&server.request_count), 2);
    assert_int_equal(aws_credentials_get(credentials, expires_ms - 289000, &keys, &err), RC_OK);
    assert_int_equal(atomic_load(&server.request_count), 2);
    (void)snprintf(server.expires, sizeof(server.expires), "2026-11-24T14:00:00Z");
    assert_int_equal(aws_credentials_get(credentials, expires_ms - 270000, &keys, &err), RC_OK);
    assert_string_equal(keys.access_key, "AKID3");
    /* Refused by a service: others are fetched, however long these would have lasted. */
    uint32_t third = keys.generation;
    assert_true(aws_credentials_reject(credentials, third, expires_ms - 260000));
    assert_int_equal(aws_credentials_get(credentials, expires_ms - 260000, &keys, &err), RC_OK);
    assert_string_equal(keys.access_key, "AKID4");
    assert_true(aws_credentials_reject(credentials, third, expires_ms - 259000)); /* replaced */
    assert_int_equal(aws_credentials_get(credentials, expires_ms - 259000, &keys, &err), RC_OK);
    assert_string_equal(keys.access_key, "AKID4");
    /* Refused again at once: it is not their age. */
    assert_false(aws_credentials_reject(credentials, keys.generation, expires_ms - 258000));
    assert_int_equal(aws_credentials_get(credentials, expires_ms - 258000, &keys, &err), RC_OK);
    assert_int_equal(atomic_load(&server.request_count), 4);
    assert_true(aws_credentials_reject(credentials, keys.generation, expires_ms - 240000));
    /* Over: a failure is one. */
    atomic_store(&server.failures, 100);
    assert_int_equal(aws_credentials_get(credentials, expires_ms + 2 * HOUR_MS, &keys, &err),
                     RC_UNAVAILABLE);
    aws_credentials_free(credentials);
    server_stop();
}

static struct aws_credentials *shared;

static void *get_many(void *unused)
{
    (void)unused;
    struct aws_keys keys;
    for (int i = 0; i < 100; i++)
        if (aws_credentials_get(shared, NOW_MS, &keys, NULL) != RC_OK ||
            strcmp(keys.access_key, "AKID1") != 0)
            return "wrong";
    return NULL;
}

TEST(many_threads_fetch_once)
{
    pthread_t threads[8];
    forget_all();
    server_start("2026-11-24T18:00:00Z");
    set("AWS_CONTAINER_CREDENTIALS_FULL_URI", "%/container", server.origin);
    set("AWS_CONTAINER_AUTHORIZATION_TOKEN", "the-pod", "");
    shared = open_chain();
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, get_many, NULL), 0);
    for (size_t i = 0; i < 8; i++) {
        void *complaint = NULL;
        assert_int_equal(pthread_join(threads[i], &complaint), 0);
        assert_null(complaint);
    }
    assert_int_equal(atomic_load(&server.request_count), 1);
    aws_credentials_free(shared);
    server_stop();
}

TEST_MAIN("AWS credentials")
