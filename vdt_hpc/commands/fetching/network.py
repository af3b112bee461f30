"""Files over the network: address by address, attempt by attempt, verified before they get their name."""

import time
from urllib.parse import urlsplit

from vdt_hpc import files
from vdt_hpc.commands.fetching import cache
from vdt_hpc.commands.fetching.part import Part, hold
from vdt_hpc.commands.fetching.transfer import Interrupted, Refused, transfer
from vdt_hpc.experiment.weights_table import Wanted

WAITS_S = (1.0, 2.0, 4.0)
"""Between attempts that brought no new byte; one that did starts the count again."""


class NotFetched(Exception):
    """A file could not be had; the message is one line."""


class Network:
    """Fetches files, and remembers which servers are away: those are asked once for each further file."""

    def __init__(self) -> None:
        self._away: set[str] = set()

    def fetch(self, wanted: Wanted) -> None:
        """Fetch a file into the folder of weights, unless another process has just done so.

        Raises:
            NotFetched: no address had it, or only with other bytes.
            UserError: the disk is full or the folder cannot be written.
        """
        with hold(wanted.path) as part:
            if cache.is_present(wanted):
                return
            faults = []
            for url in wanted.file.urls:
                try:
                    sha256 = self._whole(url, part, wanted)
                except NotFetched as fault:
                    faults.append(f"{_server(url)}: {fault}")
                else:
                    cache.record(wanted, url, sha256, part.num_bytes())
                    files.move(part.path, wanted.path)
                    return
            raise NotFetched("; ".join(faults) or "no address is known")

    def _whole(self, url: str, part: Part, wanted: Wanted) -> str:
        """Fetch and verify from one address; the SHA-256 of what is then in the unfinished file."""
        anew = part.num_bytes() == 0
        while True:
            self._insist(url, part, wanted)
            sha256 = files.sha256(part.path)
            fault = cache.fault_of(part.path, wanted, sha256)
            if not fault:
                return sha256
            part.clear()
            if anew:
                raise NotFetched(f"what came has {fault}")
            anew = True  # the bytes that an earlier process left may have been wrong, or of another address

    def _insist(self, url: str, part: Part, wanted: Wanted) -> None:
        """Try again after interruptions, as long as there is hope."""
        best, failures = part.num_bytes(), 0
        while True:
            try:
                return transfer(url, part, wanted.file.size_bytes, wanted.label)
            except Refused as fault:
                raise NotFetched(str(fault)) from None
            except Interrupted as fault:
                if part.num_bytes() > best:
                    best, failures = part.num_bytes(), 0
                    self._away.discard(_server(url))
                if failures == len(WAITS_S) or _server(url) in self._away:
                    self._away.add(_server(url))
                    raise NotFetched(str(fault)) from None
                print(f"{wanted.label}: {fault}; next attempt in {WAITS_S[failures]:.0f} s", flush=True)
                time.sleep(WAITS_S[failures])
                failures += 1


def _server(url: str) -> str:
    return urlsplit(url).hostname or url
