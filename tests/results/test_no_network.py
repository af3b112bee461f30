"""Measuring asks no network, with weights and without: every attempt is noticed, also one whose failure is not told."""

import socket

import pytest
import torch
from safetensors.torch import save_file

from tests.quality.made_alexnet import alexnet
from tests.quality.made_vgg import vgg16
from tests.results.conftest import make_run, smooth_clips
from vdt_hpc.store.records import read_records

METRICS = ("psnr", "ssim", "ssim-grey", "lpips", "lpips-vgg", "fvd", "fvd-16-14")


@pytest.fixture
def attempts(monkeypatch):
    """Names and addresses that somebody wanted to reach; none is reached."""
    seen = []

    def refuse(*words, **_):
        seen.append(words)
        raise OSError("there is no network here")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return seen


def test_the_attempt_would_be_noticed(attempts):
    with pytest.raises(OSError, match="no network"):
        torch.hub.load_state_dict_from_url("https://download.pytorch.org/models/nothing.pth", progress=False)
    assert len(attempts) == 1


@pytest.mark.parametrize(("job", "with_weights"), [(None, False), ("7", False), ("7", True)])
def test_evaluate_asks_no_network(
    made_up, tiny_i3d, random_autoencoder, attempts, tmp_path, monkeypatch, job, with_weights
):
    if job:
        monkeypatch.setenv("SLURM_JOB_ID", job)
    if with_weights:
        tiny_i3d()
        save_file(alexnet(), tmp_path / "weights" / "alexnet-owt-7be5be79.safetensors")
        save_file(vgg16(), tmp_path / "weights" / "vgg16-397923af.safetensors")
    run = make_run(tmp_path / "run", smooth_clips(2, 26, 32), random_autoencoder)
    run.write_samples(run.frames[:, None] ^ 8)
    run.evaluate(metrics=METRICS)
    found = {record.metric: record for record in read_records(run.paths.records) if record.subject == "model"}
    assert set(found) == set(METRICS)
    for name, record in found.items():
        needs_none = name in ("psnr", "ssim", "ssim-grey")
        assert (record.value is not None) == (with_weights or needs_none), record
        assert ("weights not found" in str(record.missing)) == (record.value is None)
    assert attempts == []
