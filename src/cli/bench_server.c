/* SPDX-License-Identifier: Apache-2.0
 * bench_server.c - what a server costs: /proc of its process and of every process below it, since
 * many servers run several. */
#include "base/clock.h"
#include "cli/bench.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PROCESS_COUNT_MAX 32768u

/* Fields of /proc/PID/stat that follow the state. */
enum {
    STAT_PARENT = 0,
    STAT_USER = 10,
    STAT_SYSTEM,
    STAT_CHILD_USER,
    STAT_CHILD_SYSTEM,
    STAT_FIELD_COUNT,
};

struct process {
    uint32_t pid;
    uint32_t parent;
    uint64_t cpu_ns; /* its own and that of children that ended and were waited for */
    bool counted;
};

static bool read_text(uint32_t pid, const char *name, char *into, size_t size)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/%u/%s", pid, name);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return false;
    size_t got = fread(into, 1, size - 1, file);
    (void)fclose(file);
    into[got] = '\0';
    return got > 0;
}

static bool read_process(uint32_t pid, struct process *ret_process)
{
    char text[1024];
    if (!read_text(pid, "stat", text, sizeof(text)))
        return false;
    /* The name, in brackets, may hold anything: fields are counted from the last bracket. */
    const char *at = strrchr(text, ')');
    uint64_t fields[STAT_FIELD_COUNT] = {0};
    if (at == NULL || strlen(at) < 4)
        return false;
    at += 4; /* ") S ": the state is one letter */
    for (size_t i = 0; i < STAT_FIELD_COUNT; i++) {
        char *end;
        fields[i] = strtoull(at, &end, 10); /* a negative one is none of those that are used */
        if (end == at)
            return false;
        at = end;
    }
    uint64_t tick_ns = NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK);
    uint64_t own_ns = (fields[STAT_USER] + fields[STAT_SYSTEM]) * tick_ns;
    /* The same sum in nanoseconds, where the system has it. */
    clockid_t clock;
    struct timespec spent;
    if (clock_getcpuclockid((pid_t)pid, &clock) == 0 && clock_gettime(clock, &spent) == 0)
        own_ns = (uint64_t)spent.tv_sec * NS_PER_S + (uint64_t)spent.tv_nsec;
    uint64_t children_ns = (fields[STAT_CHILD_USER] + fields[STAT_CHILD_SYSTEM]) * tick_ns;
    *ret_process = (struct process){
        .pid = pid, .parent = (uint32_t)fields[STAT_PARENT], .cpu_ns = own_ns + children_ns};
    return true;
}

static uint64_t read_rss_peak(uint32_t pid)
{
    char text[4096];
    if (!read_text(pid, "status", text, sizeof(text)))
        return 0;
    const char *line = strstr(text, "\nVmHWM:");
    if (line == NULL)
        line = strstr(text, "\nVmRSS:");
    return line != NULL ? strtoull(line + 7, NULL, 10) * 1024 : 0;
}

static struct process *read_all(size_t *ret_count)
{
    struct process *all = calloc(PROCESS_COUNT_MAX, sizeof(*all));
    DIR *dir = opendir("/proc");
    size_t count = 0;
    for (struct dirent *entry; all != NULL && dir != NULL && (entry = readdir(dir)) != NULL;) {
        if (!isdigit((unsigned char)entry->d_name[0]) || count == PROCESS_COUNT_MAX)
            continue;
        if (read_process((uint32_t)strtoul(entry->d_name, NULL, 10), &all[count]))
            count++;
    }
    if (dir != NULL)
        (void)closedir(dir);
    *ret_count = count;
    return all;
}

static bool belongs(const struct process *all, size_t count, const struct process *process,
                    uint32_t root)
{
    if (process->counted)
        return false;
    if (process->pid == root)
        return true;
    for (size_t i = 0; i < count; i++)
        if (all[i].counted && all[i].pid == process->parent)
            return true;
    return false;
}

enum rc usage_read(uint32_t pid, struct usage *ret_usage, struct error *err)
{
    size_t count = 0;
    struct process *all = read_all(&count);
    if (all == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory for the list of processes");
    struct usage usage = {0};
    for (bool grown = true; grown;) { /* a level of the tree each time round */
        grown = false;
        for (size_t i = 0; i < count; i++) {
            if (!belongs(all, count, &all[i], pid))
                continue;
            grown = all[i].counted = true;
            usage.cpu_ns += all[i].cpu_ns;
            usage.rss_peak += read_rss_peak(all[i].pid);
            usage.process_count++;
        }
    }
    free(all);
    if (usage.process_count == 0)
        return error_set(err, RC_NOT_FOUND, "--pid: there is no process %u", pid);
    *ret_usage = usage;
    return RC_OK;
}
