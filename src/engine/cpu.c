/* SPDX-License-Identifier: Apache-2.0
 * cpu.c - how many CPUs this process may keep busy. More threads than a container's quota only
 * make the kernel stop all of them for the rest of each period. */
#include "engine/cpu.h"
#include "engine/engine.h"

#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CPU_COUNT_MAX 4096
#define TEXT_SIZE     256
#define LINE_SIZE     (PATH_MAX + TEXT_SIZE)

static bool read_line(const char *path, char *into, int room)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    bool ok = fgets(into, room, file) != NULL;
    (void)fclose(file);
    return ok;
}

/* CPUs for `quota` in every `period`, rounded up; 0: no limit. */
static uint32_t quota_cpus(long long quota, long long period)
{
    if (quota <= 0 || period <= 0)
        return 0;
    long long cpus = quota / period + (quota % period != 0);
    return cpus < INT_MAX ? (uint32_t)cpus : 0;
}

static uint32_t read_v2(const char *dir)
{
    char path[LINE_SIZE], text[TEXT_SIZE];
    long long quota = 0, period = 0;
    (void)snprintf(path, sizeof(path), "%s/cpu.max", dir);
    /* "max 100000" or "150000 100000" */
    if (!read_line(path, text, sizeof(text)) || sscanf(text, "%lld %lld", &quota, &period) != 2)
        return 0;
    return quota_cpus(quota, period);
}

static uint32_t read_v1(const char *dir)
{
    char path[LINE_SIZE], text[TEXT_SIZE];
    (void)snprintf(path, sizeof(path), "%s/cpu.cfs_quota_us", dir);
    if (!read_line(path, text, sizeof(text)))
        return 0;
    long long quota = strtoll(text, NULL, 10); /* -1: none */
    (void)snprintf(path, sizeof(path), "%s/cpu.cfs_period_us", dir);
    if (!read_line(path, text, sizeof(text)))
        return 0;
    return quota_cpus(quota, strtoll(text, NULL, 10));
}

/* The least quota from `group` up to `mount`: each ancestor's holds too. Inside a container the
 * group may be spelt as the host sees it; what does not exist here is passed over. */
static uint32_t walk_up(const char *mount, const char *group, uint32_t (*read)(const char *dir))
{
    char dir[PATH_MAX];
    uint32_t least = 0;
    int size = snprintf(dir, sizeof(dir), "%s%s", mount, group);
    if (size < 0 || (size_t)size >= sizeof(dir))
        return 0;
    for (size_t mount_size = strlen(mount);;) {
        uint32_t cpus = read(dir);
        if (cpus != 0 && (least == 0 || cpus < least))
            least = cpus;
        char *slash = strrchr(dir, '/');
        if (slash == NULL || (size_t)(slash - dir) < mount_size)
            return least;
        *slash = '\0';
    }
}

static bool has_controller(const char *list, const char *name)
{
    size_t size = strlen(name);
    for (const char *at = list; at != NULL; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
        if (strncmp(at, name, size) == 0 && (at[size] == ',' || at[size] == '\0'))
            return true;
    return false;
}

/* One line of /proc/self/cgroup: "0::/path" is version 2, "4:cpu,cpuacct:/path" version 1. */
static uint32_t read_group(const char *root, char *line)
{
    static const struct {
        const char *mount;
        uint32_t (*read)(const char *dir);
        bool v2;
    } places[] = {{"/sys/fs/cgroup", read_v2, true},
                  {"/sys/fs/cgroup/unified", read_v2, true},
                  {"/sys/fs/cgroup/cpu", read_v1, false},
                  {"/sys/fs/cgroup/cpu,cpuacct", read_v1, false}};
    uint32_t least = 0;
    line[strcspn(line, "\n")] = '\0';
    char *controllers = strchr(line, ':');
    char *group = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
    if (group == NULL)
        return 0;
    controllers++;
    *group++ = '\0';
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        char mount[PATH_MAX];
        (void)snprintf(mount, sizeof(mount), "%s%s", root, places[i].mount);
        if (places[i].v2 ? *controllers != '\0' : !has_controller(controllers, "cpu"))
            continue;
        uint32_t cpus = walk_up(mount, group, places[i].read);
        if (cpus != 0 && (least == 0 || cpus < least))
            least = cpus;
    }
    return least;
}

uint32_t cpu_count_at(const char *root, uint32_t affinity_count)
{
    char path[PATH_MAX], line[LINE_SIZE];
    uint32_t least = affinity_count;
    (void)snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
    FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        uint32_t cpus = read_group(root, line);
        if (cpus != 0 && cpus < least)
            least = cpus;
    }
    if (file != NULL)
        (void)fclose(file);
    return least != 0 ? least : 1;
}

static uint32_t affinity_count(void)
{
    cpu_set_t *set = CPU_ALLOC(CPU_COUNT_MAX);
    size_t size = CPU_ALLOC_SIZE(CPU_COUNT_MAX);
    int count = 0;
    if (set != NULL && sched_getaffinity(0, size, set) == 0)
        count = CPU_COUNT_S(size, set);
    CPU_FREE(set);
    if (count <= 0)
        count = (int)sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? (uint32_t)count : 1;
}

uint32_t engine_cpu_count(void) { return cpu_count_at("", affinity_count()); }
