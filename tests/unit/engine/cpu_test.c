/* SPDX-License-Identifier: Apache-2.0
 * engine_cpu_count() on made-up file trees. */
#include "check.h"
#include "engine/cpu.h"
#include "engine/engine.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char root[] = "/tmp/imago-cpu-XXXXXX";

static void fresh_root(void)
{
    (void)strcpy(root + sizeof(root) - 7, "XXXXXX");
    assert_non_null(mkdtemp(root));
}

static void remove_root(void)
{
    char command[128];
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", root);
    assert_int_equal(system(command), 0);
}

/* Write a file and the folders above it. */
static void write_file(const char *path, const char *text)
{
    char full[PATH_MAX];
    (void)snprintf(full, sizeof(full), "%s%s", root, path);
    for (char *at = full + strlen(root) + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        (void)mkdir(full, 0700);
        *at = '/';
    }
    FILE *file = fopen(full, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

TEST(without_cgroups_it_is_the_affinity)
{
    fresh_root();
    assert_int_equal(cpu_count_at(root, 7), 7);
    assert_int_equal(cpu_count_at(root, 0), 1);
    remove_root();
}

TEST(v2_quota_is_rounded_up)
{
    fresh_root();
    write_file("/proc/self/cgroup", "0::/\n");
    write_file("/sys/fs/cgroup/cpu.max", "150000 100000\n");
    assert_int_equal(cpu_count_at(root, 8), 2);
    write_file("/sys/fs/cgroup/cpu.max", "10000 100000\n");
    assert_int_equal(cpu_count_at(root, 8), 1);
    write_file("/sys/fs/cgroup/cpu.max", "400000 100000\n");
    assert_int_equal(cpu_count_at(root, 8), 4);
    assert_int_equal(cpu_count_at(root, 2), 2);
    remove_root();
}

TEST(v2_max_is_no_limit)
{
    fresh_root();
    write_file("/proc/self/cgroup", "0::/\n");
    write_file("/sys/fs/cgroup/cpu.max", "max 100000\n");
    assert_int_equal(cpu_count_at(root, 8), 8);
    remove_root();
}

TEST(v2_the_least_of_the_ancestors_holds)
{
    fresh_root();
    write_file("/proc/self/cgroup", "0::/kube/pod7/app\n");
    write_file("/sys/fs/cgroup/kube/pod7/app/cpu.max", "max 100000\n");
    write_file("/sys/fs/cgroup/kube/pod7/cpu.max", "300000 100000\n");
    write_file("/sys/fs/cgroup/kube/cpu.max", "600000 100000\n");
    assert_int_equal(cpu_count_at(root, 8), 3);
    remove_root();
}

TEST(v2_a_path_of_the_host_falls_back_to_the_mount)
{
    fresh_root();
    write_file("/proc/self/cgroup", "0::/../../docker/0123abc\n");
    write_file("/sys/fs/cgroup/cpu.max", "250000 100000\n");
    assert_int_equal(cpu_count_at(root, 8), 3);
    remove_root();
}

TEST(v1_quota_and_period)
{
    fresh_root();
    write_file("/proc/self/cgroup", "12:memory:/m\n4:cpu,cpuacct:/docker/x\n1:name=systemd:/\n");
    write_file("/sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_quota_us", "50000\n");
    write_file("/sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_period_us", "20000\n");
    assert_int_equal(cpu_count_at(root, 8), 3);
    remove_root();
}

TEST(v1_minus_one_is_no_limit_and_other_controllers_do_not_count)
{
    fresh_root();
    write_file("/proc/self/cgroup", "5:cpuset:/a\n4:cpu:/b\n3:cpuacct:/c\n");
    write_file("/sys/fs/cgroup/cpu/b/cpu.cfs_quota_us", "-1\n");
    write_file("/sys/fs/cgroup/cpu/b/cpu.cfs_period_us", "100000\n");
    write_file("/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "100000\n");
    write_file("/sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n");
    assert_int_equal(cpu_count_at(root, 8), 8);
    remove_root();
}

TEST(broken_files_are_no_limit)
{
    static const char *const texts[] = {"",       "\n",          "x y\n",       "0 100000\n",
                                        "100000", "100000 0\n",  "-5 -5\n",     "100000 -1\n",
                                        "max\n",  "9e99 9e99\n", "1e5 100000\n"};
    fresh_root();
    write_file("/proc/self/cgroup", "\n0\n0:\n:::\n0::/a\n");
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        write_file("/sys/fs/cgroup/a/cpu.max", texts[i]);
        assert_in_range(cpu_count_at(root, 8), 1, 8);
    }
    remove_root();
}

TEST(this_machine_has_a_cpu) { assert_in_range(engine_cpu_count(), 1, 1u << 20); }

TEST_MAIN("engine cpu")
