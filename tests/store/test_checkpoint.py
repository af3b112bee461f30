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
from vdt_hpc.store import checkpoint_writing as writing


def provenance(clips_seen, signature="mine"):
    return checkpoint.Provenance(
        clips_seen=clips_seen, signature=signature, latents_fingerprint="latents", code_commit="abc", partition="local",
        world_size=1,
    )  # fmt: skip


def parts(clips_seen):
    value = torch.full((3, 2), float(clips_seen))
    return {"model": {"w": value}, "ema": {"w": value / 2}, "optimizer": {"w.step": torch.tensor(1.0)}}


def save(folder, clips_seen, signature="mine", check=lambda: None):
    staging = writing.stage(folder, clips_seen, "me")
    marks = writing.write_share(staging, parts(clips_seen))
    return writing.publish(staging, provenance(clips_seen, signature), marks, check)


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


def test_the_average_for_sampling(folder):
    found = checkpoint.newest(folder, "mine")
    assert found.clips_seen == 160
    assert found.load("ema")["w"].eq(80).all()


def test_retention_keeps_the_newest_whole_ones(folder):
    save(folder, 240)
    writing.retain(folder, 2)
    assert [path.name for path in checkpoint.folders(folder)] == ["clips-000000240", "clips-000000160"]


def test_retention_keeps_the_first_after_each_multiple_for_ever(folder):
    for clips_seen in range(240, 1000, 80):
        save(folder, clips_seen)
        writing.retain(folder, 1, 300)
    assert [path.name for path in checkpoint.folders(folder)] == [
        f"clips-000000{clips}" for clips in ("960", "640", "320")
    ]


def test_retention_never_removes_the_last_valid_one(folder):
    save(folder, 240)
    for clips_seen in (160, 240):
        (folder / checkpoint.folder_name(clips_seen) / "checkpoint.json").unlink()
    writing.retain(folder, 1)
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
    writing.remove(folder / ".clips-000000240.me.tmp")
    assert not list(folder.glob(".*"))


def test_pieces_of_several_ranks_make_one_checkpoint(folder):
    staging = writing.stage(folder, 240, "me")
    whole = {part: {f"w{number}": torch.full((2,), float(number)) for number in range(3)} for part in checkpoint.PARTS}
    marks = {}
    for rank in range(3):
        share = {part: {f"w{rank}": tensors[f"w{rank}"]} for part, tensors in whole.items()}
        marks |= writing.write_share(staging, share, rank, 3)
    found = writing.publish(staging, provenance(240), marks, lambda: None)
    assert {path.name for path in found.path.glob("ema*")} == {f"ema-0000{n}-of-00003.safetensors" for n in (1, 2, 3)}
    found.verify()
    assert all(torch.equal(found.load("ema")[name], tensor) for name, tensor in whole["ema"].items())
    (found.path / "ema-00002-of-00003.safetensors").unlink()
    assert newest(folder)[0].clips_seen == 160


def test_a_json_that_leaves_a_piece_out_is_damage(folder):
    staging = writing.stage(folder, 240, "me")
    marks = writing.write_share(staging, parts(240), 0, 2)  # the second rank's piece is missing
    with pytest.raises(checkpoint.Damaged, match="does not name the files"):
        writing.publish(staging, provenance(240), marks, lambda: None)


def test_numbers_that_are_not_finite_are_never_saved(folder):
    share = parts(240)
    share["optimizer"]["w.exp_avg"] = torch.tensor([0.0, float("inf")])
    with pytest.raises(writing.NotFinite, match=r"w\.exp_avg"):
        writing.write_share(writing.stage(folder, 240, "me"), share)


def test_a_writer_whose_run_went_to_another_publishes_nothing(folder):
    def taken_over_meanwhile():
        writing.fence(folder)

    with pytest.raises(FileNotFoundError):  # woken up between the last look at the lease and the rename
        save(folder, 240, check=taken_over_meanwhile)
    staging = writing.stage(folder, 320, "me")
    writing.fence(folder)
    with pytest.raises(FileNotFoundError):  # or while it writes
        writing.write_share(staging, parts(320))
    with pytest.raises(FileNotFoundError):
        writing.publish(staging, provenance(320), {}, lambda: None)
    assert [path.name for path in folder.iterdir()] and not list(folder.glob(".*"))
    assert newest(folder)[0].clips_seen == 160


def test_a_writer_that_wakes_up_leaves_the_checkpoint_of_its_successor(folder):
    def taken_over_meanwhile():
        writing.fence(folder)
        save(folder, 240)

    with pytest.raises(FileNotFoundError):
        save(folder, 240, check=taken_over_meanwhile)
    assert newest(folder)[0].clips_seen == 240
    assert not list(folder.glob(".*"))


def test_files_can_be_read_by_those_who_can_read_the_folder(folder):
    path = newest(folder)[0].path
    assert (path / "ema.safetensors").stat().st_mode & 0o666 == path.stat().st_mode & 0o666


def test_leftovers_of_a_killed_writer_are_no_checkpoints(folder):
    (folder / ".clips-000000240.host-1.tmp").mkdir()
    (folder / ".clips-000000160.replaced").mkdir()
    assert newest(folder)[0].clips_seen == 160
    writing.fence(folder)
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
    found, said = newest(folder)
    assert found.clips_seen == 80
    assert said == [f"skipping the damaged checkpoint {path}: model.safetensors is no safetensors file"]
    assert not (tmp_path / "evil").exists()


def with_header(header, num_data=24):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(num_data)


def tensor(start, end):
    return {"dtype": "F32", "shape": [3, 2], "data_offsets": [start, end]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1234567",
        (2**63).to_bytes(8, "little") + b"{}",
        with_header(b"{"),
        with_header(b"\xff{}"),
        with_header([1]),
        with_header({"w": 1}),
        with_header({"w": {"dtype": "F32"}}),
        with_header({"w": tensor(0, 28)}),
        with_header({"w": tensor(0, 20)}),
        with_header({"w": tensor(-4, 24)}),
        with_header({"w": tensor(0, 12), "v": tensor(0, 24)}),
        with_header({"w": {"data_offsets": ["a", None]}}),
        with_header(b"[" * 100_000),
    ],
)
def test_a_file_without_a_header_of_its_kind_is_damage_even_with_a_hash_that_fits(folder, content):
    found = newest(folder)[0]
    file = found.path / "ema.safetensors"
    file.write_bytes(content)
    mark = json.loads((found.path / "checkpoint.json").read_text())
    mark["files"][file.name] = {"sha256": files.sha256(file), "num_bytes": len(content)}
    (found.path / "checkpoint.json").write_text(json.dumps(mark))
    assert newest(folder)[0].clips_seen == 80


def test_a_byte_that_differs_in_the_json_never_changes_what_is_loaded(folder):
    path = folder / "clips-000000160" / "checkpoint.json"
    content = path.read_bytes()
    chosen = set()
    for place in range(len(content)):
        harmed = bytearray(content)
        harmed[place] ^= 1
        path.write_bytes(harmed)
        try:
            found, said = newest(folder)
        except UserError as error:
            assert "belongs to another run" in str(error)
            continue
        assert found.clips_seen == (80 if said else 160)
        assert found.load("ema")["w"].eq(found.clips_seen / 2).all()
        chosen.add(found.clips_seen)
    assert chosen == {80, 160}  # what a name or a commit says is not what is computed


def test_looking_needs_no_torch(folder):
    code = (
        "import sys, pathlib; from vdt_hpc.store import checkpoint; "
        f"found = checkpoint.newest(pathlib.Path({str(folder)!r}), 'mine'); "
        "assert found.clips_seen == 160; assert not {'torch', 'numpy', 'h5py', 'safetensors'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
