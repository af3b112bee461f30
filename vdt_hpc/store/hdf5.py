"""The one way to finish an HDF5 file."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import h5py

from vdt_hpc import files

Finish = Callable[[Path], AbstractContextManager[Path]]
"""`files.finish`, which replaces what has the name, or `exclusive.finish`, which does not."""


@contextlib.contextmanager
def finish(path: Path, named: Finish = files.finish) -> Iterator[h5py.File]:
    """Yield a new HDF5 file; when the block ends well, it is at `path`, which `named` gives it.

    It is made in memory, which takes twice its size while it is written down: HDF5 cannot let go of a file that a full
    disk has cut off, and the process dies of it. The same content gives the same bytes.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    with named(path) as temporary, h5py.File(temporary, "w", driver="core", backing_store=False) as file:
        yield file
        file.flush()
        temporary.write_bytes(file.id.get_file_image())
