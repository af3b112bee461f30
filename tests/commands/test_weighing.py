"""`--partition auto`: waiting against speed, and why; with a stand-in for Slurm's commands."""

import re

import pytest
import yaml

from vdt_hpc.commands import choice
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.size import training_flops

HOUR_S = 3600


def choose(run, *profiles, stages=("train",)):
    profiles = profiles or (run.profile("a100"), run.profile("a40"))
    return choice.choose(profiles, stages, run.config, run.paths)


def row(chosen, name):
    """Cells of a profile's line in the table."""
    (line,) = [line for line in chosen.explanation.splitlines() if line.split()[:1] == [name]]
    return re.split(r"\s{2,}", line.strip())


def sentence(chosen):
    return chosen.explanation.splitlines()[-1]


@pytest.mark.parametrize(
    ("word", "names"),
    [("auto", ["a100", "a40", "local"]), ("auto:a40,my/own.yaml", ["a40", "my/own.yaml"]), ("auto:a100", ["a100"])],
)
def test_the_candidates(word, names):
    assert choice.is_auto(word)
    assert choice.candidate_names(word) == names


@pytest.mark.parametrize("word", ["auto:", "auto:a100,", "auto:a40,a40"])
def test_candidates_that_cannot_be_read(word):
    with pytest.raises(UserError, match=r"write auto:NAME,FILE.yaml,... with each profile once"):
        choice.candidate_names(word)


def test_a_profile_may_be_named_as_the_word():
    assert not choice.is_auto("automatic")


def test_both_idle_the_faster_by_peak(slurm, new_run):
    run = new_run(train__total_clips=10**9)
    chosen = choose(run)
    assert chosen.partition.name == "a100"
    expected = 0.3 * 5 * 312e12 / training_flops(run.config)
    assert row(chosen, "a100")[:4] == ["a100", "now", f"{expected:.3g}", "assumed, 30% of peak"]
    assert sentence(chosen).startswith("chosen: a100, which ends ")


def slow(new_run, hours, **changes):
    """A run whose training takes that many hours on the five A100, 2.6 times as many on the four A40."""
    run = new_run(**{"train__total_clips": 36_000 * hours, **changes})
    run.log_speed("a100", 5, 10.0)
    run.log_speed("a40", 4, 10.0 * 4 * 149.7 / (5 * 312))
    return run


@pytest.mark.parametrize(
    ("hours", "wait_h", "name", "said"),
    [
        (5, 0, "a100", "a100, which ends first: in 5 h, a40 in 13 h"),
        (5, 4, "a100", "a100, which ends first: in 9 h, a40 in 13 h"),
        (5, 12, "a40", "a40, which ends first: in 13 h, a100 in 17 h; that one is faster, but starts in 12 h"),
        (30, 20, "a40", "a40, which ends first: in 3.26 d, a100 in 4.58 d; that one is faster"),  # 4 jobs, 4 waits
    ],
)
def test_waiting_against_speed(slurm, new_run, hours, wait_h, name, said):
    slurm.starts("a100", wait_h * HOUR_S + 1)
    chosen = choose(slow(new_run, hours))
    assert chosen.partition.name == name
    assert sentence(chosen).startswith(f"chosen: {said}")
    told = "each of them is counted as waiting as long as the first" in chosen.explanation
    assert told == (hours > 10 and wait_h > 0)


def test_the_one_that_starts_first_is_not_always_the_one(slurm, new_run):
    slurm.starts("a100", HOUR_S)
    chosen = choose(slow(new_run, 5))
    assert sentence(chosen).endswith("a40 in 13 h; that one starts now, but is slower")


def test_a_time_limit_cuts_the_work_into_jobs(slurm, new_run):
    run = slow(new_run, 30)
    slurm.starts("a100", 2 * HOUR_S)
    slurm.has("a100", "UNLIMITED")
    long, short = run.profile("a100", timeout_min=6000), run.profile("a100", slurm_partition="a100", timeout_min=300)
    (option,) = choose(run, long).options
    assert (option.num_jobs, option.end_s) == (1, pytest.approx(32 * HOUR_S, abs=5))
    (option,) = choose(run, short).options
    assert (option.num_jobs, option.end_s) == (7, pytest.approx(44 * HOUR_S, abs=35))


def test_measured_on_the_profile(slurm, new_run):
    run = new_run(train__total_clips=36_000)
    run.log_speed("a40", 4, *[1.0] * 60, *[9.0] * 40, *[10.0] * 51)  # what was measured last counts
    run.log_speed("a40", 2, 50.0)  # on fewer GPUs
    chosen = choose(run, run.profile("a40"))
    assert row(chosen, "a40") == ["a40", "now", "10", "measured", "1", "in 60 min"]
    assert sentence(chosen) == "chosen: a40, the only one that is possible"


def test_what_is_left_of_a_run_counts(slurm, new_run):
    run = new_run(train__total_clips=72_000)
    run.log_speed("a40", 4, 10.0)
    run.write_checkpoint(36_000)
    assert row(choose(run), "a40")[-1] == "in 60 min"


def test_scaled_by_the_share_of_the_peak(slurm, new_run):
    run = new_run(train__total_clips=10**9)
    run.log_speed("a100", 5, 99.0, mfu=0.5)
    run.log_speed("a40", 2, *[10.0] * 3, mfu=0.2)
    speed = {option.partition.name: option.speed for option in choose(run).options}
    assert (speed["a100"].clips_per_s, speed["a100"].how) == (99.0, "measured")
    assert speed["a40"].clips_per_s == pytest.approx(0.2 * 4 * 149.7e12 / training_flops(run.config))
    assert speed["a40"].how == "scaled from a40"


def keep_config(run):
    run.paths.run.mkdir(parents=True, exist_ok=True)
    run.paths.run_config.write_text(yaml.safe_dump(run.config.model_dump(mode="json")))


def test_measured_by_other_runs_of_the_same_shape(slurm, new_run):
    alike, wide = new_run(name="alike", optim__lr=0.5), new_run(name="wide", model__width=32)
    for run, speed in ((alike, 10.0), (wide, 99.0)):
        keep_config(run)
        run.log_speed("a40", 4, speed, mfu=0.1)
    (alike.root / "broken").mkdir()
    (alike.root / "broken" / "config.yaml").write_text("[")
    (alike.root / "broken" / "progress.jsonl").write_text("{}\n")
    run = new_run(train__total_clips=10**9)
    chosen = choose(run)
    assert row(chosen, "a40")[2:4] == ["10", "measured by alike"]
    assert row(chosen, "a100")[3] == "scaled from a40"
    run.log_speed("a40", 4, 20.0)
    assert row(choose(run), "a40")[2:4] == ["20", "measured"]


def test_an_unknown_speed_leaves_the_start_alone(slurm, new_run):
    run = slow(new_run, 1)
    slurm.has("odd")
    slurm.starts("odd", 60 * HOUR_S)
    slurm.starts("a100", 50 * HOUR_S)
    slurm.starts("a40", 40 * HOUR_S)
    chosen = choose(run, run.profile("a100"), run.profile("a40"), run.profile("odd"))
    assert chosen.partition.name == "a40"
    assert row(chosen, "odd")[3] == "unknown"
    assert "which starts first: in 40 h, a100 in 2.08 d (the speed on odd is unknown, so that only" in sentence(chosen)


def test_other_stages_run_where_they_start_first(slurm, new_run):
    run = new_run()
    chosen = choose(run, stages=("encode",))
    assert sentence(chosen) == "chosen: a100, which starts together with a40 and has the larger peak"
    slurm.starts("a100", HOUR_S)
    chosen = choose(run, stages=("encode",))
    assert sentence(chosen) == "chosen: a40, which starts first: now, a100 in 60 min"
    assert row(chosen, "profile") == ["profile", "starts", "why"]
    slurm.starts("a40", None)
    chosen = choose(run, stages=("encode",))
    assert sentence(chosen) == "chosen: a100, which starts first: in 60 min, a40 at an unknown time"
    slurm.starts("a100", None)
    assert "which starts together with a40" in sentence(choose(run, stages=("encode",)))


def test_half_a_minute_is_no_difference(slurm, new_run):
    run = new_run()
    slurm.starts("a100", 30)
    chosen = choose(run, run.profile("a40"), run.profile("a100"), stages=("encode",))
    assert sentence(chosen) == "chosen: a100, which starts together with a40 and has the larger peak"
    slurm.starts("a100", 90)
    assert choose(run, run.profile("a40"), run.profile("a100"), stages=("encode",)).partition.name == "a40"


def test_nodes_that_are_out_of_service(slurm, new_run):
    run = slow(new_run, 5)
    slurm.refuses("a100", "Requested node configuration is not available")
    assert [bool(each.why_not) for each in choose(run).options] == [True, False]
    slurm.takes_out_of_service(2)
    chosen = choose(run)
    assert sentence(chosen) == "chosen: a40, which ends first: in 13 h, a100 at an unknown time"
    assert "2 node(s) of a100 are out of service" in row(chosen, "a100")[-1]
    slurm.refuses("a40", "Requested node configuration is not available")
    assert sentence(choose(run)) == "chosen: a100, which starts together with a40 and has the larger peak"


def test_a_trained_run_goes_where_it_starts_first(slurm, new_run):
    run = new_run()
    run.write_checkpoint(60)
    slurm.starts("a100", 2 * HOUR_S)
    assert sentence(choose(run)) == "chosen: a40, which starts first: now, a100 in 2 h"


def refused_profiles(slurm, run):
    slurm.refuses("a40", "Invalid qos specification")
    return [
        run.profile("a40"),
        run.profile("a100", timeout_min=1441),
        run.profile("gone"),
        run.profile("a100", gpus_per_node=8),
    ]


def test_profiles_that_are_refused_are_listed_with_the_reason(slurm, new_run):
    run = new_run()
    profiles = [*refused_profiles(slurm, run), Partition(name="here", executor="local")]
    good = run.profile("good", slurm_partition="a100")
    chosen = choose(run, *profiles, good)
    assert chosen.partition == good
    assert sentence(chosen) == "chosen: good, the only one that is possible"
    whys = [option.why_not for option in chosen.options]
    assert len(whys) == 5
    for why, words in zip(
        whys, ("Invalid qos", "above the limit", "has no partition gone", "less than the 8", ""), strict=True
    ):
        assert words in why
        assert bool(why) == bool(words)
        assert why in chosen.explanation


def test_none_is_possible(slurm, new_run):
    run = new_run()
    with pytest.raises(UserError) as refusal:
        choose(run, *refused_profiles(slurm, run))
    said = str(refusal.value)
    assert said.startswith("no profile is possible: a40: Slurm does not take")
    assert said.count("; ") >= 3
    assert "gone: this cluster (mission) has no partition gone" in said
    assert "\n" not in said


def test_no_slurm_and_no_slurm_profiles(tmp_path, new_run, monkeypatch):
    run = new_run()
    with pytest.raises(UserError, match="chooses among Slurm profiles, and there is none"):
        choose(run, Partition(name="here", executor="local"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="sbatch is not on PATH"):
        choose(run)
