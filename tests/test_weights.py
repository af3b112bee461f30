"""The folder of weights at the command line, against a server on this machine."""

import errno
import fcntl
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.weights_server import Served, Server
from vdt_hpc.commands.fetching.network import Network
from vdt_hpc.experiment import weights, weights_table

HOME = Path(__file__).parents[1]
BIG = random.Random(1).randbytes(600_000)
OTHER = random.Random(2).randbytes(600_000)
HALF = 262_144


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


class Bench:
    """A folder of weights, and a table in which one.bin is known and model/... is not."""

    def __init__(self, folder, server):
        self.cache, self.table, self.server = folder / "weights", folder / "table.yaml", server
        self.one = self.cache / "one.bin"
        server.files["one.bin"] = Served(BIG)
        self.entries = [{"name": "one", "purpose": "tests", "licence": "none", "files": [self.file("one.bin")]}]
        self.processes = []
        self.environment = {**os.environ, "VDT_HPC_WEIGHTS": str(self.cache), "HF_HUB_CACHE": str(folder / "hub")}
        for name in ("VDT_HPC_TERMINAL_COLUMNS", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            self.environment.pop(name, None)

    def file(self, name, **fields):
        content = self.server.files[name].content
        known = {"size_bytes": len(content), "sha256": self.server.files[name].sha256}
        return {"name": Path(name).name, "urls": [self.server.url(name)]} | (fields or known)

    def add_model(self, size=None):
        for name in ("config.json", "diffusion_pytorch_model.safetensors"):
            self.server.files[f"m/{name}"] = Served(name.encode() * 1000)
        files = [self.file(f"m/{name}", size_bytes=size) for name in weights.AUTOENCODER_FILES]
        self.entries.append(
            {"name": "model", "purpose": "tests", "licence": "none", "hub": "some/model", "files": files}
        )

    def start(self, *words):
        self.table.write_text(yaml.safe_dump({"weights": self.entries}))
        arguments = [sys.executable, "-m", "vdt_hpc.weights", *map(str, words), "--table", str(self.table)]
        process = subprocess.Popen(
            arguments, cwd=HOME, env=self.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        self.processes.append(process)
        return process

    def run(self, *words, status=0):
        return self.end(self.start(*words), status)

    def end(self, process, status=0):
        output, errors = process.communicate(timeout=60)
        assert "Traceback" not in output + errors, errors
        assert process.returncode == status, output + errors
        return output + errors

    def half(self, name="one.bin"):
        """Wait until half of a file has come."""
        part = self.cache / f"{name}.part"
        deadline = time.monotonic() + 30
        while not part.exists() or part.stat().st_size < HALF:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return part


@pytest.fixture
def bench(tmp_path, server):
    bench = Bench(tmp_path, server)
    yield bench
    for process in bench.processes:
        process.kill()
        process.communicate()


def test_what_is_missing_is_fetched_once(bench):
    bench.add_model()
    said = bench.run()
    assert "fetch one: 600,000/600,000 bytes" in said
    assert bench.one.read_bytes() == BIG
    assert (bench.cache / "some/model/config.json").exists()
    record = json.loads((bench.cache / "one.bin.origin.json").read_text())
    assert record["sha256"] == bench.server.files["one.bin"].sha256
    assert record["from"] == bench.server.url("one.bin")
    num_asked = len(bench.server.asked)
    assert "one is here\n" in bench.run()
    assert "model/config.json is here (as first fetched)" in bench.run("some/model")
    assert len(bench.server.asked) == num_asked == 3
    assert not [path for path in bench.cache.rglob("*") if ".part" in path.name or ".tmp" in path.name]


@pytest.mark.parametrize("change", [None, "none", "changed", "careless", "silent"])
def test_a_killed_fetch_goes_on_and_what_has_changed_begins_anew(bench, change):
    served = bench.server.files["one.bin"]
    served.stop_at = HALF
    process = bench.start("one")
    part = bench.half()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert part.stat().st_size == HALF
    assert not bench.one.exists()
    if change == "none":
        served.ranges = "none"
    elif change:
        bench.server.files["one.bin"] = served = Served(OTHER, tag='"one"' if change == "silent" else '"two"')
        served.ranges = "heeds" if change == "changed" else "careless"
        bench.entries[0]["files"] = [bench.file("one.bin")]
    served.stop_at = None
    del bench.server.asked[:]
    bench.run("one")
    assert bench.one.read_bytes() == served.content
    whole_again = [("one.bin", None)] if change in ("careless", "silent") else []
    assert bench.server.asked == [("one.bin", f"bytes={HALF}-"), *whole_again]
    assert not part.exists() and not part.with_name("one.bin.part.json").exists()


def test_redirections_are_followed_when_it_goes_on_too(bench):
    bench.server.files["far.bin"] = served = bench.server.files["one.bin"]
    bench.server.files["one.bin"] = Served(b"", moved_to="/far.bin")
    served.drop_at = HALF
    bench.run()
    assert bench.one.read_bytes() == BIG
    assert bench.server.asked[2:] == [("one.bin", f"bytes={HALF}-"), ("far.bin", f"bytes={HALF}-")]


def test_ctrl_c_keeps_what_has_come(bench):
    bench.server.files["one.bin"].stop_at = HALF
    process = bench.start()
    part = bench.half()
    process.send_signal(signal.SIGINT)
    assert "the same command goes on" in bench.end(process, status=3)
    assert part.stat().st_size == HALF


def test_a_broken_connection_and_a_busy_server_are_asked_again(bench):
    served = bench.server.files["one.bin"]
    served.answers, served.drop_at = [503], HALF
    said = bench.run()
    assert "one: HTTP 503 Service Unavailable; next attempt in 1 s" in said
    assert f"the connection ended after {HALF:,} of 600,000 bytes; next attempt in 1 s" in said
    assert bench.server.asked[-1] == ("one.bin", f"bytes={HALF}-")
    assert bench.one.read_bytes() == BIG


@pytest.mark.parametrize("known", [True, False])
def test_a_part_that_is_longer_than_the_file_begins_anew(bench, known):
    bench.cache.mkdir()
    bench.one.with_name("one.bin.part").write_bytes(BIG + b"more")
    note = {"url": bench.server.url("one.bin"), "version": '"one"'}
    bench.one.with_name("one.bin.part.json").write_text(json.dumps(note))
    if not known:
        bench.entries[0]["files"] = [bench.file("one.bin", sha256=bench.server.files["one.bin"].sha256)]
    bench.run()
    assert bench.one.read_bytes() == BIG
    assert len(bench.server.asked) == (1 if known else 2)


def test_a_wrong_hash_leaves_nothing_and_the_next_address_is_asked(bench):
    bench.server.files["wrong.bin"] = Served(OTHER)
    right = bench.entries[0]["files"][0]["urls"]
    bench.entries[0]["files"][0]["urls"] = [bench.server.url("wrong.bin")]
    said = bench.run(status=1)
    assert "error: one: 127.0.0.1: what came has SHA-256 " in said
    assert not bench.cache.exists()
    bench.entries[0]["files"][0]["urls"] += right
    bench.run()
    assert bench.one.read_bytes() == BIG


def test_a_damaged_file_loses_its_name(bench):
    bench.run()
    bench.one.write_bytes(OTHER)
    assert "damaged (SHA-256 " in bench.run("--list")
    bench.server.files["one.bin"].answers = [404]
    assert "error: one: 127.0.0.1: HTTP 404 Not Found" in bench.run(status=1)
    assert not bench.one.exists()
    assert (bench.cache / "one.bin.damaged").read_bytes() == OTHER
    bench.run()
    assert bench.one.read_bytes() == BIG


def test_a_page_instead_of_the_file(bench):
    bench.server.files["one.bin"].content = b"<html>sign in</html>"
    said = bench.run(status=1)
    assert "the file there has 20 bytes, not 600,000" in said
    assert "1 file(s) are missing" in said


def test_without_a_network_each_file_is_one_line(bench):
    bench.add_model()
    bench.server.close()
    said = bench.run(status=1).splitlines()
    assert [line for line in said if line.startswith("error:")] == [
        f"error: {label}: 127.0.0.1: no connection (Connection refused)"
        for label in ("one", "model/config.json", "model/diffusion_pytorch_model.safetensors")
    ]
    assert sum("next attempt" in line for line in said) == 3  # the server is away for the other files, too


def test_the_environments_proxy_is_asked(bench):
    bench.server.files["http://far.invalid/one.bin"] = bench.server.files["one.bin"]
    bench.entries[0]["files"][0]["urls"] = ["http://far.invalid/one.bin"]
    bench.environment["http_proxy"] = bench.server.url("")
    bench.run()
    assert bench.server.asked == [("http://far.invalid/one.bin", None)]
    bench.one.unlink()
    bench.environment["http_proxy"] = "no proxy"
    assert "error: one: far.invalid: " in bench.run(status=1)


def test_the_first_of_an_unknown_hash_is_trusted_and_no_other(bench):
    bench.add_model()
    said = bench.run("model")
    record = bench.cache / "some/model/config.json.origin.json"
    assert f"its SHA-256 was not known; {record} holds it from now on" in said
    (bench.cache / "some/model/config.json").unlink()
    bench.server.files["m/config.json"].content = b"another"
    said = bench.run("model", status=1)
    assert f"which {record} holds from an earlier fetch; remove that to trust another" in said
    assert not (bench.cache / "some/model/config.json").exists()
    record.unlink()
    bench.run("model")


def test_two_at_once_fetch_once(bench):
    bench.server.files["one.bin"].stop_at = HALF
    first = bench.start()
    bench.half()
    second = bench.start()
    time.sleep(2)
    bench.server.files["one.bin"].go_on.set()
    bench.end(first)
    assert "another process is fetching it" in bench.end(second)
    assert len(bench.server.asked) == 1
    assert sorted(path.name for path in bench.cache.iterdir()) == ["one.bin", "one.bin.origin.json"]


def test_a_file_system_without_locks(bench, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setenv("VDT_HPC_WEIGHTS", str(bench.cache))
    bench.table.write_text(yaml.safe_dump({"weights": bench.entries}))
    (entry,) = weights_table.load(bench.table).weights
    Network().fetch(entry.wanted()[0])
    assert sorted(path.name for path in bench.cache.iterdir()) == ["one.bin", "one.bin.origin.json"]


@pytest.fixture
def small_disk(bench):
    bench.cache.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", bench.cache], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield bench.cache
    subprocess.run(["umount", bench.cache], check=True)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_full_disk_is_one_line(bench, small_disk, chunked):
    bench.server.files["one.bin"].chunked = chunked
    bench.entries[0]["files"] = [bench.file("one.bin", sha256=bench.server.files["one.bin"].sha256)]
    (said,) = bench.run(status=2).splitlines()
    assert ("error: the disk is full" if chunked else "error: no space for one: 600,000 bytes are to come") in said
    assert not bench.one.exists()


def test_from_a_folder(bench, tmp_path):
    bench.add_model()
    disk = tmp_path / "disk"
    (disk / "deep/er").mkdir(parents=True)
    (disk / "deep/one.bin").write_bytes(OTHER)
    (disk / "deep/config.json").write_text("of another model")
    said = bench.run("--from", disk, status=1)
    assert re.search(r"error: one: .*/deep/one.bin has SHA-256 \w+, not \w+\n", said)
    assert f"error: model/config.json: there is no some/model/config.json in {disk}" in said
    assert "3 file(s) are missing" in said
    assert not [path for path in bench.cache.rglob("*") if path.is_file()]
    (disk / "deep/er/one.bin").write_bytes(BIG)
    bench.cache.mkdir(exist_ok=True)
    (bench.cache / "one.bin.part").write_bytes(b"of a fetch that was not finished")
    snapshot = disk / "hub/models--some--model/snapshots/0123"
    snapshot.mkdir(parents=True)
    (disk / "blob").write_text("weights")
    (snapshot / "config.json").write_text("{}")
    (snapshot / "diffusion_pytorch_model.safetensors").symlink_to(disk / "blob")
    bench.run("--from", disk)
    assert bench.one.read_bytes() == BIG
    assert (bench.cache / "some/model/diffusion_pytorch_model.safetensors").read_text() == "weights"
    assert not (bench.cache / "some/model/diffusion_pytorch_model.safetensors").is_symlink()
    assert bench.server.asked == []
    assert sorted(path.name for path in bench.cache.iterdir()) == ["one.bin", "one.bin.origin.json", "some"]
    bench.one.write_bytes(OTHER)
    assert "it is now one.bin.damaged" in bench.run("--from", disk)
    assert bench.one.read_bytes() == BIG
    assert "there is no folder" in bench.run("--from", tmp_path / "no", status=2)


def test_the_list(bench, tmp_path):
    bench.add_model(size=11_000)
    said = bench.run("--list")
    assert f"one.bin  600,000 bytes  missing, from {bench.server.url('one.bin')}\n" in said
    assert "model: tests; licence none" in said
    assert re.search(r"some/model/config.json +11,000 bytes  missing, from http.*; SHA-256 not known", said)
    bench.run("one")
    assert re.search("one.bin  600,000 bytes  present\n", bench.run("--list"))
    hub = tmp_path / "hub" / "models--some--model"
    (hub / "snapshots" / "0123").mkdir(parents=True)
    (hub / "refs").mkdir()
    (hub / "refs" / "main").write_text("0123")
    for name in weights.AUTOENCODER_FILES:
        (hub / "snapshots" / "0123" / name).write_text("{}")
    assert bench.run("--list", "model").count("present (in the hub's local cache, not verified)") == 2
    assert "model is in the hub's local cache" in bench.run("model")


def test_a_model_on_the_hub_that_is_not_in_the_table(bench):
    bench.environment["HF_ENDPOINT"] = bench.server.url("mirror")
    for name in weights.AUTOENCODER_FILES:
        bench.server.files[f"mirror/any/body/resolve/main/{name}"] = Served(name.encode())
    bench.run("any/body")
    assert (bench.cache / "any/body/config.json").read_text() == "config.json"


def test_mistakes_are_one_line(bench):
    (said,) = bench.run("--list", "--from", "/nowhere", status=2).splitlines()
    assert said == "error: argument --from: not allowed with argument --list; see --help"
    (said,) = bench.run("two", status=2).splitlines()
    assert said == "error: unknown weights 'two'; known: one, or OWNER/MODEL of an autoencoder on the hub"
    bench.entries[0]["files"][0]["sha255"] = "0"
    (said,) = bench.run(status=2).splitlines()
    assert "unknown field weights.0.files.0.sha255; did you mean sha256?" in said
    del bench.entries[0]["files"][0]["sha255"]
    bench.cache.write_text("a file")
    (said,) = bench.run(status=2).splitlines()
    assert said == f"error: {bench.cache} is no folder and none can be made there (File exists); set $VDT_HPC_WEIGHTS"


def test_the_projects_own_table(monkeypatch, tmp_path):
    monkeypatch.setenv("VDT_HPC_WEIGHTS", str(tmp_path))
    known = weights_table.load()
    for entry in known.weights:
        for wanted in entry.wanted():
            found = re.search(r"-([0-9a-f]{8})\.pth$", wanted.file.name)  # torchvision's convention
            assert not found or wanted.file.sha256.startswith(found[1])
    for each in weights.METRIC_WEIGHTS:
        assert known.choose([each.name])[0].wanted()[0].path.name in each.files
    (entry,) = known.choose(["stabilityai/sd-vae-ft-mse"])
    assert entry.name == "sd-vae-ft-mse"
    places = [wanted.path for wanted in entry.wanted()]
    assert places == [tmp_path / "stabilityai/sd-vae-ft-mse" / name for name in weights.AUTOENCODER_FILES]
