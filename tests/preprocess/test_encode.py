"""The stage `encode`: what the shards hold, nothing twice, whole after a kill, one line for every mistake."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
from made_frames import save_autoencoder, write_sequence

from preprocess import encode
from preprocess import shards as shards_module
from vdt_hpc import dist
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.paths import paths_for
from vdt_hpc.store.encoding import read_encoding
from vdt_hpc.store.latents import LatentSet


@pytest.fixture
def encoding(bench, tree, tiny_autoencoder):
    """Makes a Bench that encodes the small tree with the tiny autoencoder."""

    def make(**sections):
        sections["data"] = {"root": str(tree), **sections.get("data", {})}
        sections["autoencoder"] = {"source": str(tiny_autoencoder), **sections.get("autoencoder", {})}
        return bench(**sections)

    return make


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tree, tiny_autoencoder):
    """Finished latents of the small tree: (config, paths)."""
    from vdt_hpc.experiment.config import RunConfig
    from vdt_hpc.experiment.data_config import AutoencoderConfig, DataConfig
    from vdt_hpc.experiment.partition import Partition

    data = DataConfig(dataset="test", root=str(tree), frame_height_px=32)
    config = RunConfig(data=data, autoencoder=AutoencoderConfig(source=str(tiny_autoencoder), clips_per_shard=1))
    partition = Partition(name="local", executor="local", root=str(tmp_path_factory.mktemp("latents")))
    encode.run(config, partition)
    return config, paths_for(config, partition)


def shards(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.h5"))}


def run(bench):
    return encode.run(bench.config, bench.partition)


def folder_of(bench):
    return paths_for(bench.config, bench.partition).latents


def test_contents(finished, tree):
    latents = LatentSet.open(*finished)
    train, val, test = (latents.split(split) for split in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (3, 1, 1)
    assert [train.clip_id(index) for index in range(3)] == [f"xanten_{index:06d}_000000" for index in range(3)]
    mean, std = train.moments(2, flip=1)
    assert mean.shape == std.shape == (30, 4, 4, 4)
    assert mean.dtype == std.dtype == np.float16
    assert (std > 0).all()
    with h5py.File(finished[1].latents / "train-00000.h5") as file:
        assert "frames" not in file
        assert file["mean"].chunks == (1, 2, 30, 4, 4, 4)
    from preprocess.source.opening import open_index

    clip = open_index(*finished).split("test")[0]
    assert np.array_equal(test.frames(0), clip.prepared(finished[0].data))


def test_the_moments_are_the_autoencoders_and_flip_1_is_the_mirrored_film(finished):
    import torch
    from diffusers import AutoencoderKL

    config, paths = finished
    model = AutoencoderKL.from_pretrained(config.autoencoder.source).eval()
    test = LatentSet.open(config, paths).split("test")
    film = torch.from_numpy(test.frames(0)).permute(0, 3, 1, 2).float() / 127.5 - 1.0
    for flip, images in enumerate((film, film.flip(3))):
        with torch.inference_mode():
            posterior = model.encode(images).latent_dist
        mean, std = test.moments(0, flip)
        assert np.allclose(mean, posterior.mean.numpy(), atol=2e-3)
        assert np.allclose(std, posterior.std.numpy(), rtol=2e-3)
    assert not np.allclose(test.moments(0, 0)[0], test.moments(0, 1)[0], atol=1e-2)


def test_the_manifest(finished, tree):
    from preprocess.source.opening import source_fingerprint

    config, paths = finished
    manifest = json.loads((paths.latents / "manifest.json").read_text())
    assert manifest["source_fingerprint"] == source_fingerprint(config, paths)
    assert manifest["autoencoder"]["source"] == config.autoencoder.source
    assert manifest["autoencoder"]["scaling_factor"] == 0.5
    assert len(manifest["autoencoder"]["sha256"]) == 64
    assert (manifest["recipe"]["data"]["crop"], manifest["recipe"]["data"]["resize"]) == ("centre-square", "lanczos")
    assert manifest["recipe"]["streets"] is None
    assert [shard["num_clips"] for shard in manifest["shards"]] == [1] * 5


def test_one_flip_and_larger_shards(encoding):
    bench = encoding(autoencoder={"both_flips": False, "clips_per_shard": 2})
    run(bench)
    assert list(shards(folder_of(bench))) == ["test-00000.h5", "train-00000.h5", "train-00001.h5", "val-00000.h5"]
    latents = LatentSet.open(bench.config, paths_for(bench.config, bench.partition))
    assert latents.split("train").num_flips() == 1


def test_again_does_nothing_and_loads_nothing(finished, bench):
    config, paths = finished
    before = shards(paths.latents)
    code = (
        "import sys; from preprocess import encode; from vdt_hpc.experiment.config import RunConfig;"
        "from vdt_hpc.experiment.partition import Partition;"
        "result = encode.run(RunConfig.model_validate_json(sys.argv[1]),"
        "Partition(name='local', executor='local', root=sys.argv[2]));"
        "print(result.summary, sorted({'torch', 'diffusers', 'av'} & set(sys.modules)))"
    )
    words = [sys.executable, "-c", code, config.model_dump_json(), str(paths.root)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "nothing to do, 5 clips" in done.stdout
    assert done.stdout.rstrip().endswith("[]")
    assert shards(paths.latents) == before


def test_a_killed_encode_goes_on_at_the_next_shard(encoding, finished):
    bench = encoding()
    folder = folder_of(bench)
    process = bench.start("encode")
    deadline = time.monotonic() + 120
    while not shards(folder) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "manifest.json").exists()
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("*.h5")}
    assert 1 <= len(kept) < 5
    with pytest.raises(UserError, match="run the stage encode first"):
        LatentSet.open(bench.config, paths_for(bench.config, bench.partition))
    run(bench)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert shards(folder) == shards(finished[1].latents)


def test_a_stopped_encode_says_so_and_goes_on(encoding, monkeypatch, finished):
    bench = encoding()
    original = shards_module.encode_clip
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR2)}

    def then_stop(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments)

    monkeypatch.setattr(shards_module, "encode_clip", then_stop)
    try:
        result = run(bench)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert (result.complete, result.summary) == (False, "encode: stopped by SIGTERM")
    assert len(shards(folder_of(bench))) == 1
    monkeypatch.undo()
    assert run(bench).complete
    assert shards(folder_of(bench)) == shards(finished[1].latents)


def test_tasks_share_the_shards(encoding, monkeypatch, finished):
    bench = encoding()
    for rank in (1, 0):
        monkeypatch.setattr(dist, "current_task", lambda rank=rank: dist.Task(rank=rank, world_size=2))
        run(bench)
        assert (folder_of(bench) / "manifest.json").exists() == (rank == 0)
        if rank == 1:
            assert list(shards(folder_of(bench))) == ["train-00001.h5", "val-00000.h5"]
            seen = read_encoding(bench.paths)
            assert (seen.num_shards, seen.num_frames, len(seen.finished_s)) == (5, 5 * 30, 2)
            assert seen.begun_s <= seen.finished_s[0]
    assert read_encoding(bench.paths) is None
    assert shards(folder_of(bench)) == shards(finished[1].latents)


def copied(tree, tmp_path):
    shutil.copytree(tree, tmp_path / "frames")
    return tmp_path / "frames"


def test_other_frames_are_refused(encoding, tree, tmp_path):
    frames = copied(tree, tmp_path)
    bench = encoding(data={"root": str(frames)})
    run(bench)
    write_sequence(frames, "train", "xanten", 9, range(30))
    with pytest.raises(UserError, match=r"the frames in .* are not those .* remove .* to encode again"):
        run(bench)
    (folder_of(bench) / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"unfinished latents of other frames"):
        run(bench)
    shutil.rmtree(frames)
    with pytest.raises(UserError, match="no frames"):
        run(bench)


def test_latents_of_another_recipe_are_refused_by_what_differs(encoding):
    bench, other = encoding(), encoding(data={"resize": "area"})
    run(bench)
    folder_of(bench).rename(folder_of(other))
    with pytest.raises(UserError, match=r"another recipe: data.resize is lanczos there, area here; remove them"):
        run(other)


def test_latents_outlive_their_frames(encoding, tree, tmp_path):
    frames = copied(tree, tmp_path)
    bench = encoding(data={"root": str(frames)})
    run(bench)
    shutil.rmtree(frames)
    assert "nothing to do" in run(bench).summary


def test_another_autoencoder_under_the_same_name_is_refused(encoding, tmp_path):
    source = save_autoencoder(tmp_path / "autoencoder", seed=1)
    bench = encoding(autoencoder={"source": str(source)})
    run(bench)
    save_autoencoder(source, seed=2)
    with pytest.raises(UserError, match=r"the autoencoder .* is not the one"):
        run(bench)


def test_a_full_disk_is_one_line_and_leaves_no_shard(encoding, monkeypatch):
    bench = encoding()

    class FullDisk(h5py.File):
        def create_dataset(self, *arguments, **options):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(h5py, "File", FullDisk)
    with pytest.raises(UserError, match=r"the disk is full: cannot write .*/train-00000\.h5; free some space"):
        run(bench)
    monkeypatch.undo()
    assert [path.name for path in folder_of(bench).iterdir()] == ["encoding.json"]
    assert run(bench).complete


def test_a_broken_frame_ends_in_one_line(encoding, tree, tmp_path):
    frames = copied(tree, tmp_path)
    broken = sorted(frames.rglob("*.png"))[50]
    broken.write_bytes(broken.read_bytes()[:50])
    bench = encoding(data={"root": str(frames)})
    with pytest.raises(UserError, match=broken.name):
        run(bench)


def test_what_is_left_out_is_told(encoding, tree, tmp_path, capsys):
    frames = copied(tree, tmp_path)
    (frames / "leftImg8bit_sequence" / "readme.txt").write_text("x")
    bench = encoding(data={"root": str(frames)})
    run(bench)
    assert "left out: files under leftImg8bit_sequence that are no PNG: 1" in capsys.readouterr().out
    manifest = json.loads((folder_of(bench) / "manifest.json").read_text())
    assert manifest["left_out"] == ["files under leftImg8bit_sequence that are no PNG: 1"]
