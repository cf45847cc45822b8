/* SPDX-License-Identifier: Apache-2.0
 * aws_profile.c - the files that the AWS command line keeps: ~/.aws/credentials and ~/.aws/config.
 */
#include "net/aws_source.h"

#include <errno.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What we read of a profile. */
struct profile {
    char access_key[AWS_ACCESS_KEY_SIZE];
    char secret_key[AWS_SECRET_KEY_SIZE];
    char session_token[AWS_SESSION_TOKEN_SIZE];
    char region[AWS_REGION_SIZE];
    char other[32]; /* a way to get credentials that we do not know */
    bool found;
};

struct setting {
    const char *name;
    char *into;
    size_t size;
};

static const char *profile_name(void)
{
    const char *name = aws_variable("AWS_PROFILE");
    return name != NULL ? name : "default";
}

static char *trim(char *text)
{
    text += strspn(text, " \t\r\n");
    size_t size = strlen(text);
    while (size > 0 && strchr(" \t\r\n", text[size - 1]) != NULL)
        text[--size] = '\0';
    return text;
}

/* "[name]", in the config file "[profile name]" but for the default. */
static bool is_section(char *line, const char *name, bool config)
{
    char *end = strchr(line, ']');
    if (end != NULL)
        *end = '\0';
    char *text = trim(line + 1);
    if (config && strncmp(text, "profile", 7) == 0 && strchr(" \t", text[7]) != NULL &&
        text[7] != '\0')
        text = trim(text + 7);
    else if (config && strcmp(text, "default") != 0)
        return false;
    return strcmp(text, name) == 0;
}

static enum rc take(struct profile *profile, const char *name, const char *value)
{
    static const char *const others[] = {"role_arn", "credential_process", "sso_session",
                                         "sso_start_url", "login_session"};
    const struct setting settings[] = {
        {"aws_access_key_id", profile->access_key, sizeof(profile->access_key)},
        {"aws_secret_access_key", profile->secret_key, sizeof(profile->secret_key)},
        {"aws_session_token", profile->session_token, sizeof(profile->session_token)},
        {"region", profile->region, sizeof(profile->region)},
    };
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
        if (strcmp(name, settings[i].name) == 0 && settings[i].into[0] == '\0')
            return snprintf(settings[i].into, settings[i].size, "%s", value) < (int)settings[i].size
                       ? RC_OK
                       : RC_INVALID;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        if (strcmp(name, others[i]) == 0)
            (void)snprintf(profile->other, sizeof(profile->other), "%s", name);
    return RC_OK;
}

static enum rc read_lines(FILE *file, const char *path, bool config, struct profile *profile,
                          struct error *err)
{
    char line[AWS_SESSION_TOKEN_SIZE + 64];
    bool inside = false;
    enum rc rc = RC_OK;
    while (rc == RC_OK && fgets(line, sizeof(line), file) != NULL) {
        bool indented = line[0] == ' ' || line[0] == '\t'; /* a nested setting: none of ours */
        char *text = trim(line);
        if (text[0] == '[') {
            inside = is_section(text, profile_name(), config);
            profile->found = profile->found || inside;
            continue;
        }
        char *equals = strchr(text, '=');
        if (!inside || indented || text[0] == '#' || text[0] == ';' || equals == NULL)
            continue;
        *equals = '\0';
        char *name = trim(text);
        rc = take(profile, name, trim(equals + 1));
        if (rc != RC_OK)
            rc = error_set(err, rc, "'%.120s': the value of %.30s is too long", path, name);
    }
    OPENSSL_cleanse(line, sizeof(line));
    return rc;
}

static enum rc read_file(const char *variable, const char *name, bool config,
                         struct profile *profile, struct error *err)
{
    char path[PATH_MAX];
    const char *given = aws_variable(variable);
    const char *home = aws_variable("HOME");
    if (given == NULL && home == NULL)
        return RC_OK;
    int size = given != NULL ? snprintf(path, sizeof(path), "%s", given)
                             : snprintf(path, sizeof(path), "%s/.aws/%s", home, name);
    FILE *file = size < (int)sizeof(path) ? fopen(path, "re") : NULL;
    if (file == NULL && given == NULL && (errno == ENOENT || errno == ENOTDIR || errno == EACCES))
        return RC_OK;
    if (file == NULL)
        return error_set(err, RC_INVALID, "%s: cannot read '%.120s': %s", variable, path,
                         strerror(errno));
    enum rc rc = read_lines(file, path, config, profile, err);
    (void)fclose(file);
    return rc;
}

/* What the credentials file says comes before what the config file says. */
static enum rc read_profile(struct profile *profile, struct error *err)
{
    enum rc rc = read_file("AWS_SHARED_CREDENTIALS_FILE", "credentials", false, profile, err);
    if (rc == RC_OK)
        rc = read_file("AWS_CONFIG_FILE", "config", true, profile, err);
    if (rc == RC_OK && !profile->found && aws_variable("AWS_PROFILE") != NULL)
        rc = error_set(err, RC_INVALID,
                       "AWS_PROFILE is '%.60s', and no such profile is in ~/.aws/credentials or "
                       "~/.aws/config",
                       profile_name());
    return rc;
}

enum rc aws_from_profile(struct aws_keys *ret_keys, struct error *err)
{
    struct profile profile = {0};
    enum rc rc = read_profile(&profile, err);
    if (rc == RC_OK && profile.access_key[0] != '\0')
        rc = aws_keys_set(ret_keys, profile.access_key, profile.secret_key, profile.session_token,
                          "the AWS profile", err);
    else if (rc == RC_OK && profile.other[0] != '\0')
        rc = error_set(err, RC_INVALID,
                       "the AWS profile '%.60s' uses %s, which imago does not know: give keys in "
                       "the profile, or have them exported into the environment",
                       profile_name(), profile.other);
    else if (rc == RC_OK)
        rc = RC_NOT_FOUND;
    OPENSSL_cleanse(&profile, sizeof(profile));
    return rc;
}

enum rc aws_profile_region(char into[AWS_REGION_SIZE], struct error *err)
{
    struct profile profile = {0};
    enum rc rc = read_profile(&profile, err);
    if (rc == RC_OK && profile.region[0] != '\0')
        memcpy(into, profile.region, AWS_REGION_SIZE);
    else if (rc == RC_OK)
        rc = RC_NOT_FOUND;
    OPENSSL_cleanse(&profile, sizeof(profile));
    return rc;
}
