import signal

import pytest
import torch

from tests.jobs import made_up


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch):
    """One thread: these models are too small for more. Stages take over signals and threads; give both back."""
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR2)}
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def partition(tmp_path):
    return made_up.partition(tmp_path)
