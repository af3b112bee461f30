"""The stage `verify`: what it says of good latents, and that it names every kind of damage."""

import dataclasses
import json
import os
import shutil
import signal

import h5py
import numpy as np
import pytest
from made_frames import save_autoencoder, write_sequence

from preprocess import encode, verify, verify_clips, verify_shards
from vdt_hpc import dist
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.paths import CITYSCAPES_TREE, paths_for
from vdt_hpc.store import latents, manifest


@pytest.fixture(scope="module")
def encoded(tmp_path_factory, tree, tiny_autoencoder):
    """A root with finished latents of the small tree, two clips to a shard."""
    root = tmp_path_factory.mktemp("encoded")
    shutil.copytree(tree, root / "frames")
    content = {
        "data": {"dataset": "test", "root": str(root / "frames"), "frame_height_px": 32},
        "autoencoder": {"source": str(tiny_autoencoder), "clips_per_shard": 2},
    }
    partition = Partition(name="local", executor="local", root=str(root))
    encode.run(RunConfig.model_validate_json(json.dumps(content)), partition)
    return root, content


class Latents:
    """A copy of the finished latents and their frames, to be damaged."""

    def __init__(self, root, content):
        self.frames = root / "frames"
        content = {**content, "data": {**content["data"], "root": str(self.frames)}}
        self.config = RunConfig.model_validate_json(json.dumps(content))
        self.partition = Partition(name="local", executor="local", root=str(root))
        self.folder = paths_for(self.config, self.partition).latents

    def verify(self):
        return verify.run(self.config, self.partition)

    def faults(self):
        with pytest.raises(UserError) as caught:
            self.verify()
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def open(self, name):
        return h5py.File(self.folder / name, "r+")

    def list_anew(self, **changes):
        """Write the manifest that goes with the shards as they are now."""
        old = manifest.read_manifest(self.folder)
        shards = [latents.describe_shard(self.folder / shard.file, shard.split) for shard in old.shards]
        self.write_anew(dataclasses.replace(old, shards=tuple(shards), **changes))

    def write_anew(self, content):
        (self.folder / manifest.MANIFEST).unlink()
        manifest.write_manifest(self.folder, content)


@pytest.fixture
def stored(encoded, tmp_path):
    root, content = encoded
    shutil.copytree(root, tmp_path / "root")
    return Latents(tmp_path / "root", content)


@pytest.fixture(autouse=True)
def own_signals():
    """The stage takes over two signals of this process; give them back."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR2)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_good_latents(stored, capsys):
    before = {path: path.read_bytes() for path in stored.folder.iterdir()}
    result = stored.verify()
    said = capsys.readouterr().out
    parts = (
        f"manifest {manifest.read_manifest(stored.folder).fingerprint} of this run's recipe",
        "5 clips in 4 shards: hashes, counts, shapes, types, finite values, clip ids",
        "frames of sampled clips: 2 the source's, to the byte",
        "sampled clips encoded again: 5 equal to the byte",
    )
    for part in parts:
        assert part in result.summary
        assert f"checked: {part}" in said
    assert "NOT checked" not in result.summary
    assert "verify shards: 4/4 shards" in said
    assert result.complete
    assert {path: path.read_bytes() for path in stored.folder.iterdir()} == before


def test_the_sample_covers_the_splits_and_is_repeatable(tmp_path):
    clips = [
        verify_shards.StoredClip(f"{split}-{row}", split, tmp_path, row)
        for split, count in (("train", 300), ("val", 1), ("test", 2))
        for row in range(count)
    ]
    chosen = verify_clips.sample_clips(clips, "abc")
    assert chosen == verify_clips.sample_clips(clips, "abc")
    assert chosen != verify_clips.sample_clips(clips, "abd")
    assert len({clip.clip_id for clip in chosen}) == verify_clips.NUM_CLIPS
    assert {clip.split for clip in chosen} == {"train", "val", "test"}


def test_another_device_is_told_from_other_latents(stored, monkeypatch):
    """A few steps of half precision are the arithmetic of another machine; more is another content."""
    original = verify_clips.encode_clip
    factor = 1.002

    def elsewhere(*arguments):
        return tuple((part * np.float16(factor)).astype(np.float16) for part in original(*arguments))

    monkeypatch.setattr(verify_clips, "encode_clip", elsewhere)
    said = stored.verify().summary
    assert (
        "sampled clips encoded again: 5 not to the byte, yet within what another machine or device may change: at most"
        in said
    )
    assert "(0.016 allowed)" in said
    factor = 1.05
    assert "5 faults" in (said := stored.faults())
    assert "clip zell_000000_000000 of test-00000.h5 holds other latents than its frames give: they differ by" in said


def flipped_byte(stored):
    path = stored.folder / "train-00001.h5"
    content = bytearray(path.read_bytes())
    content[-2000] ^= 1
    path.write_bytes(content)


def damaged_header(stored):
    path = stored.folder / "train-00001.h5"
    path.write_bytes(b"damage" + path.read_bytes()[6:])


def missing(stored):
    (stored.folder / "val-00000.h5").unlink()


def extra(stored):
    shutil.copy(stored.folder / "train-00001.h5", stored.folder / "train-00007.h5")


def not_a_number(stored):
    with stored.open("train-00000.h5") as file:
        file["mean"][1, 0, 3, 0, 0, 0] = np.nan
    stored.list_anew()


def no_deviation(stored):
    with stored.open("val-00000.h5") as file:
        file["std"][0, 1, 2] = 0
    stored.list_anew()


def wrong_count(stored):
    old = manifest.read_manifest(stored.folder)
    shards = (dataclasses.replace(old.shards[0], num_clips=3), *old.shards[1:])
    stored.write_anew(dataclasses.replace(old, shards=shards))


def another_shape(stored):
    with stored.open("test-00000.h5") as file:
        mean, std = (file[name][:, :, :29] for name in ("mean", "std"))
        content = latents.ShardContent(tuple(file["clip_id"].asstr()[:]), mean, std, file["frames"][:])
    latents.write_shard(stored.folder / "test-00000.h5", content)
    stored.list_anew()


def another_type(stored):
    with stored.open("test-00000.h5") as file:
        frames = file["frames"][:]
        del file["frames"]
        file["frames"] = frames.astype(np.int16)
    stored.list_anew()


def no_frames(stored):
    with stored.open("val-00000.h5") as file:
        del file["frames"]
    stored.list_anew()


def same_names(stored):
    with stored.open("train-00001.h5") as file:
        file["clip_id"][0] = "xanten_000000_000000"
    stored.list_anew()


def bad_ceiling(stored):
    with stored.open("val-00000.h5") as file:
        file["ceiling/psnr_db"][:] = np.inf
        file["ceiling/ssim"][:] = np.inf
    stored.list_anew()


def ceiling_of_another_shape(stored):
    with stored.open("val-00000.h5") as file:
        del file["ceiling/ssim"]
        file["ceiling/ssim"] = np.ones((1, 28), np.float32)
    stored.list_anew()


def a_changed_frame(stored):
    write_sequence(stored.frames, "test", "zell", 0, [4], level=250)


def a_changed_frame_of_the_same_size(stored):
    """What names and sizes do not tell: the frames lie in another order."""
    home = stored.frames / CITYSCAPES_TREE / "val" / "yburg"
    contents = [path.read_bytes() for path in sorted(home.iterdir())]
    sizes = [len(content) for content in contents]
    one = next(index for index in range(len(sizes)) if sizes.count(sizes[index]) > 1)
    other = sizes.index(sizes[one], one + 1)
    paths = sorted(home.iterdir())
    paths[one].write_bytes(contents[other])
    paths[other].write_bytes(contents[one])


def other_latents(stored):
    with stored.open("train-00001.h5") as file:
        file["mean"][0, 1] = file["mean"][0, 0]
    stored.list_anew()


def other_kept_frames(stored):
    with stored.open("test-00000.h5") as file:
        file["frames"][0, 29, 0, 0, 0] ^= 1
    stored.list_anew()


def another_autoencoder(stored):
    stored.list_anew(autoencoder=manifest.read_manifest(stored.folder).autoencoder | {"sha256": "0" * 64})


def another_fingerprint(stored):
    path = stored.folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"fingerprint": "0"}))


def an_edited_recipe(stored):
    recipe = manifest.read_manifest(stored.folder).recipe
    stored.list_anew(recipe=recipe | {"data": recipe["data"] | {"resize": "area"}})


DAMAGE = {
    flipped_byte: ["train-00001.h5 has another SHA-256 than manifest.json states"],
    damaged_header: ["train-00001.h5 has another SHA-256", "train-00001.h5 cannot be read"],
    missing: ["val-00000.h5 is missing"],
    extra: ["train-00007.h5 is in the folder and not in manifest.json"],
    not_a_number: [
        "train-00000.h5 has mean that is not finite in clip xanten_000001_000000",
        "clip xanten_000001_000000 of train-00000.h5 holds other latents than its frames give",
    ],
    no_deviation: ["val-00000.h5 has std that is not positive in clip yburg_000000_000000"],
    wrong_count: ["train-00000.h5 has 2 clips, manifest.json states 3"],
    another_shape: [
        "test-00000.h5 has mean (1, 2, 29, 4, 4, 4) float16 where the run gives (1, 2, 30, 4, 4, 4) float16",
        "has std (1, 2, 29, 4, 4, 4)",
    ],
    another_type: ["test-00000.h5 has frames (1, 30, 32, 32, 3) int16 where the run gives (1, 30, 32, 32, 3) uint8"],
    no_frames: ["val-00000.h5 has no frames"],
    same_names: ["the clip id xanten_000000_000000 is in train-00000.h5 and again in train-00001.h5"],
    bad_ceiling: ["1 fault in", "val-00000.h5 has ceiling/ssim that is not finite in 30 frames"],
    ceiling_of_another_shape: ["val-00000.h5 has ceiling/ssim (1, 28) float32 where the run gives (1, 30) float32"],
    a_changed_frame: [
        "are not those that the latents were made from, by names and sizes",
        "clip zell_000000_000000 of test-00000.h5 holds other frames than its source gives",
        "clip zell_000000_000000 of test-00000.h5 holds other latents than its frames give",
    ],
    a_changed_frame_of_the_same_size: ["clip yburg_000000_000000 of val-00000.h5 holds other frames"],
    other_latents: ["clip xanten_000002_000000 of train-00001.h5 holds other latents than its frames give"],
    other_kept_frames: ["1 fault in", "clip zell_000000_000000 of test-00000.h5 holds other frames"],
    another_autoencoder: ["is not the one that the latents were made with, by sha256"],
    another_fingerprint: ["manifest.json states the fingerprint 0, and what it lists gives"],
    an_edited_recipe: ["does not go with its signature: data.resize is area there, lanczos here"],
}


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_damage_is_named(stored, damage, capsys):
    damage(stored)
    said = stored.faults()
    for words in DAMAGE[damage]:
        assert words in said
    assert said.endswith("; copy what is damaged again, or remove the latents and run encode")
    assert capsys.readouterr().out.count("fault: ") == int(said.split()[0])


def test_all_faults_are_told(stored, capsys):
    for damage in (other_kept_frames, extra, flipped_byte, missing):
        damage(stored)
    said = stored.faults()
    assert said.startswith(f"4 faults in {stored.folder}: ")
    for words in ("train-00007.h5 is in", "train-00001.h5 has another", "val-00000.h5 is missing", "other frames"):
        assert words in said
    assert capsys.readouterr().out.count("fault: ") == 4


def test_the_line_names_twenty_and_counts_the_rest(stored, capsys):
    for number in range(30):
        (stored.folder / f"val-{number + 10:05d}.h5").touch()
    said = stored.faults()
    assert said.startswith("30 faults in ")
    assert "val-00029.h5" in said
    assert "val-00030.h5" not in said
    assert "; and 10 more; " in said
    assert capsys.readouterr().out.count("fault: ") == 30


def test_what_is_not_here_is_not_checked_and_that_is_said(stored, tmp_path, capsys):
    shutil.rmtree(stored.frames)
    result = stored.verify()
    words = f"NOT checked: the latents against their frames (no frames at {stored.frames})"
    assert result.summary.endswith(words)
    assert words in capsys.readouterr().out
    stored.frames.mkdir()
    assert "NOT checked: the latents against their frames (no frames: the folder" in stored.verify().summary


def test_without_the_autoencoder_the_kept_frames_are_checked(bench, tree, tmp_path):
    source = save_autoencoder(tmp_path / "autoencoder", seed=3)
    made = bench(data={"root": str(tree)}, autoencoder={"source": str(source)})
    encode.run(made.config, made.partition)
    shutil.rmtree(source)
    said = verify.run(made.config, made.partition).summary
    assert "frames of sampled clips: 2 the source's, to the byte" in said
    assert "NOT checked: the moments against the autoencoder's (no autoencoder" in said
    assert "encoded again" not in said


def test_faults_in_the_frames_are_faults(stored):
    broken = sorted((stored.frames / CITYSCAPES_TREE / "val" / "yburg").iterdir())[3]
    broken.write_bytes(broken.read_bytes()[:50])
    assert broken.name in stored.faults()
    broken.unlink()
    assert "is not in the frames at" in stored.faults()


@pytest.mark.parametrize("moment", ["shards", "clips"])
def test_a_signal_ends_it_cleanly(stored, monkeypatch, moment):
    module, name = (verify_shards.files, "sha256") if moment == "shards" else (verify_clips, "encode_clip")
    original = getattr(module, name)

    def then_stop(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments)

    monkeypatch.setattr(module, name, then_stop)
    extra(stored)
    result = stored.verify()
    assert (result.complete, result.summary) == (False, "verify: stopped by SIGTERM with 1 fault so far")


def test_no_latents_and_other_tasks(bench, monkeypatch):
    made = bench()
    with pytest.raises(UserError, match="run the stage encode first"):
        verify.run(made.config, made.partition)
    monkeypatch.setattr(dist, "current_task", lambda: dist.Task(rank=1, world_size=2))
    assert verify.run(made.config, made.partition).summary == "verify: rank 0 checks alone"
