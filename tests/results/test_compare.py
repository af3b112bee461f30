"""Runs side by side: who stands in a table with whom, the page in a browser, and many runs."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

from results import current
from vdt_hpc import report as front_door
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.stages import COMPARED, load
from vdt_hpc.store.records import read_records

HOME = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium")


def also(run, name, add=0.0, **changes):
    """A second run beside the first, whose numbers are higher by `add`."""
    folder = run.root / name
    folder.mkdir()
    shutil.copy(run.paths.run_config, folder / "config.yaml")
    records = [replace(record, run=name, **changes) for record in read_records(run.paths.records)]
    records = [record if record.value is None else replace(record, value=record.value + add) for record in records]
    return write(folder, records)


def write(folder, records):
    (folder / "records.jsonl").write_text("".join(json.dumps(asdict(record)) + "\n" for record in records))
    return folder


@pytest.fixture
def measured(made_up):
    made_up.write_samples(made_up.samples[:, :1])
    made_up.evaluate(metrics=("psnr", "ssim"))
    return made_up


def in_browser(file, pattern, option):
    """What a page has written into itself in headless Chromium."""
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", option,
         f"--user-data-dir={file.parent / 'profile'}", "--virtual-time-budget=4000", f"file://{file}"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    found = re.search(pattern, done.stdout)
    assert found, done.stdout[-500:] + done.stderr[-500:]
    return found


def compare(run):
    return load("compare")(run.config, run.partition)


def test_runs_of_the_same_conditions_share_a_table_and_its_ranks(measured):
    also(measured, "better", add=1.0)
    result = compare(measured)
    assert result.summary == "compare: 2 run(s) in 1 table(s)"
    lines = (measured.root / "comparison" / "results.md").read_text().splitlines()
    own = [line for line in lines if line.startswith("| **VDT, run ")]
    assert [re.search(r"run ([\w-]+)", line)[1] for line in own] == ["better", "made-up"]
    psnr = next(r.value for r in read_records(measured.paths.records) if (r.subject, r.metric) == ("model", "psnr"))
    assert f"**{psnr + 1:.2f}**" in own[0]
    assert f"<u>{psnr:.2f}</u>" in own[1]
    assert sum(line.startswith("| Copy last frame") for line in lines) == 1
    for name in ("results.csv", "results.tex", "index.html"):
        assert "better" in (measured.root / "comparison" / name).read_text()


def test_other_latents_are_another_table(measured):
    also(measured, "elsewhere", latents_fingerprint="another")
    assert compare(measured).summary == "compare: 2 run(s) in 2 table(s)"


def test_the_newest_checkpoint_of_each_run_counts(measured):
    records = read_records(measured.paths.records)
    old = [replace(r, clips_seen=r.clips_seen and 100, samples=r.samples and "old", value=1.0) for r in records]
    (one,) = current.side_by_side([current.newest([*old, *records], 16)])
    assert one.model.first.clips_seen == 3200


def test_only_the_newest_checkpoint_of_a_run_makes_tables_whatever_the_task_and_protocol(measured):
    records = read_records(measured.paths.records)
    old = {"clips_seen": 1600, "checkpoint": "clips-000001600", "samples": "old"}
    older = [replace(r, **changed, **(old if r.subject == "model" else {}))
             for changed in ({"task": "backward"}, {"protocol": "quick"}) for r in records]  # fmt: skip
    write(measured.root / "made-up", [*older, *records])
    result = measured.report()
    assert result.summary.startswith("reported clips-000003200: 1 table(s), 1 film strip(s)")
    assert compare(measured).summary == "compare: 1 run(s) in 1 table(s)"
    for folder in (measured.paths.tables, measured.root / "comparison"):
        assert "1,600 clips seen" not in (folder / "results.md").read_text()


def test_of_several_latents_those_that_lie_here_count(measured):
    """Encoded anew in between, measured, and put back: the file has the later records last."""
    records = read_records(measured.paths.records)
    others = [replace(r, latents_fingerprint="another", samples=r.samples and "another", value=1.0,
                      clips_seen=r.clips_seen and 6400) for r in records]  # fmt: skip
    folder = write(measured.root / "made-up", [*records, *others])
    compare(measured)
    text = (measured.root / "comparison" / "results.md").read_text()
    assert "3,200 clips seen" in text and "6,400 clips seen" not in text
    (one,) = current.newest(read_records(folder / "records.jsonl"), 16)
    assert (one.model.first.clips_seen, one.model.first.latents_fingerprint) == (6400, "another")


def test_rows_beside_the_models_have_what_any_run_has_measured_of_them(measured):
    """A number of one run stands over another's reason, or its silence, metric by metric; so do the remarks."""
    records = read_records(measured.paths.records)
    ssim = [r for r in records if r.metric == "ssim"]
    fvd = {"metric": "fvd", "interval_low": None, "interval_high": None}
    values = {"model": 50.0, "copy-last-frame": 40.0, "autoencoder": 30.0, "real-against-real": 20.0}
    without = [replace(r, value=None, missing="I3D weights not found", definition=None, **fvd) for r in ssim]
    write(measured.root / "made-up", [*ssim, *without])
    folder = also(measured, "more")
    write(folder, [replace(r, run="more") for r in
                   [*records, *(replace(r, value=values[r.subject], **fvd) for r in ssim)]])  # fmt: skip
    compare(measured)
    with (measured.root / "comparison" / "results.csv").open() as file:
        found = [line for line in csv.DictReader(file) if line["kind"] == "reference"]
    assert {line["subject"]: line["value"] for line in found if line["metric"] == "fvd"} == {
        subject: str(value) for subject, value in values.items() if subject != "model"
    }
    assert {line["subject"] for line in found if line["metric"] == "psnr" and line["value"]} == {*values} - {"model"}
    assert len(found) == 9
    assert "VDT, run more is no better than copied frames in FVD" in (
        (measured.root / "comparison" / "results.md").read_text()
    )


def test_a_run_that_is_damaged_is_left_out_and_named(measured):
    records = also(measured, "bad") / "records.jsonl"
    records.write_text(records.read_text() + "{")
    result = compare(measured)
    assert result.summary.startswith(f"compare: 1 run(s) in 1 table(s); left out bad: {records}:")
    html = (measured.root / "comparison" / "index.html").read_text()
    assert f"Left out, bad: {records}:" in html and "VDT, run made-up" in html and "VDT, run bad" not in html
    measured.paths.records.write_text("{")
    with pytest.raises(
        UserError, match=r"no run under .* has records \(bad: .* is damaged .*; made-up: .*:1 is damaged"
    ):
        compare(measured)


def test_damaged_latents_are_no_reason_to_leave_a_run_out(measured):
    (measured.paths.latents / "manifest.json").write_text("{")
    with pytest.raises(
        UserError, match=r"compare: 1 run\(s\) in 1 table\(s\); What lies in the latents of made-up is not"
    ):
        compare(measured)
    html = (measured.root / "comparison" / "index.html").read_text()
    assert "VDT, run made-up" in html and "manifest.json is damaged" in html


def test_no_run_has_records(made_up):
    with pytest.raises(UserError, match=r"no run under .* has records"):
        compare(made_up)


def test_the_command_compares_when_there_are_several(measured, monkeypatch):
    command = [sys.executable, "-m", "vdt_hpc.report", "--root", str(measured.root)]
    environment = os.environ | {"VDT_HPC_WEIGHTS": str(measured.root / "none")}
    alone = subprocess.run(command, cwd=HOME, capture_output=True, text=True, env=environment)
    assert alone.returncode == 0, alone.stderr
    assert "compare: " not in alone.stdout
    also(measured, "second")
    both = subprocess.run(command, cwd=HOME, capture_output=True, text=True, env=environment)
    assert both.returncode == 0, both.stderr
    assert "compare: 2 run(s) in 1 table(s)" in both.stdout
    page = measured.root / "comparison" / "index.html"
    assert str(page) in both.stdout
    targets = re.findall(r'href="(\.\./[^"]+)"', page.read_text())
    assert [(page.parent / target).resolve().is_file() for target in targets] == [True, True]


def test_runs_are_reported_side_by_side_and_told_in_their_order(measured):
    names = ("also", "bad-log", "made-up", "other")
    for name in {*names} - {"made-up"}:
        also(measured, name)
    (measured.root / "bad-log" / "progress.jsonl").write_text("{}\n")
    environment = os.environ | {"VDT_HPC_WEIGHTS": str(measured.root / "none"), "SLURM_CPUS_PER_TASK": "2"}
    command = [sys.executable, "-m", "vdt_hpc.report", "--root", str(measured.root)]
    done = subprocess.run(command, cwd=HOME, capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    (error,) = done.stderr.splitlines()
    assert error.startswith("error: bad-log: ") and "progress.jsonl:1 is damaged" in error
    told = [line.partition(":")[0] for line in done.stdout.splitlines() if not line.startswith(" ")]
    assert told == ["also", "made-up", "other", "compare"]
    assert "compare: 4 run(s)" in done.stdout
    pages = [(measured.root / name / "index.html").is_file() for name in names]
    assert pages == [True] * 4


def test_runs_of_other_folders_are_compared_with_each_other_alone(measured, capsys):
    """Wherever they lie, and whatever lies under the root beside the comparison."""
    named = []
    for name in ("here", "there"):
        folder = measured.root.parent / f"of {name}" / name
        folder.parent.mkdir()
        named.append(shutil.move(also(measured, name), folder))
    for root in (measured.root.parent / "empty", measured.root):
        assert front_door.main([*map(str, named), "--root", str(root)]) == 0
        told = capsys.readouterr().out
        page = root / "comparison" / "index.html"
        assert "compare: 2 run(s) in 1 table(s)" in told and f"page: {page}" in told
        html = page.read_text()
        assert "VDT, run here" in html and "VDT, run there" in html and "VDT, run made-up" not in html
        targets = re.findall(r'href="(\.\./[^"]+)"', html)
        assert [(page.parent / unquote(target)).resolve().is_file() for target in targets] == [True, True]


def test_runs_of_one_name_are_told_apart_by_their_folders(measured, tmp_path, monkeypatch):
    """The same run under two roots, say before and after a change."""
    copy = tmp_path / "elsewhere" / "made-up"
    shutil.copytree(measured.paths.run, copy, ignore=shutil.ignore_patterns("samples"))
    monkeypatch.setenv(COMPARED, json.dumps([str(measured.paths.run), str(copy)]))
    compare(measured)
    html = (measured.root / "comparison" / "index.html").read_text()
    for folder in (measured.paths.run, copy):
        assert f"VDT, run {folder}<" in html and f'<th scope="row">{folder}</th>' in html


def test_numbers_of_a_metric_that_is_gone_leave_the_comparison_be(measured):
    records = also(measured, "other") / "records.jsonl"
    line = json.loads(records.read_text().splitlines()[0]) | {"metric": "motion", "value": 1.0, "missing": None}
    records.write_text(records.read_text() + json.dumps(line) + "\n")
    said = f"1 record is left out of {records}: unknown metric 'motion': there is no results/metrics/motion.py"
    assert compare(measured).summary == f"compare: 2 run(s) in 1 table(s); {said}"
    for name in ("index.html", "results.md"):
        text = (measured.root / "comparison" / name).read_text().replace("&#39;", "'")
        assert said in text and "VDT, run other" in text


FIND = """<script>
addEventListener("load", () => {
  const rows = () => [...document.querySelectorAll("tbody tr")].filter((row) => row.offsetHeight).length;
  const frame = document.querySelector(".long"), head = frame.querySelector("thead");
  const gap = () => Math.round(head.getBoundingClientRect().top - frame.getBoundingClientRect().top - frame.clientTop);
  const bar = document.querySelector(".filter"), input = bar.querySelector("input");
  frame.scrollTop = 300;
  const said = [frame.scrollTop, gap(), frame.clientHeight < innerHeight ? 1 : 0, rows()];
  input.value = "RUN 07";
  input.dispatchEvent(new Event("input"));
  document.title = JSON.stringify([...said, rows(), bar.querySelector("output").textContent]);
});
</script>"""


@pytest.mark.skipif(CHROMIUM is None and "REQUIRE_BROWSER" not in os.environ, reason="no chromium on PATH")
def test_many_rows_scroll_below_their_header_and_are_found_by_name(measured, tmp_path):
    for number in range(30):
        also(measured, f"run-{number:02d}", add=0.1 * number)
    compare(measured)
    html = (measured.root / "comparison" / "index.html").read_text()
    (tmp_path / "page.html").write_text(html.replace("</body>", f"{FIND}</body>"))
    found = in_browser(tmp_path / "page.html", r"<title>(\[.*\])</title>", "--window-size=1280,800")
    num_rows = html.count("<tr ") - html.count('<tr class="heads">') + html.count('<tr><th scope="row">')
    assert json.loads(found[1]) == [300, 0, 1, num_rows, 2, f"2 of {num_rows} rows"]


@pytest.mark.skipif(CHROMIUM is None and "REQUIRE_BROWSER" not in os.environ, reason="no chromium on PATH")
def test_the_page_fits_a_phone_and_asks_for_nothing(measured, tmp_path):
    for number in range(20):
        also(measured, f"run-{number:02d}", add=0.1 * number)
    compare(measured)
    html = (measured.root / "comparison" / "index.html").read_text()
    assert not re.search(r'(?:src|href)="(?:https?:)?//', html)
    look = "<script>addEventListener('load', () => { document.title = JSON.stringify([document.documentElement" \
        ".scrollWidth, innerWidth, document.querySelectorAll('.heads button').length]) })</script>"  # fmt: skip
    (tmp_path / "page.html").write_text(html.replace("</body>", f"{look}</body>"))
    frame = '<iframe src="page.html" width="390" height="900" onload="setTimeout(() => document.body.append(' \
        'document.querySelector(`iframe`).contentDocument.title), 50)"></iframe>'  # fmt: skip
    (tmp_path / "phone.html").write_text(f"<body>{frame}</body>")
    found = in_browser(tmp_path / "phone.html", r"\[(\d+),(\d+),(\d+)\]", "--allow-file-access-from-files")
    scroll_px, width_px, num_buttons = map(int, found.groups())
    assert scroll_px <= width_px <= 390
    assert num_buttons > 6


SORT = """<script>
addEventListener("load", () => {
  const table = [...document.querySelectorAll("table")].pop(), heads = [...table.querySelectorAll(".heads th")];
  const names = () => [...table.tBodies[0].rows].map((row) => row.cells[0].textContent);
  const said = [names()];
  for (const head of heads) {
    for (let press = 0; press < 3; press += 1) {
      head.querySelector("button").click();
      said.push([head.textContent, head.ariaSort, names()]);
    }
  }
  document.title = JSON.stringify(said);
});
</script>"""


@pytest.mark.skipif(CHROMIUM is None and "REQUIRE_BROWSER" not in os.environ, reason="no chromium on PATH")
def test_every_column_of_the_runs_can_be_sorted(measured, tmp_path):
    for name, height, clips_seen in (("first", 128, 900), ("second", 32, 10_000)):
        folder = also(measured, name, clips_seen=clips_seen, checkpoint=f"clips-{clips_seen}")
        tree = yaml.safe_load((folder / "config.yaml").read_text())
        tree["data"]["frame_height_px"], tree["model"]["depth"] = height, clips_seen // 100
        (folder / "config.yaml").write_text(yaml.safe_dump(tree))
    compare(measured)
    html = (measured.root / "comparison" / "index.html").read_text()
    (tmp_path / "page.html").write_text(html.replace("</body>", f"{SORT}</body>"))
    own, *presses = json.loads(
        in_browser(tmp_path / "page.html", r"<title>(\[.*\])</title>", "--window-size=1280,800")[1]
    )
    assert own == ["first", "made-up", "second"]
    found = {head: [press[1:] for press in presses if press[0] == head] for head, *_ in presses}
    up, down = ["made-up", "second", "first"], ["first", "second", "made-up"]
    assert found["Data"] == [["ascending", up], ["descending", down], [None, own]]
    assert found["Model"] == [["ascending", ["made-up", "first", "second"]],
                              ["descending", ["second", "first", "made-up"]], [None, own]]  # fmt: skip
    assert found["Checkpoint"][0] == ["ascending", ["first", "made-up", "second"]]
    assert found["Clips seen"][0] == ["descending", ["second", "made-up", "first"]]
    assert found["Run"][1] == ["descending", ["second", "made-up", "first"]]
    one, other, _ = found["Signature"]
    assert one[1] == other[1][::-1] and sorted(one[1]) == own
