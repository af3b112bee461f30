"""Reading parts of an HDF5 dataset's rows from many threads at once.

HDF5 answers one thread at a time, so on a network's file system every read would wait for the one before it. A row that
is one uncompressed chunk lies in one piece in the file: HDF5 says where, and the threads read there themselves.
"""

import math
import os
from typing import Any

import h5py
import numpy.typing as npt


class Rows:
    """The rows of one dataset.

    Args:
        dataset: with one uncompressed chunk per row; its file stays open as long as this object lives.

    Raises:
        OSError: the dataset is stored in another way.
    """

    def __init__(self, dataset: h5py.Dataset) -> None:
        if dataset.chunks != (1, *dataset.shape[1:]) or dataset.id.get_create_plist().get_nfilters():
            raise OSError(f"{dataset.name} is not stored as one uncompressed chunk per clip")
        self.shape: tuple[int, ...] = dataset.shape
        self._dtype: npt.DTypeLike = dataset.dtype
        self._values_per_row = math.prod(self.shape[1:])
        self._offsets: dict[int, int] = {}
        """Row -> its place in the file; HDF5 takes as long to say it as a row in the page cache takes to read."""
        self._dataset = dataset
        self._keeps_open = dataset.file
        self._file: int = self._keeps_open.id.get_vfd_handle()

    def read_into(self, row: int, start: int, target: npt.NDArray[Any]) -> None:
        """Fill a contiguous array of the dataset's type with the values of a row from the `start`-th on.

        Raises:
            OSError: the file cannot be read, or is too short.
        """
        assert target.dtype == self._dtype and target.flags.c_contiguous, (target.dtype, target.strides)
        assert start + target.size <= self._values_per_row, (start, target.shape, self.shape)
        offset = self._offsets.get(row) or self._find(row)
        # preadv moves no file position, so threads cannot disturb each other, and lets go of the interpreter.
        num_read = os.preadv(self._file, [target.data], offset + start * target.itemsize)
        if num_read != target.nbytes:
            raise OSError(f"row {row} of {self._dataset.name} ends after {num_read} of {target.nbytes} bytes")

    def _find(self, row: int) -> int:
        offset: int | None = self._dataset.id.get_chunk_info_by_coord((row, *[0] * (len(self.shape) - 1))).byte_offset
        if offset is None:
            raise OSError(f"row {row} of {self._dataset.name} was never written")
        self._offsets[row] = offset
        return offset
