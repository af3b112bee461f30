"""The launcher as people meet it: mistakes in one line, stops that save, crashes that name their log."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HOME = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("words", "options", "said"),
    [
        (["trian"], {}, "unknown stage 'trian'; the stages are streets, autoencoder, index, encode, verify, train"),
        (["train"], {"partition": "a1000"}, "unknown partition 'a1000'; known: a100, a40, local"),
        (["train"], {"run": "citysapes"}, "unknown run 'citysapes'; known: cityscapes"),
        (["train", "optim.lrr=1"], {}, "unknown field optim.lrr; did you mean lr?"),
        (["train", "--paralel"], {}, "unrecognized arguments: --paralel; see --help"),
        (["train"], {"run": "/nowhere/run.yaml"}, "cannot read /nowhere/run.yaml: No such file"),
        (
            ["index", "data.dataset=../../elsewhere"],
            {},
            "override 'data.dataset=../../elsewhere': data.dataset is '../../",
        ),
    ],
)
def test_mistakes_on_the_command_line(command_line, words, options, said):
    assert said in command_line.refused(*words, **options)
    assert not command_line.root.exists()


@pytest.mark.parametrize(
    ("words", "run", "said"),
    [
        (["encode", "data.root=/nowhere"], "film", "/nowhere"),
        (["encode", "data.root=/nowhere"], "cityscapes", "/nowhere"),
        (["encode"], "smoke", "run the stage streets"),
        (["train"], "smoke", "run the stage encode first"),
        (["sample"], "smoke", "run the stage"),
        (["evaluate"], "smoke", "run the stage"),
        (["report"], "smoke", "run the stage evaluate first"),
    ],
)
def test_what_a_stage_needs_is_missing(command_line, words, run, said):
    assert said in command_line.refused(*words, run=run)


def test_a_missing_autoencoder(command_line):
    words = ["streets", "encode", "autoencoder.source=no/such/autoencoder"]
    said = command_line.refused(*words, env={"HF_HUB_OFFLINE": "1"})
    assert "no/such/autoencoder" in said


def test_a_missing_checkpoint(encoded):
    said = encoded.refused("sample")
    assert "no valid checkpoint in" in said
    assert "run the stage train first" in said


def test_no_partition_is_a_mistake():
    done = subprocess.run([sys.executable, "-m", "vdt_hpc.launch"], cwd=HOME, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        2,
        "error: the following arguments are required: --partition; see --help\n",
    )


def test_the_root_cannot_be_written(command_line):
    command_line.root.write_text("a file where a folder should be")
    assert str(command_line.root) in command_line.refused("streets")


@pytest.fixture
def small_disk(tmp_path, command_line):
    command_line.root.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", command_line.root], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield command_line.root
    subprocess.run(["umount", command_line.root], check=True)


def test_a_full_disk_is_one_line_and_nothing_half_written_counts(command_line, small_disk):
    assert "the disk is full" in command_line.refused("streets", "streets.num_train_clips=100")
    assert not list(small_disk.rglob("streets-complete.json"))


LONG = ["train", "train.total_clips=600000", "train.checkpoint_every_clips=600000", "train.log_every_clips=6"]


def wait_for(condition, seconds=150):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_stop_saves_and_the_same_command_goes_on(encoded, number):
    words = ["launch", *LONG, "--partition", "local", "--run", "smoke"]
    process = encoded.start(*words)
    log = encoded.root / "smoke" / "progress.jsonl"
    wait_for(lambda: log.exists() and log.read_text().count('"loss"') >= 3)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # the whole group, as from a terminal's Ctrl-C
    else:
        process.send_signal(number)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 3, output + errors
    assert errors.splitlines()[-1].endswith("run the same command again to go on")
    assert "Traceback" not in output + errors
    (checkpoint,) = (encoded.root / "smoke" / "checkpoints").iterdir()
    clips_seen = json.loads((checkpoint / "checkpoint.json").read_text())["clips_seen"]
    assert clips_seen > 0
    process = encoded.start(*words)
    wait_for(lambda: json.loads(log.read_text().splitlines()[-1]).get("clips_seen", 0) > clips_seen + 12)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    seen = [line["clips_seen"] for line in map(json.loads, log.read_text().splitlines()) if "loss" in line]
    assert seen == sorted(set(seen))


def test_a_stop_before_the_stage_has_begun_is_no_crash(encoded):
    process = encoded.start("launch", *LONG, "--partition", "local", "--run", "smoke")
    jobs = encoded.root / "smoke" / "jobs"
    wait_for(lambda: list(jobs.glob("*/*_log.out")))  # the task's interpreter has started, its imports have not ended
    process.send_signal(signal.SIGUSR2)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 3
    assert errors.splitlines()[-1].endswith("run the same command again to go on")
    assert "Traceback" not in errors


def test_a_crash_is_one_line_that_names_the_log(encoded):
    words = ["launch", *LONG, "--partition", "local", "--run", "smoke"]
    process = encoded.start(*words)
    log = encoded.root / "smoke" / "progress.jsonl"
    wait_for(lambda: log.exists() and '"loss"' in log.read_text())
    (controller,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for child in Path(f"/proc/{controller}/task/{controller}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert errors.startswith("error: stage train crashed on task 0: it ended without a result")
    assert ".err" in errors


def controller_of(process):
    """The process that starts the tasks: the only one of the launcher's offspring that runs submitit's module."""
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    program, *_ = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
    if b"python" in program:
        return child
    return Path(f"/proc/{child}/task/{child}/children").read_text().split()[0]


def test_a_task_that_is_killed_while_it_starts_does_not_leave_the_other_waiting(encoded, tmp_path):
    partition = tmp_path / "two.yaml"
    partition.write_text("name: two\nexecutor: local\ntasks_per_node: 2\nmax_clips_per_gpu: 2\nsetup: ['true']\n")
    process = encoded.start("launch", *LONG, "--partition", partition, "--run", "smoke")
    jobs = encoded.root / "smoke" / "jobs"
    wait_for(lambda: len(list(jobs.glob("*/*_log.out"))) == 2)
    controller = controller_of(process)
    wait_for(lambda: len(Path(f"/proc/{controller}/task/{controller}/children").read_text().split()) == 2)
    rank1 = Path(f"/proc/{controller}/task/{controller}/children").read_text().split()[1]
    os.kill(int(rank1), signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert errors.startswith("error: stage train crashed on task ")


def test_output_that_nobody_reads_to_the_end_is_no_traceback(command_line):
    words = command_line.arguments("launch", "--partition", "a100", "--dry-run")
    done = subprocess.run(["bash", "-c", f"{' '.join(words)} | head -n 1"], cwd=HOME, capture_output=True, text=True)
    assert done.stdout.startswith("run ")
    assert done.stderr == ""
