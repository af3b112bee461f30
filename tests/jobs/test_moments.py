"""Latents while training: in memory, shared between processes, or read clip by clip, always the same bytes."""

import hashlib
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from jobs import node_memory, opening, train
from jobs.moments import ByClip, InMemory
from tests.jobs import made_up
from vdt_hpc.dist import ProcessGroup, Task
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.signature import signature
from vdt_hpc.store import checkpoint
from vdt_hpc.store.latents import LatentSet

HOME = Path(__file__).parents[2]
CONFIG = made_up.config()
NO_MEMORY_GB = 1e-9
NUM_BYTES = 2 * 7 * 2 * 6 * 2 * 4 * 4 * 2


@pytest.fixture
def paths(partition):
    return made_up.write_latents(CONFIG, partition)


def every_window(moments):
    for clip in range(len(moments)):
        for flip in range(moments.num_flips):
            for frames in (slice(0, 6), slice(1, 6), slice(2, 3)):
                yield np.stack(moments.window(clip, flip, frames))


def digest(moments):
    return hashlib.sha256(b"".join(window.tobytes() for window in every_window(moments))).hexdigest()


def test_all_forms_give_what_the_shard_holds(paths):
    held, read = made_up.moments(CONFIG, paths), made_up.moments(CONFIG, paths, memory_gb=NO_MEMORY_GB)
    assert isinstance(held, InMemory)
    assert isinstance(read, ByClip)
    with h5py.File(paths.latents / "train-00000.h5") as file:
        mean, std = file["mean"][:], file["std"][:]
    for moments in (held, read):
        assert (len(moments), moments.num_flips, moments.clip_frames, moments.frame_shape) == (7, 2, 6, (2, 4, 4))
        assert moments.scaling_factor == 0.25
        for clip, flip in np.ndindex(7, 2):
            for frames in (slice(0, 6), slice(1, 6), slice(2, 3)):
                for window, whole in zip(moments.window(clip, flip, frames), (mean, std), strict=True):
                    assert window.dtype == np.float16
                    assert np.array_equal(window, whole[clip, flip, frames])
    assert digest(held) == digest(read)


def test_a_limited_split_has_its_first_clips_without_flips(paths):
    whole = made_up.moments(CONFIG, paths, "val")
    for memory_gb in (None, NO_MEMORY_GB):
        few = made_up.moments(CONFIG, paths, "val", memory_gb, num_clips=2)
        assert (len(few), few.num_flips) == (2, 1)
        assert np.array_equal(few.window(1, 0, slice(0, 6)), whole.window(1, 0, slice(0, 6)))
        assert len(made_up.moments(CONFIG, paths, "val", memory_gb, num_clips=99)) == 3


def test_an_empty_validation_split_is_no_error(partition):
    paths = made_up.write_latents(CONFIG, partition, {"train": 2})
    assert len(made_up.moments(CONFIG, paths, "val", num_clips=2)) == 0


def test_where_latents_lie_is_said_in_one_line(paths, capsys, monkeypatch):
    made_up.moments(CONFIG, paths)
    assert capsys.readouterr().out == "training latents: 7 clips, 0 MB, in memory\n"
    monkeypatch.setattr(opening, "_megabytes", lambda num_bytes: f"{num_bytes:.0f} bytes")
    made_up.moments(CONFIG, paths, memory_gb=NUM_BYTES / 1e9)
    assert "in memory" in capsys.readouterr().out
    made_up.moments(CONFIG, paths, memory_gb=(NUM_BYTES - 1) / 1e9)
    said = f"{NUM_BYTES} bytes do not fit into {NUM_BYTES - 1} bytes, latents_memory_gb"
    assert capsys.readouterr().out == f"training latents: 7 clips, {NUM_BYTES} bytes, read clip by clip ({said})\n"
    monkeypatch.setattr(node_memory, "free_bytes", lambda: 2 * NUM_BYTES - 2)
    made_up.moments(CONFIG, paths)
    assert f"do not fit into {NUM_BYTES - 1} bytes, half of what is free" in capsys.readouterr().out


def test_no_memory_from_the_system_is_said(paths, capsys, monkeypatch):
    def none(*arguments):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(opening.mmap, "mmap", none)
    assert isinstance(made_up.moments(CONFIG, paths), ByClip)
    assert "the system gives no memory: [Errno 12]" in capsys.readouterr().out


def test_a_stop_ends_the_reading(paths):
    asked = []

    def stop():
        asked.append(True)
        return len(asked) == 4

    latents = LatentSet.open(CONFIG, paths)
    with pytest.raises(opening.Stopped):
        opening.open_moments(latents, "train", ProcessGroup(Task(), paths.root), None, lambda: stop() or len(asked) > 4)
    assert len(asked) < 7


@pytest.mark.parametrize("memory_gb", [None, NO_MEMORY_GB])
def test_a_cut_or_compressed_shard_is_one_line(paths, memory_gb):
    shard = paths.latents / "train-00000.h5"
    with h5py.File(shard, "a") as file:
        mean = file["mean"][:]
        del file["mean"]
        file.create_dataset("mean", data=mean, chunks=(1, *mean.shape[1:]), compression="gzip")
    with pytest.raises(UserError, match=r"train-00000\.h5: /mean is not stored as one uncompressed chunk per clip"):
        made_up.moments(CONFIG, paths, memory_gb=memory_gb)
    os.truncate(shard, shard.stat().st_size // 2)
    with pytest.raises(UserError, match=r"cannot read the latents .*train-00000\.h5: .*; run encode again"):
        made_up.moments(CONFIG, paths, memory_gb=memory_gb)


def test_a_shard_cut_while_training_is_one_line(paths):
    moments = made_up.moments(CONFIG, paths, memory_gb=NO_MEMORY_GB)
    moments.window(0, 0, slice(0, 6))
    os.truncate(paths.latents / "train-00000.h5", 100)
    with pytest.raises(UserError, match=r"ends after 0 of \d+ bytes; run encode again"):
        moments.window(6, 1, slice(0, 6))


def test_training_clip_by_clip_gives_the_same_weights(tmp_path, capsys):
    weights = []
    for name, memory_gb in (("memory", None), ("by-clip", NO_MEMORY_GB)):
        where = made_up.partition(tmp_path / name, latents_memory_gb=memory_gb)
        paths = made_up.write_latents(CONFIG, where)
        assert train.run(CONFIG, where).complete
        weights.append(checkpoint.newest(paths.checkpoints, signature(CONFIG)).load("ema"))
        assert ("in memory" if memory_gb is None else "read clip by clip") in capsys.readouterr().out
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


WORK = """
    import json, sys
    from pathlib import Path
    from jobs import node_memory, opening
    from tests.jobs import made_up
    from tests.jobs.test_moments import CONFIG, NO_MEMORY_GB, digest
    from vdt_hpc.dist import ProcessGroup, current_task
    from vdt_hpc.errors import UserError
    from vdt_hpc.experiment.paths import paths_for
    from vdt_hpc.store.latents import LatentSet

    group = ProcessGroup(current_task(), Path(sys.argv[1]))
    rank = group.task.rank
    opening.SECONDS_BETWEEN_MEETINGS = 0.0

    def attempt(name, folder="good", memory_gb=None, stop=lambda: False):
        print(name, flush=True)
        latents = LatentSet.open(CONFIG, paths_for(CONFIG, made_up.partition(Path(sys.argv[1], folder))))
        try:
            moments = opening.open_moments(latents, "train", group, memory_gb, stop)
        except (UserError, opening.Stopped) as error:
            return {"error": type(error).__name__, "line": str(error)}
        maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if "memfd:latents" in line]
        return {
            "form": type(moments).__name__, "digest": digest(moments), "files": sorted({entry[4] for entry in maps}),
            "may_write": [entry[1] for entry in maps],
        }

    polls = []
    results = {
        "shared": attempt("shared"),
        "by_clip": attempt("by_clip", memory_gb=NO_MEMORY_GB),
        "damaged": attempt("damaged", "damaged"),
        "stopped": attempt("stopped", stop=lambda: rank == 1 and (polls.append(1) or len(polls) > 3)),
    }
    whole = node_memory.attach
    if rank == 1:
        def refused(place):
            raise PermissionError(13, "Permission denied")
        node_memory.attach = refused
    results["refused"] = attempt("refused")
    node_memory.process_namespace = lambda: f"pid:[{rank}]"
    results["apart"] = attempt("apart", memory_gb=1e-3)
    results["halves"] = attempt("halves", memory_gb=BYTES * 1.5 / 1e9)
    group.close()
    print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    """What two processes on this node end with in several situations, and the lines they said there."""
    root = tmp_path_factory.mktemp("ranks")
    for folder in ("good", "damaged"):
        paths = made_up.write_latents(CONFIG, made_up.partition(root / folder))
    os.truncate(paths.latents / "train-00000.h5", 5000)
    code = textwrap.dedent(WORK).replace("BYTES", str(NUM_BYTES))
    processes = []
    for rank in range(2):
        env = {
            **os.environ, "SUBMITIT_EXECUTOR": "local", "SUBMITIT_LOCAL_JOB_ID": "78", "SUBMITIT_LOCAL_NTASKS": "2",
            "SUBMITIT_LOCAL_GLOBALID": str(rank), "SUBMITIT_LOCAL_LOCALID": str(rank),
        }  # fmt: skip
        command = [sys.executable, "-c", code, str(root)]
        processes.append(subprocess.Popen(command, env=env, cwd=HOME, stdout=subprocess.PIPE, text=True))
    printed = [process.communicate(timeout=120)[0].splitlines() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    results = [json.loads(lines[-1]) for lines in printed]
    said = []
    for lines in printed:
        chapters = {}
        for line in lines[:-1]:
            if line in results[0]:
                chapters[line] = chapter = []
            else:
                chapter.append(line)
        said.append(chapters)
    reference = digest(made_up.moments(CONFIG, made_up.paths_for(CONFIG, made_up.partition(root / "good"))))
    return results, said, reference


def test_two_ranks_of_a_node_share_one_copy(two_ranks):
    results, said, reference = two_ranks
    first, second = (result["shared"] for result in results)
    assert first["form"] == second["form"] == "InMemory"
    assert first["digest"] == second["digest"] == reference
    assert len(first["files"]) == 1
    assert first["files"] == second["files"]
    assert second["may_write"] == ["r--s"]
    assert said[0]["shared"][-1] == "training latents: 7 clips, 0 MB, in memory (shared by 2 ranks)"
    assert said[1]["shared"] == []


def test_without_memory_all_ranks_read_clip_by_clip(two_ranks):
    results, said, reference = two_ranks
    assert [result["by_clip"]["form"] for result in results] == ["ByClip", "ByClip"]
    assert {result["by_clip"]["digest"] for result in results} == {reference}
    assert not results[1]["by_clip"]["files"], "the copy of before is gone"
    assert "read clip by clip (0 MB do not fit into 0 MB, latents_memory_gb)" in said[0]["by_clip"][0]
    assert said[1]["by_clip"] == []


def test_a_damaged_shard_is_the_same_line_on_all_ranks(two_ranks):
    first, second = (result["damaged"] for result in two_ranks[0])
    assert first == second
    assert first["error"] == "UserError"
    assert first["line"].startswith("cannot read the latents")
    assert "\n" not in first["line"]


def test_a_signal_to_one_rank_stops_the_reading_on_all(two_ranks):
    assert [result["stopped"]["error"] for result in two_ranks[0]] == ["Stopped", "Stopped"]


def test_a_rank_that_cannot_map_the_copy_reads_clip_by_clip(two_ranks):
    results, said, reference = two_ranks
    assert [result["refused"]["form"] for result in results] == ["InMemory", "ByClip"]
    assert {result["refused"]["digest"] for result in results} == {reference}
    assert said[0]["refused"][-1] == "training latents: 7 clips, 0 MB, in memory"
    assert "rank 1: training latents are read clip by clip" in said[1]["refused"][0]
    assert "Permission denied" in said[1]["refused"][0]


def test_ranks_in_containers_of_their_own_hold_a_copy_each_and_split_the_memory(two_ranks):
    results, said, reference = two_ranks
    assert [result["apart"]["form"] for result in results] == ["InMemory", "InMemory"]
    assert [result["halves"]["form"] for result in results] == ["ByClip", "ByClip"]
    assert not any(result["apart"]["files"] for result in results), "nothing is shared"
    assert {result[name]["digest"] for result in results for name in ("apart", "halves")} == {reference}
    assert all(lines["apart"][-1] == "training latents: 7 clips, 0 MB, in memory" for lines in said)
