"""Sample sets: parts, the file that finishes them, names that tell contents apart."""

from dataclasses import replace

import numpy as np
import pytest

from vdt_hpc import files
from vdt_hpc.errors import UserError
from vdt_hpc.store.sample_info import SAMPLES, SampleInfo
from vdt_hpc.store.samples import Pace, SampleSet, finish_set, part_path, write_part


@pytest.fixture
def info():
    return SampleInfo(
        run="r", dataset="d", task="prediction", given_frames=2, given=(0, 1), num_frames=3, window_frames=3,
        num_clips=11, num_trajectories=2,
        sampler="ddim", num_steps=50, seed=0, checkpoint="clips-000000008", clips_seen=8, run_signature="s",
        latents_fingerprint="f", code_commit="c",
    )  # fmt: skip


def write(folder, info, parts):
    for part in parts:
        clips = info.part_clips(part)
        samples = np.stack([np.full((2, 3, 8, 8, 3), index, np.uint8) for index in clips])
        write_part(folder, part, samples, [f"clip-{index}" for index in clips])


def test_clips_come_back_in_order(tmp_path, info):
    folder = tmp_path / info.name
    assert [len(info.part_clips(part)) for part in range(info.num_parts())] == [8, 3]
    write(folder, info, [1, 0])
    assert finish_set(folder, info)
    (found,) = SampleSet.find_all(tmp_path)[0]
    assert found.info == info
    clips = list(found.clips())
    assert [name for name, _ in clips] == [f"clip-{index}" for index in range(11)]
    assert all(
        samples.shape == (2, 3, 8, 8, 3) and (samples == index).all() for index, (_, samples) in enumerate(clips)
    )


def test_clips_may_differ_in_trajectories(tmp_path, info):
    info = replace(info, num_repeated_clips=3)  # 0, 5 and 10
    folder = tmp_path / info.name
    for part in range(2):
        clips = info.part_clips(part)
        samples = [np.full((info.counts.of_clip(index), 3, 8, 8, 3), index, np.uint8) for index in clips]
        pace = Pace(1.5, sum(map(len, samples)), "CPU, 1 thread")
        write_part(folder, part, samples, [f"clip-{index}" for index in clips], pace)
    finish_set(folder, info)
    found = SampleSet.open(folder)
    assert found.info == info
    assert [len(samples) for _, samples in found.clips()] == [2, 1, 1, 1, 1, 2, 1, 1, 1, 1, 2]
    assert all((samples == index).all() for index, (_, samples) in enumerate(found.clips()))
    name, samples = found.clip(10)
    assert (name, samples.shape, samples.min()) == ("clip-10", (2, 3, 8, 8, 3), 10)
    assert found.paces() == [Pace(1.5, 10, "CPU, 1 thread"), Pace(1.5, 4, "CPU, 1 thread")]


def test_a_trajectory_that_is_not_there_takes_no_space(tmp_path):
    draw = np.random.default_rng(0)
    one, ten = (draw.integers(0, 256, (count, 2, 64, 64, 3)).astype(np.uint8) for count in (1, 10))
    write_part(tmp_path, 0, [one, ten], ["a", "b"])
    assert part_path(tmp_path, 0).stat().st_size < 1.1 * (one.nbytes + ten.nbytes)


def test_the_digest_of_a_part_tells_contents_apart_and_nothing_else(tmp_path):
    zeros = np.zeros((1, 2, 3, 8, 8, 3), np.uint8)
    more = [np.zeros((2, 3, 8, 8, 3), np.uint8)]
    digests = []
    for part, (samples, name, pace) in enumerate(
        [(zeros, "a", None), (zeros, "a", Pace(1.5, 2, "CPU")), (zeros + 1, "a", None), (zeros, "b", None),
         (zeros[:, :1], "a", None), (more, "a", None)]
    ):  # fmt: skip
        write_part(tmp_path, part, samples, [name], pace)
        digests.append(SampleSet(tmp_path, None).digest(part))
    assert len(digests[0]) == 64
    assert [digest == digests[0] for digest in digests] == [True, True, False, False, False, True]


def test_sets_of_which_nobody_knows_the_pace(tmp_path, info):
    write(tmp_path / info.name, info, [0, 1])
    finish_set(tmp_path / info.name, info)
    assert SampleSet.open(tmp_path / info.name).paces() == []


def test_a_set_with_a_missing_part_is_not_finished(tmp_path, info):
    folder = tmp_path / info.name
    write(folder, info, [1])
    assert not finish_set(folder, info)
    assert SampleSet.open(folder) is None
    assert SampleSet.find_all(tmp_path)[0] == []
    assert SampleSet.find_all(tmp_path / "nowhere")[0] == []


def test_the_name_tells_contents_apart_but_not_code(info):
    assert info.name.startswith("prediction-ddim-50-clips-000000008-")
    assert replace(info, code_commit="other").name == info.name
    for changes in (
        {"seed": 1}, {"num_clips": 12}, {"run_signature": "t"}, {"latents_fingerprint": "g"}, {"given": (0, 2)},
        {"window_frames": 2}, {"overlap_frames": 1}, {"decode_precision": "bf16"}, {"num_repeated_clips": 3},
    ):  # fmt: skip
        assert replace(info, **changes).name != info.name


def test_sets_from_before_the_other_tasks_keep_their_names_and_are_read(tmp_path, info):
    assert info.name == "prediction-ddim-50-clips-000000008-f5268938"
    folder = tmp_path / info.name
    write(folder, info, [0, 1])
    finish_set(folder, info)
    content = files.read_json(folder / SAMPLES)
    for name in ("given", "window_frames", "overlap_frames", "decode_precision", "num_repeated_clips"):
        del content[name]
    files.write_json(folder / SAMPLES, content)
    assert SampleSet.open(folder).info == info


def test_frames_that_are_not_given_are_generated(info):
    assert info.generated == (2,)
    assert replace(info, num_frames=6, given=(5, 1)).generated == (0, 2, 3, 4)
    with pytest.raises(AssertionError):
        replace(info, given=(1,))


def test_what_does_not_fit_is_refused(tmp_path, info):
    for samples, ids in (
        (np.zeros((1, 2, 3, 8, 8, 3), np.float32), ["a"]),
        (np.zeros((2, 3, 8, 8, 3), np.uint8), ["a", "b"]),
        (np.zeros((1, 2, 3, 8, 8, 3), np.uint8), ["a", "b"]),
        ([np.zeros((2, 3, 8, 8, 3), np.uint8), np.zeros((1, 4, 8, 8, 3), np.uint8)], ["a", "b"]),
        ([], []),
    ):
        with pytest.raises(ValueError, match="do not fit"):
            write_part(tmp_path, 0, samples, ids)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_set_is_named(tmp_path, info):
    folder = tmp_path / info.name
    write(folder, info, [0, 1])
    finish_set(folder, info)
    content = files.read_json(folder / SAMPLES)
    del content["seed"]
    files.write_json(folder / SAMPLES, content)
    with pytest.raises(UserError, match="run the stage sample again"):
        SampleSet.open(folder)
