/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/models_dir.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_folder(const char *path)
{
    struct stat what;
    return stat(path, &what) == 0 && S_ISDIR(what.st_mode);
}

enum rc models_dir_find(const char *given, char into[PATH_MAX], struct error *err)
{
    if (given[0] != '\0') {
        if (snprintf(into, PATH_MAX, "%s", given) >= PATH_MAX || !is_folder(into))
            return error_set(err, RC_NOT_FOUND, "--models: '%.150s' is not a folder", given);
        return RC_OK;
    }
    char program[PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", program, sizeof(program) - 1);
    if (size < 0)
        return error_set(err, RC_NOT_FOUND,
                         "cannot find the program's own folder (%s); give "
                         "--models DIR",
                         strerror(errno));
    program[size] = '\0';
    char *slash = strrchr(program, '/');
    *slash = '\0';
    static const char *const places[] = {"models", "../share/imago/models"};
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
        if (snprintf(into, PATH_MAX, "%s/%s", program, places[i]) < PATH_MAX && is_folder(into))
            return RC_OK;
    return error_set(err, RC_NOT_FOUND,
                     "no model repository beside the program; give --models DIR ('make model' "
                     "prepares one)");
}
