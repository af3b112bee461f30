"""What is free, read from made-up /proc and /sys/fs/cgroup."""

import os

import pytest

from jobs import node_memory

GB = 10**9


def system(tmp_path, cgroup_lines, groups, available_kb=8 * GB // 1024):
    """A folder for /proc and one for /sys/fs/cgroup; `groups` maps a file's path to its text."""
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable: {available_kb} kB\nHugePages_Total: 0\n")
    (proc / "self/cgroup").write_text(cgroup_lines)
    for name, text in groups.items():
        (cgroups / name).parent.mkdir(parents=True, exist_ok=True)
        (cgroups / name).write_text(str(text))
    return node_memory.free_bytes(proc, cgroups)


def version_2(group, limit, usage, cached=0):
    stat = f"anon 5\ninactive_file {cached // 2}\nactive_file {cached - cached // 2}\n"
    return {f"{group}/memory.max": limit, f"{group}/memory.current": usage, f"{group}/memory.stat": stat}


def test_without_control_groups_all_that_is_available_is_free(tmp_path):
    assert system(tmp_path, "", {}) == pytest.approx(8 * GB, rel=1e-6)


@pytest.mark.parametrize(
    ("job", "step", "free"), [(6 * GB, "max", 4 * GB), (6 * GB, 3 * GB, 1 * GB), ("max", "max", 8 * GB)]
)
def test_the_tightest_group_on_the_way_up_binds(tmp_path, job, step, free):
    groups = version_2("job_1", job, 2 * GB) | version_2("job_1/step_0/user", step, 2 * GB)
    assert system(tmp_path, "0::/job_1/step_0/user\n", groups) == pytest.approx(free, rel=1e-6)


def test_cached_files_of_a_group_are_free(tmp_path):
    assert system(tmp_path, "0::/job_1\n", version_2("job_1", 3 * GB, 3 * GB, cached=2 * GB)) == 2 * GB


def test_a_group_that_is_beyond_its_limit_leaves_nothing(tmp_path):
    assert system(tmp_path, "0::/job_1\n", version_2("job_1", 3 * GB, 4 * GB)) == 0


def test_version_1_and_a_path_that_only_the_host_sees(tmp_path):
    groups = {
        "memory/memory.limit_in_bytes": 5 * GB, "memory/memory.usage_in_bytes": 3 * GB,
        "memory/memory.stat": f"total_inactive_file {GB}\ninactive_file 7\ntotal_active_file 0\n",
    }  # fmt: skip
    assert system(tmp_path, "4:cpu,memory:/docker/abc\n1:cpu:/\n0::/\n", groups) == 3 * GB


def test_this_machine_has_something_free():
    assert 0 < node_memory.free_bytes() < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_a_shared_file_leaves_nothing_when_it_is_closed():
    file = node_memory.SharedFile(10)
    seen = node_memory.attach(file.place)
    file.memory[:3] = b"abc"
    assert seen[:3] == b"abc"
    with pytest.raises(TypeError):
        seen[:3] = b"xyz"
    file.close()
    with pytest.raises(OSError, match="No such file"):
        node_memory.attach(file.place)
    assert seen[:3] == b"abc"
