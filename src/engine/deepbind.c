/* SPDX-License-Identifier: Apache-2.0
 * deepbind.c - sanitizer builds only: OpenVINO opens its plugins with RTLD_DEEPBIND, which makes a
 * library find its own malloc before the sanitizer's, and which the sanitizers refuse. This
 * dlopen() comes before the C library's and leaves the flag out. */
#include <dlfcn.h>

__attribute__((visibility("default"))) void *dlopen(const char *path, int flags)
{
    static void *(*next)(const char *, int);
    if (next == 0)
        *(void **)&next = dlsym(RTLD_NEXT, "dlopen");
    return next(path, flags & ~RTLD_DEEPBIND);
}
