"""Runs that share latents and encode them at once: what is there stays, and nothing mixes."""

import errno
import json
import os

import numpy as np
import pytest
from made_frames import save_autoencoder

from preprocess import encode, publish
from preprocess import shards as shards_module
from vdt_hpc import files
from vdt_hpc.errors import UserError
from vdt_hpc.store.manifest import read_manifest


@pytest.fixture
def two_runs(bench, tree, tiny_autoencoder):
    """Two runs that differ in their names alone."""
    sections = {"data": {"root": str(tree)}, "autoencoder": {"source": str(tiny_autoencoder)}}
    first, second = bench(name="first", **sections), bench(name="second", **sections)
    assert first.paths.latents == second.paths.latents
    return first, second


def run(bench):
    return encode.run(bench.config, bench.partition)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def during(monkeypatch):
    """Has something done once, while the first clip from now on is encoded on other hardware: the last bits differ."""
    real = shards_module.encode_clip

    def arrange(happens):
        encoded = []

        def on_other_hardware(autoencoder, pixels, config):
            if not encoded:
                monkeypatch.setattr(shards_module, "encode_clip", real)
                happens()
                monkeypatch.setattr(shards_module, "encode_clip", on_other_hardware)
            encoded.append(len(pixels))
            mean, std = real(autoencoder, pixels, config)
            return np.nextafter(mean, np.float16(9)), std

        monkeypatch.setattr(shards_module, "encode_clip", on_other_hardware)
        return encoded

    return arrange


def test_the_slower_run_leaves_what_the_other_has_published(two_runs, during):
    first, second = two_runs
    published = {}

    def first_is_done():
        assert run(first).complete
        published.update(contents(first.paths.latents))

    encoded = during(first_is_done)
    result = run(second)
    assert contents(second.paths.latents) == published
    assert len(encoded) < 5  # clips that were about to be read when the others were there
    assert result.complete
    assert result.summary.startswith("encode: 5 clips; ceiling of val psnr_db ")


def test_two_that_look_at_the_shards_at_once_agree_on_one_manifest(two_runs, monkeypatch):
    first, second = two_runs
    describe, published = publish.latents.describe_shard, {}

    def other_is_faster(path, split):
        if not published:
            monkeypatch.setattr(publish.latents, "describe_shard", describe)
            assert run(first).complete
            manifest = json.loads((first.paths.latents / "manifest.json").read_text())
            (first.paths.latents / "manifest.json").write_text(json.dumps(manifest))  # told from another by its bytes
            published.update(contents(first.paths.latents))
        return describe(path, split)

    monkeypatch.setattr(publish.latents, "describe_shard", other_is_faster)
    assert run(second).complete
    assert contents(second.paths.latents) == published


def test_a_second_autoencoder_is_kept_out_though_both_start_at_once(two_runs, monkeypatch):
    first, _ = two_runs
    folder, flush = first.paths.latents, files.flush

    def other_is_faster(path):
        if path.name.startswith(".encoding.json"):
            (folder / "encoding.json").write_text(json.dumps({"autoencoder": "another"}))
        flush(path)

    monkeypatch.setattr(files, "flush", other_is_faster)
    with pytest.raises(UserError, match="unfinished latents of other frames or another autoencoder"):
        run(first)
    assert contents(folder) == {"encoding.json": b'{"autoencoder": "another"}'}


def test_a_folder_that_was_begun_anew_takes_no_shard_of_the_one_before(two_runs, during):
    first, _ = two_runs
    folder = first.paths.latents

    def begun_anew():
        made_from = json.loads((folder / "encoding.json").read_text())
        files.write_json(folder / "encoding.json", made_from | {"autoencoder": {"sha256": "another"}})

    during(begun_anew)
    with pytest.raises(UserError, match="unfinished latents of other frames or another autoencoder"):
        run(first)
    assert list(contents(folder)) == ["encoding.json"]


def test_latents_that_another_autoencoder_was_the_first_to_finish_are_refused(two_runs, during, tmp_path):
    source = save_autoencoder(tmp_path / "autoencoder", seed=1)
    first = two_runs[0]
    benches = [type(first)(first.config.model_copy(update={
        "name": name, "autoencoder": first.config.autoencoder.model_copy(update={"source": str(source)})
    }), first.partition) for name in ("one", "two")]  # fmt: skip
    published = {}

    def another_is_done():
        save_autoencoder(source, seed=2)
        (benches[0].paths.latents / "encoding.json").unlink()
        assert run(benches[0]).complete
        published.update(contents(benches[0].paths.latents))

    during(another_is_done)
    with pytest.raises(UserError, match="another autoencoder"):
        run(benches[1])
    assert contents(benches[1].paths.latents) == published


def test_without_hard_links_latents_are_encoded_all_the_same(two_runs, monkeypatch, during):
    def refuse(source, target):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    first, second = two_runs
    during(lambda: run(first))
    assert run(second).complete
    assert read_manifest(first.paths.latents).fingerprint
    assert all(path.suffix in (".h5", ".json") for path in first.paths.latents.iterdir())
