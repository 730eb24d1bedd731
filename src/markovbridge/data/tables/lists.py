"""Lists of numbers in an HDF5 file, of which ranges are read.

HDF5 reads for one thread at a time, whatever it is asked for. Values that are stored in chunks and
compressed by gzip, as those of AnnData and of 10x Genomics are, can be had as the bytes that are
stored: unpacked here, two threads unpack side by side, and nothing is copied twice. All else HDF5
reads itself.

Sources: the filters of HDF5, https://docs.hdfgroup.org/hdf5/develop/group___h5_z.html: `shuffle`
stores the first bytes of all values of a chunk, then the second ones; `deflate` is zlib's format.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from markovbridge import doors

DEFLATE, SHUFFLE = 1, 2  # numbers of the filters
SLACK = 1024  # bytes


class StoredList:
    """Numbers (n,) in an HDF5 file.

    Args:
        dataset: The data set, of one axis; its file stays open.

    Attributes:
        size: How many there are.
        dtype: Their type.
    """

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        self.size, self.dtype = int(dataset.size), dataset.dtype
        plist = dataset.id.get_create_plist()
        filters = [plist.get_filter(k)[0] for k in range(plist.get_nfilters())]
        self._shuffled = filters == [SHUFFLE, DEFLATE]
        plain = self.dtype.kind in "iuf" and self.dtype.isnative
        self._direct = plain and (self._shuffled or filters == [DEFLATE])

    def __getitem__(self, span: slice) -> np.ndarray:
        """The numbers from `span.start` to `span.stop`.

        Raises:
            Exception: Of any kind, as h5py and zlib raise them, if the file is damaged.
        """
        if not self._direct:
            return self._dataset[span]
        (length,) = self._dataset.chunks
        found = np.empty(span.stop - span.start, self.dtype)
        for at in range(span.start // length * length, span.stop, length):
            skipped, packed = self._dataset.id.read_direct_chunk((at,))
            if skipped:  # a filter, where it would not have helped
                return self._dataset[span]
            first, last = max(span.start, at), min(span.stop, at + length)
            values = self._unpacked(packed, length)
            found[first - span.start : last - span.start] = values[first - at : last - at]
        return found

    def _unpacked(self, packed: bytes, length: int) -> np.ndarray:
        """The values of a chunk."""
        size = length * self.dtype.itemsize
        # What does not compress is stored, with 5 bytes for each 2^14 of it at most.
        most = size + size // 2**11 + SLACK
        content = b"" if len(packed) > most else zlib.decompress(packed, bufsize=size)
        if len(content) != size:
            raise ValueError(f"a chunk of {self._dataset.name} is not of {length:,} values")
        if not self._shuffled:
            return np.frombuffer(content, self.dtype)
        planes = np.frombuffer(content, np.uint8).reshape(self.dtype.itemsize, length)
        return np.ascontiguousarray(planes.T).view(self.dtype)[:, 0]


doors.guard(__name__)
