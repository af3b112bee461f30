"""The same latents, byte for byte: from a folder, a zip and a tar, by one task or three, and after any kills.

And what becomes of clips that cannot be read, of other sizes, of bf16, and of a disk that fills up.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from made_frames import save_autoencoder, write_sequence
from PIL import Image

from preprocess import encode, index
from preprocess.geometry import prepare
from tests.jobs import aftermath
from tests.preprocess.source.packed import to_tar, to_zip
from vdt_hpc import dist
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.paths import CITYSCAPES_TREE
from vdt_hpc.store.latents import LatentSet
from vdt_hpc.store.manifest import read_manifest

NUM_TRAIN = 8


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames") / "tree"
    for sequence in range(NUM_TRAIN):
        write_sequence(folder, "train", "xanten", sequence, range(30))
    write_sequence(folder, "val", "yburg", 0, range(30))
    write_sequence(folder, "test", "zell", 0, range(30))
    return folder


@pytest.fixture(scope="module")
def coder(tmp_path_factory):
    return save_autoencoder(tmp_path_factory.mktemp("autoencoder"), seed=0)


@pytest.fixture
def encoding(bench, tree, coder):
    def make(**sections):
        sections["data"] = {"root": str(tree), **sections.get("data", {})}
        sections["autoencoder"] = {"source": str(coder), **sections.get("autoencoder", {})}
        return bench(**sections)

    return make


def run(made):
    return encode.run(made.config, made.partition)


def shards(made):
    return {path.name: path.read_bytes() for path in sorted(made.paths.latents.glob("*.h5"))}


@pytest.fixture(scope="module")
def expected(tmp_path_factory, tree, coder):
    """Shards of the folder, encoded by one task that nobody disturbs."""
    from vdt_hpc.experiment.config import RunConfig
    from vdt_hpc.experiment.data_config import AutoencoderConfig, DataConfig
    from vdt_hpc.experiment.partition import Partition
    from vdt_hpc.experiment.paths import paths_for

    data = DataConfig(dataset="test", root=str(tree), frame_height_px=32)
    config = RunConfig(data=data, autoencoder=AutoencoderConfig(source=str(coder), clips_per_shard=1))
    partition = Partition(name="local", executor="local", root=str(tmp_path_factory.mktemp("undisturbed")))
    encode.run(config, partition)
    folder = paths_for(config, partition).latents
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.h5"))}


@pytest.mark.parametrize("pack", [to_zip, to_tar])
def test_from_an_archive(encoding, expected, tree, tmp_path, pack):
    made = encoding(data={"root": str(pack(tree, tmp_path / f"frames.{pack.__name__.removeprefix('to_')}"))})
    assert run(made).complete
    assert shards(made) == expected
    assert read_manifest(made.paths.latents).source_fingerprint == encoding().index().fingerprint


def test_by_three_jobs_of_an_array_from_different_places(encoding, expected, tree, tmp_path, monkeypatch, capsys):
    roots = [str(tree), str(to_zip(tree, tmp_path / "a.zip")), str(to_tar(tree, tmp_path / "a.tar"))]
    for number in (2, 0, 1):
        task = dist.Task(array_index=number, array_size=3)
        monkeypatch.setattr(dist, "current_task", lambda task=task: task)
        made = encoding(data={"root": roots[number]})
        result = run(made)
        assert result.complete
        assert (made.paths.latents / "manifest.json").exists() == (number == 1)
    assert shards(made) == expected
    shown = capsys.readouterr().out
    assert "all tasks: 3 of 10 shards" in shown
    assert "all tasks: 10 of 10 shards" in shown
    assert "encode: " not in shown.split("all tasks: 3 of 10 shards")[0].split("\n")[0]


def test_after_ten_kills_at_random_moments(encoding, expected, tree, tmp_path):
    made, draw = encoding(data={"root": str(to_zip(tree, tmp_path / "frames.zip"))}), random.Random(0)
    kills, process = 0, None
    while kills < 10 and not (made.paths.latents / "manifest.json").exists():
        process = made.start("encode", stdout=subprocess.DEVNULL, start_new_session=True)
        deadline = time.monotonic() + 60
        before, is_early = len(shards(made)), draw.random() < 0.3
        while not is_early and process.poll() is None and len(shards(made)) == before and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 2.0 if is_early else 0.1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    run(made)
    assert kills >= 4
    assert shards(made) == expected
    assert [path.name for path in made.paths.latents.iterdir() if path.name.startswith(".")] == []
    deadline = time.monotonic() + 10
    while aftermath.processes_that_mention(made.paths.root) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert aftermath.processes_that_mention(made.paths.root) == []


def damage_pixels(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))


def test_a_frame_that_cannot_be_decoded_stops_or_is_left_out_with_its_clip(encoding, tree, tmp_path, capsys):
    shutil.copytree(tree, tmp_path / "frames")
    bad = tmp_path / "frames" / CITYSCAPES_TREE / "train" / "xanten" / "xanten_000003_000011_leftImg8bit.png"
    damage_pixels(bad)
    short = bad.with_name("xanten_000005_000029_leftImg8bit.png")
    short.write_bytes(short.read_bytes()[:-40])
    data = {"root": str(tmp_path / "frames")}
    with pytest.raises(UserError, match=r"cannot read the frame .*xanten_000003_000011_leftImg8bit.png"):
        run(encoding(data=data, autoencoder={"clips_per_shard": 3}))
    assert list(shards(encoding(data=data, autoencoder={"clips_per_shard": 3}))) == ["train-00000.h5"]  # the one before
    made = encoding(data={**data, "skip_bad_clips": True}, autoencoder={"clips_per_shard": 3})
    assert f"{NUM_TRAIN} clips" in run(made).summary
    manifest = read_manifest(made.paths.latents)
    assert len(manifest.left_out) == 2
    assert bad.name in manifest.left_out[0]
    assert "clip xanten_000005_000000" in manifest.left_out[1]
    assert [shard.num_clips for shard in manifest.shards] == [3, 1, 2, 1, 1]
    train = LatentSet.open(made.config, made.paths).split("train")
    names = [train.clip_id(number) for number in range(len(train))]
    assert names == [f"xanten_{number:06d}_000000" for number in (0, 1, 2, 4, 6, 7)]
    assert capsys.readouterr().out.count("left out: clip xanten_") == 2


def test_a_shard_all_of_whose_clips_are_left_out(encoding, tree, tmp_path):
    shutil.copytree(tree, tmp_path / "frames")
    for frame in (tmp_path / "frames" / CITYSCAPES_TREE).rglob("*_000004.png".replace("000004", "000004_leftImg8bit")):
        if frame.name.startswith(("xanten_000000", "zell")):
            damage_pixels(frame)
    made = encoding(data={"root": str(tmp_path / "frames"), "skip_bad_clips": True})
    run(made)
    manifest = read_manifest(made.paths.latents)
    assert [shard.num_clips for shard in manifest.shards] == [0, *[1] * (NUM_TRAIN - 1), 1, 0]
    latents = LatentSet.open(made.config, made.paths)
    assert latents.split("train").clip_id(0) == "xanten_000001_000000"
    assert latents.split("train").clip_shape() == (2, 30, 4, 4, 4)
    assert len(latents.split("test")) == 0
    assert set(manifest.ceiling) == {"val"}


def test_bf16_and_how_far_it_lies_from_fp32(encoding, expected):
    made = encoding(autoencoder={"encode_precision": "bf16"})
    assert "bf16 deviates by" in run(made).summary
    manifest = read_manifest(made.paths.latents)
    with h5py.File(made.paths.latents / "train-00000.h5") as file:
        mean, noted = file["mean"][:].astype(np.float64), file.attrs["bf16_deviation"]
    (made.paths.latents.parent / "exact.h5").write_bytes(expected["train-00000.h5"])
    with h5py.File(made.paths.latents.parent / "exact.h5") as file:
        exact = file["mean"][:].astype(np.float64)
        assert "bf16_deviation" not in file.attrs
    relative = np.sqrt(np.square(mean - exact).mean() / np.square(exact).mean())
    assert noted == pytest.approx(relative, rel=1e-6)
    assert 1e-4 < manifest.bf16_deviation < 0.05


def test_frames_of_another_shape_and_filter(encoding, tree):
    data = {"frame_height_px": 32, "frame_width_px": 64, "crop": "whole", "resize": "area"}
    made = encoding(data=data)
    run(made)
    latents = LatentSet.open(made.config, made.paths)
    assert latents.split("train").clip_shape() == (2, 30, 4, 4, 8)
    filmed = Image.open(tree / CITYSCAPES_TREE / "test" / "zell" / "zell_000000_000007_leftImg8bit.png")
    assert np.array_equal(latents.split("test").frames(0)[7], prepare(np.asarray(filmed), made.config.data))
    from vdt_hpc.experiment import architecture

    with pytest.raises(UserError, match=r"the model takes square latents, not 8 x 4: frames of 64 x 32 px"):
        architecture.arguments(made.config)


def test_the_ceiling_is_recorded(encoding):
    made = encoding()
    assert "ceiling of val psnr_db" in run(made).summary
    manifest = read_manifest(made.paths.latents)
    test = LatentSet.open(made.config, made.paths).split("test")
    assert manifest.ceiling["test"]["psnr_db"] == pytest.approx(test.ceiling(0)["psnr_db"].mean(), rel=1e-6)
    assert manifest.ceiling["test"]["ssim"] == pytest.approx(test.ceiling(0)["ssim"].mean(), rel=1e-6)
    assert LatentSet.open(made.config, made.paths).split("train").ceiling(0) == {}


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_disk_that_is_too_small_is_said_before_and_one_that_fills_up_loses_nothing(
    encoding, expected, small_disk, monkeypatch
):
    made = encoding(root=small_disk)
    (small_disk / "another's").write_bytes(bytes(300_000))
    with pytest.raises(UserError, match=r"latents need .* GB, and .* GB are free"):
        run(made)
    monkeypatch.setattr("preprocess.encode_plan.require_space", lambda *arguments: None)  # it fills up meanwhile
    with pytest.raises(UserError, match=r"the disk is full: cannot write"):
        run(made)
    kept = shards(made)
    assert 0 < len(kept) < len(expected)
    assert kept.items() <= expected.items()
    (small_disk / "another's").unlink()
    run(made)
    assert shards(made) == expected


def test_a_worker_that_is_killed_is_one_line(encoding):
    made = encoding()
    process = made.start("encode", stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    children = f"/proc/{process.pid}/task/{process.pid}/children"
    deadline = time.monotonic() + 60
    while not (made.paths.latents / "train-00000.h5").exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    for child in map(int, Path(children).read_text().split()):
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
            os.kill(child, signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "a worker process was killed, perhaps for want of memory" in errors


def test_the_stage_index_reports_and_plans(encoding, tree, tmp_path, capsys):
    made = encoding()
    result = index.run(made.config, made.partition)
    assert result.summary == (
        f"index: {NUM_TRAIN + 2} clips (train {NUM_TRAIN}, val 1, test 1) in 300 files of "
        f"{sum(path.stat().st_size for path in tree.rglob('*.png')) / 1e9:.3g} GB; faults: none"
    )
    shown = capsys.readouterr().out
    assert f"plan: {NUM_TRAIN + 2} clips of 300 frames" in shown
    assert "become 10 shards of" in shown
    assert "in a trial," in shown
    assert not made.paths.latents.exists()
    assert "| train | xanten | 8 | 240 |" in Path(result.outputs["report"]).read_text()
    missing = encoding(autoencoder={"source": str(tmp_path / "none")})
    index.run(missing.config, missing.partition)
    assert "plan: no trial: no autoencoder" in capsys.readouterr().out


def test_an_encode_that_another_source_of_the_same_frames_began(encoding, expected, tree, tmp_path, monkeypatch):
    made = encoding()
    monkeypatch.setattr(dist, "current_task", lambda: dist.Task(rank=1, world_size=2))
    run(made)
    monkeypatch.undo()
    begun = json.loads((made.paths.latents / "encoding.json").read_text())
    assert (begun["num_shards"], begun["num_frames"]) == (10, 300)
    again = encoding(data={"root": str(to_zip(tree, tmp_path / "frames.zip"))})
    run(again)
    assert shards(again) == expected
