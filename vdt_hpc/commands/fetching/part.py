"""The unfinished file of a fetch: its bytes so far, what they are bytes of, and who is writing it."""

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vdt_hpc import files
from vdt_hpc.commands.fetching import cache
from vdt_hpc.errors import UserError

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


@dataclass(frozen=True)
class Part:
    """`NAME.part`, and `NAME.part.json` that says which version of which address it is a beginning of."""

    path: Path

    @property
    def note(self) -> Path:
        """The file that says what the bytes are a beginning of."""
        return self.path.with_name(f"{self.path.name}.json")

    def num_bytes(self) -> int:
        """Bytes so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def version(self, url: str) -> str | None:
        """Version of the file at `url` that the bytes are a beginning of; None: unknown, or of another address."""
        try:
            said = files.read_json(self.note)
        except UserError:  # not there, or cut off by a kill: begin anew
            return None
        return str(said["version"]) if said.get("url") == url and said.get("version") else None

    def begin(self, url: str, version: str | None) -> None:
        """Throw the bytes away, and note what the next ones are."""
        self.clear()
        files.write_json(self.note, {"url": url, "version": version})

    def clear(self) -> None:
        """Throw the bytes away; the file itself stays, since it holds the lock."""
        with files.explained(self.path):
            os.truncate(self.path, 0)
            self.note.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove both files."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


@contextlib.contextmanager
def hold(target: Path) -> Iterator[Part]:
    """The unfinished file of `target`, for this process alone; waits for another one that fetches the same.

    The lock is the system's, on the file itself, so that it ends with the process however that ends. Where the file
    system has no locks, the file is this process's own, and removed at the end: nothing is resumed there.

    The folder of `target` is made, and removed again if nothing is in it: stages would take it for an autoencoder's.

    Raises:
        UserError: the folder cannot be made or written.
    """
    try:
        with _held(target) as part:
            yield part
    finally:
        with contextlib.suppress(OSError):
            target.parent.rmdir()


@contextlib.contextmanager
def _held(target: Path) -> Iterator[Part]:
    with files.explained(target):
        descriptor = _lock(target.with_name(f"{target.name}.part"), target.name)
        if descriptor is None:
            own = Part(target.with_name(f"{target.name}.{socket.gethostname()}-{os.getpid()}.part"))
            own.path.touch()
            try:
                yield own
            finally:
                own.remove()
        else:
            part = Part(target.with_name(f"{target.name}.part"))
            try:
                yield part
                part.note.unlink(missing_ok=True)
            finally:
                if part.path.exists() and part.num_bytes() == 0:
                    part.remove()
                os.close(descriptor)


def _lock(path: Path, name: str) -> int | None:
    """A descriptor that holds the lock of a file with this name, or None where there are no locks."""
    while True:
        cache.make_folder(path.parent)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # another process has just removed the folder
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{name}: another process is fetching it; waiting for that", flush=True)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            os.close(descriptor)
            if error.errno not in _NO_LOCKS:
                raise
            path.unlink()
            return None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)  # whoever held it has finished, and renamed or removed it
