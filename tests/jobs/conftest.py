import signal

import pytest
import torch

from tests.jobs import made_up


@pytest.fixture(autouse=True, scope="package")
def one_thread():
    """These models are too small for more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CPUS_PER_TASK", "1")
        yield


@pytest.fixture(autouse=True)
def as_it_was():
    """Stages take over signals and set the number of threads; give both back."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR2)}
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def partition(tmp_path):
    return made_up.partition(tmp_path)
