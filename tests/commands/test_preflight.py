"""The look before the start: where, on which disk, whose run; with a stand-in for Slurm's commands."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.commands.looking import faults, look, look_here
from tests.jobs import made_up
from vdt_hpc.cluster import snapshot
from vdt_hpc.cluster.executor import submission_text
from vdt_hpc.cluster.submission import executor_for
from vdt_hpc.commands import preflight
from vdt_hpc.commands.checks import disk, inputs
from vdt_hpc.errors import UserError
from vdt_hpc.experiment import stages

HOME = Path(__file__).parents[2]


def test_a_run_that_may_start(slurm, new_run):
    run = new_run().write_latents()
    found = look(run, "train", on=("a100", "a40"))
    assert not faults(found)
    assert found["a100: queue"].message == (
        "a100 of mission takes jobs of 600 min of at most 1,440 min; the next would start now"
    )
    assert "6 clips = 1 or 2 on each of 5 task(s)" in found["a100: batch"].message
    assert "begins at clip 0 of 60" in found["run"].message
    assert found["latents"].message.startswith(f"{run.fingerprint()}, 13 clips in ")
    assert not run.paths.run.exists()


def test_what_slurm_is_asked_about_is_what_would_be_submitted(slurm, new_run):
    run = new_run()
    profile = run.profile("a40")
    preflight.check(["encode", "train"], run.config, [profile], run.paths)
    expected = submission_text(executor_for("train", profile, run.paths, "mission", snapshot.plan(run.paths)))
    assert slurm.asked("a40") == expected


def test_no_slurm_here(tmp_path, new_run, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    (finding,) = look(new_run(), "train").values()
    with pytest.raises(UserError, match=r"^sbatch is not on PATH; run this on a login node of the cluster, or use "):
        preflight.refuse([finding])


def test_a_controller_that_does_not_answer(slurm, new_run):
    (slurm.folder / "scontrol").write_text("#!/bin/bash\necho no controller >&2; exit 1\n")
    (slurm.folder / "sbatch").write_text("#!/bin/bash\necho 'sbatch: error: Unable to contact' >&2; exit 1\n")
    found = look(new_run().write_latents(), "train")
    assert faults(found) == {"cluster", "a100: queue"}
    assert found["a100: queue"].message.endswith("sbatch: error: Unable to contact")
    assert found["cluster"].message == "scontrol does not tell which cluster this is; try again"


def test_a_partition_that_is_not_here(slurm, new_run):
    slurm.has_not("a100")
    slurm.has("gpu-long", "7-00:00:00")
    slurm.has("open", "UNLIMITED")
    said = look(new_run(), "train")["a100: queue"]
    assert said.level == "fault"
    assert (
        "this cluster (mission) has no partition a100, which profile a100 names; it has a40 (at most 24 h), "
        in said.message
    )
    assert (
        "(at most 24 h), gpu-long (at most 7 d), open (no limit); set slurm_partition in the profile's file"
        in said.message
    )
    slurm.starts("gpu-long", 0)
    assert look(new_run(), "train", slurm_partition="gpu-long")["a100: queue"].level == "ok"


@pytest.mark.parametrize(
    ("max_time", "state", "fault"),
    [
        ("10:00:00", "UP", ""),
        ("UNLIMITED", "UP", ""),
        ("09:59:00", "UP", "timeout_min 600 of profile a100 is above the limit of the partition a100, 599 min"),
    ],
)
def test_limits_of_the_partition(slurm, new_run, max_time, state, fault):
    slurm.has("a100", max_time, state)
    said = look(new_run(), "train")["a100: queue"]
    assert said.level == ("fault" if fault else "ok")
    assert said.message.startswith(fault)


def test_a_refusal_in_slurms_own_words(slurm, new_run):
    slurm.refuses("a100", "Invalid account or account/partition combination specified")
    said = look(new_run().write_latents(), "train", on=("a100", "a40"))
    assert faults(said) == {"a100: queue"}
    assert said["a100: queue"].message == (
        "Slurm does not take a job of profile a100: Invalid account or account/partition combination specified"
    )


def test_a_job_that_waits_for_an_administrator(slurm, new_run):
    slurm.has("a100", state="DOWN")
    said = look(new_run(), "train")["a100: queue"]
    assert said.level == "warning"
    assert said.message == "the partition a100 is not up: Slurm takes the job, and it waits until it is"
    slurm.refuses("a40", "Requested node configuration is not available")
    slurm.takes_out_of_service(2)
    said = look(new_run(), "train", on=["a40"])["a40: queue"]
    assert said.level == "warning"
    assert said.message.startswith("2 node(s) of a40 are out of service, and Slurm says: Requested node configuration")
    slurm.refuses("a40", "Invalid account")
    assert look(new_run(), "train", on=["a40"])["a40: queue"].level == "fault"


def test_a_batch_that_cannot_be_spread(slurm, new_run):
    found = look(new_run(batch__global_clips=4).write_latents(), "train", on=("a100", "a40"))
    assert faults(found) == {"a100: queue", "a100: batch"}
    assert "batch.global_clips 4 is less than the 5 tasks" in found["a100: batch"].message
    assert "a100: batch" not in look(new_run(batch__global_clips=4), "encode")


@pytest.mark.parametrize(
    ("saves", "level", "said"),
    [
        ([("a100", 5, 60.0, 20.0)], "ok", "the slowest of the last 2 saves measured here takes 60.0 s"),
        ([("a100", 5, 100.0)], "warning", "set it to 200 or more"),
        ([("a100", 5, 190.0)], "fault", "is too short, each job would lose its last minutes"),
        ([("a100", 5, 190.0), ("a100", 5, *[10.0] * 20)], "ok", "the slowest of the last 20 saves"),
        ([("a40", 4, 190.0)], "warning", "measured on a40 takes 190.0 s"),
        ([("big", 20, 60.0)], "warning", "takes 240.0 s"),  # a fourth of the tasks write four times as much each
        ([("a40", 4, 500.0), ("a100", 5, 10.0)], "ok", "measured here takes 10.0 s"),
        ([], "ok", "no save was measured; "),
    ],
)
def test_a_margin_for_the_last_save(slurm, new_run, saves, level, said):
    run = new_run()
    for save in saves:
        run.log_saves(*save)
    finding = look(run, "train", save_margin_s=180)["a100: saving"]
    assert finding.level == level, finding
    assert said in finding.message


def test_a_margin_for_the_update_before_the_last_save(slurm, new_run):
    run = new_run()
    run.log_saves("a100", 5, 60.0)
    run.log_speed("a100", 5, 0.04)  # 6 clips take 150 s
    finding = look(run, "train", save_margin_s=180)["a100: saving"]
    assert finding.level == "fault"
    assert "an update 150.0 s" in finding.message


def test_an_assumed_save_of_a_large_model(slurm, new_run):
    run = new_run(model__width=1152, model__depth=28, model__num_heads=16)
    finding = look(run, "train", save_margin_s=60)["a100: saving"]
    assert finding.level == "warning"
    assert "13.8 GB at an assumed 200 MB/s take 68." in finding.message


@pytest.mark.parametrize("place", ["proc", "file", "run"])
def test_a_folder_that_cannot_be_written(tmp_path, new_run, place):
    run = new_run()
    run.root.mkdir()
    if place == "proc":
        run.root.rmdir()
        run.root.symlink_to("/proc/1")
    elif place == "file":
        run.root.rmdir()
        run.root.write_text("")
    else:
        run.paths.run.write_text("")
    found = look_here(run, "train")
    subject = "run's folder" if place == "run" else "root"
    assert subject in faults(found)
    assert f"cannot write {run.paths.run if place == 'run' else run.root}: " in found[subject].message
    assert "space" not in found


def test_looking_leaves_nothing_behind(new_run):
    run = new_run().write_latents()
    before = sorted(run.root.rglob("*"))
    look_here(run, "train", "sample")
    assert sorted(run.root.rglob("*")) == before


MOUNTS = """22 1 0:21 / / rw - ext4 /dev/sda1 rw
30 22 0:30 / /home rw,relatime shared:5 - nfs4 server:/home rw
31 30 0:31 / /home/ann/my\\040scratch rw - lustre server:/scratch rw
32 22 0:32 / /run rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/data", "ext4"), ("/home/ann", "nfs4"), ("/home/ann/my scratch/runs", "lustre"), ("/run", "tmpfs"),
        ("/running", "ext4"),
    ],
)  # fmt: skip
def test_the_file_system_of_a_folder(tmp_path, folder, kind):
    (tmp_path / "mountinfo").write_text(MOUNTS)
    assert disk.file_system(Path(folder), tmp_path / "mountinfo") == kind


def test_a_folder_that_other_nodes_do_not_see(slurm, new_run, monkeypatch):
    run = new_run()
    monkeypatch.setattr(disk, "OF_A_NODE", (run.root.parent,))
    assert look(run, "encode")["shared"].level == "warning"
    monkeypatch.setattr(disk, "OF_A_NODE", ())
    assert look(run, "encode")["shared"].level == "ok"
    monkeypatch.setattr(disk, "file_system", lambda folder: "tmpfs")
    said = look(run, "encode")["shared"]
    assert said.level == "warning"
    assert "is on tmpfs, the memory of this machine" in said.message
    assert "shared" not in look_here(run, "encode")


@pytest.mark.parametrize(
    ("free_mb", "there", "train", "level"),
    [
        (40.1, [], {}, "warning"),  # 3 kept and 1 being written, of 10 MB
        (60, [], {}, "ok"),
        (39.9, [], {}, "fault"),
        (21, [20, 40], {}, "warning"),
        (19, [20, 40], {}, "fault"),
        (60, [], {"train__keep_checkpoints": 6}, "fault"),
        (60, [], {"train__keep_every_clips": 20}, "fault"),  # of 60: 3 more
        (13, [10, 20, 30, 40, 50], {}, "ok"),  # more than are kept; one more is written before one goes
        (9, [10, 20, 30, 40, 50], {}, "fault"),
    ],
)
def test_space_for_the_checkpoints_to_come(new_run, monkeypatch, free_mb, there, train, level):
    run = new_run(**train)
    for clips in there:
        run.write_checkpoint(clips, size=10_000_000 // 3)
    monkeypatch.setattr(disk, "free_bytes", lambda folder: int(free_mb * 1e6))
    if not there:
        monkeypatch.setattr(disk, "checkpoint_bytes", lambda config: 10_000_000)
    finding = look_here(run, "train")["space"]
    assert finding.level == level, finding
    assert ("from the number of parameters" in finding.message) == (not there)


def test_a_model_that_no_disk_holds(new_run):
    found = look_here(new_run(model__width=2_000_000, model__depth=1000).write_latents(), "train")
    assert faults(found) == {"space"}
    assert "no space for the checkpoints" in found["space"].message


def test_a_run_of_the_same_name_with_other_settings(new_run):
    run = new_run(optim={"lr": 0.5})
    run.paths.run.mkdir(parents=True)
    run.paths.run_config.write_text(yaml.safe_dump(run.config.model_dump(mode="json")))
    other = new_run(optim={"lr": 0.25}).write_latents()
    found = look_here(other, "train")
    assert faults(found) == {"run"}
    assert "was started with other settings (optim.lr); choose another name=..." in found["run"].message
    assert not faults(look_here(run, "train"))


def ledger_line(event, **values):
    return json.dumps({"event": event, "job": "7-0", "time": "2026-01-01T00:00:00+00:00", **values}) + "\n"


def trained_on(run, cluster, partition="h100", clips=20):
    run.write_checkpoint(clips, latents_fingerprint=run.fingerprint())
    start = ledger_line("start", partition=partition, clips=0, world_size=8, cluster=cluster, node="n7")
    run.paths.ledger.write_text(start + ledger_line("end", why="the time limit", clips=clips, lost_clips=0))


def test_a_run_that_was_copied_from_another_cluster(slurm, new_run, tmp_path):
    run = new_run().write_latents()
    trained_on(run, "elsewhere")
    found = preflight.check(["train"], run.config, [run.profile("a100"), run.profile("a40")], run.paths)
    moved, frames = [each for each in found if each.subject == "lineage"]
    assert (moved.level, moved.message) == (
        "ok", "trained on the cluster elsewhere until clip 20 by profile h100, now a100 or a40; goes on on mission"
    )  # fmt: skip
    assert frames.level == "warning"
    assert "data/cityscapes is not here: training needs its latents alone" in frames.message
    assert not faults({each.subject: each for each in found})

    here = look_here(new_run(data__root=str(tmp_path)), "train")["lineage"]
    assert here.message.endswith("now here; goes on here, outside Slurm")
    shutil.rmtree(run.paths.checkpoints)
    assert any(
        "it has no valid checkpoint, were all of them copied?" in each.message
        for each in preflight.check(["train"], run.config, [run.profile("a100")], run.paths)
    )


def test_a_run_that_stays_where_it_was(slurm, new_run):
    run = new_run().write_latents()
    trained_on(run, "mission")
    assert "lineage" not in look(run, "train")
    assert "goes on at clip 20 of 60" in look(run, "train")["run"].message


def test_a_run_that_is_trained_needs_nothing(new_run):
    run = new_run()
    run.write_checkpoint(60)
    assert "latents" in faults(look_here(run, "train"))  # without the last line there may be something to do
    run.log(("end", {}))
    found = look_here(run, "train")
    assert not faults(found)
    assert found["run"].message == "tiny is trained: 60 clips"
    assert {"space", "latents"}.isdisjoint(found)


def test_findings_as_lines_and_as_one_line(new_run):
    findings = preflight.check(["train", "report"], new_run().config, [made_up.partition("/proc/1")], new_run().paths)
    lines = preflight.render(findings).splitlines()
    assert len({line.index(each.message) for line, each in zip(lines, findings, strict=False)}) == 1
    assert lines[-1] == "2 faults, 0 warnings"
    with pytest.raises(UserError, match=r"run the stage encode first \(and 1 more; --check lists all\)$"):
        preflight.refuse(findings)
    preflight.refuse([each for each in findings if each.level != "fault"])


def test_every_stage_has_its_needs():
    assert set(inputs.NEEDS) == {stage.name for stage in stages.STAGES}


def test_looking_is_quick_and_light(slurm, new_run):
    run = new_run().write_latents()
    run.log_speed("a100", 5, *[3.0] * 10_000)
    names = [stage.name for stage in stages.STAGES]
    code = (
        "import sys, time; from pathlib import Path; from vdt_hpc.commands import choice, preflight; "
        "from vdt_hpc.experiment.config import RunConfig; from vdt_hpc.experiment.paths import RunPaths; "
        "from vdt_hpc.experiment.partition import Partition; "
        f"config = RunConfig.model_validate_json({run.config.model_dump_json()!r}); "
        f"paths = RunPaths(config, Path({str(run.root)!r})); "
        f"profile = Partition.model_validate_json({run.profile('a100').model_dump_json()!r}); "
        f"before = time.monotonic(); preflight.check({names}, config, [profile], paths); "
        "choice.choose([profile], ['train'], config, paths); "
        "assert not {'torch', 'h5py', 'numpy', 'diffusers'} & set(sys.modules); "
        "assert time.monotonic() - before < 3"
    )
    subprocess.run([sys.executable, "-c", code], cwd=HOME, check=True)
