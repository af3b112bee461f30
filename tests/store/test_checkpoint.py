import json
import os
import pickle
import subprocess
import sys

import pytest
import torch

from vdt_hpc import files
from vdt_hpc.errors import UserError
from vdt_hpc.store import checkpoint


def provenance(clips_seen, signature="mine"):
    return checkpoint.Provenance(
        clips_seen=clips_seen, signature=signature, latents_fingerprint="latents", code_commit="abc", partition="local",
        world_size=1,
    )  # fmt: skip


def parts(clips_seen):
    value = torch.full((3, 2), float(clips_seen))
    return {"model": {"w": value}, "ema": {"w": value / 2}, "optimizer": {"w.step": torch.tensor(1.0)}}


def save(folder, clips_seen, signature="mine"):
    return checkpoint.save(folder, parts(clips_seen), provenance(clips_seen, signature))


@pytest.fixture
def folder(tmp_path):
    for clips_seen in (80, 160):
        save(tmp_path, clips_seen)
    return tmp_path


def newest(folder, **options):
    said = []
    found = checkpoint.newest(folder, "mine", say=said.append, **options)
    return found, said


def test_what_is_saved_comes_back(folder):
    found, said = newest(folder)
    assert found.name == "clips-000000160"
    assert found.provenance == provenance(160)
    assert not said
    for part, tensors in parts(160).items():
        loaded = found.load(part)
        assert loaded.keys() == tensors.keys()
        assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items())
    names = {path.name for path in found.path.iterdir()}
    assert names == {"model.safetensors", "ema.safetensors", "optimizer.safetensors", "checkpoint.json"}
    assert {path.name for path in folder.iterdir()} == {"clips-000000080", "clips-000000160"}


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def rewrite(path):
    path.write_text("{")


@pytest.mark.parametrize(
    ("file", "harm", "reason"),
    [
        ("ema.safetensors", flip, "SHA-256"),
        ("model.safetensors", cut, "bytes instead of"),
        ("optimizer.safetensors", os.unlink, "missing"),
        ("checkpoint.json", os.unlink, "no checkpoint.json"),
        ("checkpoint.json", rewrite, "damaged"),
    ],
)
def test_a_damaged_one_is_named_and_the_one_before_is_taken(folder, file, harm, reason):
    harm(folder / "clips-000000160" / file)
    found, said = newest(folder)
    assert found.clips_seen == 80
    (line,) = said
    assert "clips-000000160" in line
    assert reason in line
    assert "\n" not in line


@pytest.mark.parametrize(
    "change", [{"version": 99}, {"clips_seen": 81}, {"files": {}}, {"signature": None, "files": None}]
)
def test_a_json_that_does_not_fit_is_damage(folder, change):
    path = folder / "clips-000000160" / "checkpoint.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    found, said = newest(folder)
    assert found.clips_seen == 80
    assert len(said) == 1


def test_without_verification_bytes_are_not_read_but_sizes_are(folder):
    flip(folder / "clips-000000160" / "ema.safetensors")
    assert newest(folder, verify=False)[0].clips_seen == 160
    cut(folder / "clips-000000160" / "ema.safetensors")
    assert newest(folder, verify=False)[0].clips_seen == 80


def test_another_run_is_refused_by_name(folder):
    save(folder, 240, signature="theirs")
    with pytest.raises(UserError, match=r"clips-000000240.*theirs.*mine"):
        newest(folder)


def test_no_checkpoint(tmp_path):
    assert newest(tmp_path / "nowhere") == (None, [])
    with pytest.raises(UserError, match="run the stage train first"):
        checkpoint.load_ema(tmp_path, "mine")


def test_the_average_for_sampling(folder):
    found, weights = checkpoint.load_ema(folder, "mine")
    assert found.clips_seen == 160
    assert weights["w"].eq(80).all()


def test_retention_keeps_the_newest_whole_ones(folder):
    save(folder, 240)
    checkpoint.retain(folder, 2)
    assert [path.name for path in checkpoint.folders(folder)] == ["clips-000000240", "clips-000000160"]


def test_retention_never_removes_the_last_valid_one(folder):
    save(folder, 240)
    for clips_seen in (160, 240):
        (folder / checkpoint.folder_name(clips_seen) / "checkpoint.json").unlink()
    checkpoint.retain(folder, 1)
    assert newest(folder)[0].clips_seen == 80


def test_a_damaged_folder_of_the_same_name_is_replaced(folder):
    (folder / "clips-000000160" / "checkpoint.json").unlink()
    save(folder, 160)
    assert newest(folder) == (checkpoint.read(folder / "clips-000000160"), [])
    assert not list(folder.glob(".*"))


def test_a_failed_save_leaves_no_trace_and_says_why(folder, monkeypatch):
    def no_space(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "sha256", no_space)
    with pytest.raises(UserError, match="disk is full"):
        save(folder, 240)
    monkeypatch.undo()
    assert newest(folder)[0].clips_seen == 160
    assert not list(folder.glob(".*"))


def test_leftovers_of_a_killed_writer_are_no_checkpoints(folder):
    (folder / ".clips-000000240.host-1.tmp").mkdir()
    (folder / ".clips-000000160.replaced").mkdir()
    assert newest(folder)[0].clips_seen == 160
    checkpoint.remove_leftovers(folder)
    assert not list(folder.glob(".*"))


def test_a_pickle_in_disguise_is_not_run(folder, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "evil"),)

    path = folder / "clips-000000160"
    (path / "model.safetensors").write_bytes(pickle.dumps(Evil()))
    assert newest(folder)[0].clips_seen == 80
    mark = json.loads((path / "checkpoint.json").read_text())  # even with sizes and hashes that fit
    mark["files"]["model.safetensors"] = {
        "sha256": files.sha256(path / "model.safetensors"),
        "num_bytes": (path / "model.safetensors").stat().st_size,
    }
    (path / "checkpoint.json").write_text(json.dumps(mark))
    found, _ = newest(folder)
    with pytest.raises(Exception, match=r"(?i)header"):
        found.load("model")
    assert not (tmp_path / "evil").exists()


def test_looking_needs_no_torch(folder):
    code = (
        "import sys, pathlib; from vdt_hpc.store import checkpoint; "
        f"found = checkpoint.newest(pathlib.Path({str(folder)!r}), 'mine'); "
        "assert found.clips_seen == 160; assert not {'torch', 'numpy', 'h5py', 'safetensors'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
