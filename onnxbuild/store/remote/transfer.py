"""Fetching the files of a parcel: in parts, several at once, each file checked against its digest."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from onnxbuild.digest import digest_file
from onnxbuild.store.content import File
from onnxbuild.store.remote.backend import PART_BYTES, Backend
from onnxbuild.store.remote.parcel import blob_name
from onnxbuild.store.remote.remote_errors import DamagedObject

# More gain little on one connection, and each holds a part in memory.
REQUESTS_AT_ONCE = 8

Tell = Callable[[float, float], None]  # bytes transferred, bytes in total


class Transfer:
    """The parts of several files, fetched in parallel. `places`: the local file for each digest."""

    def __init__(self, backend: Backend, places: Mapping[str, Path], total: int, tell: Tell) -> None:
        self._backend, self._places, self._total, self._tell = backend, places, total, tell
        self._done = 0
        self._lock = threading.Lock()
        self._failed = False

    def run(self, files: Iterable[File]) -> None:
        """Fetch every part. Errors: RemoteUnusable, DamagedObject, OSError of the local disk."""
        files = list(files)
        with ThreadPoolExecutor(REQUESTS_AT_ONCE, thread_name_prefix="fetch") as pool:
            # A trace can claim any size. The parts are counted only once the object is known to have it.
            list(pool.map(self._check_size, [file for file in files if file.size > PART_BYTES]))
            parts = [(file, start) for file in files for start in range(0, file.size, PART_BYTES)]
            for file in files:
                self._places[file.digest].touch()
            list(pool.map(self._part, parts))

    def _check_size(self, file: File) -> None:
        if self._backend.size(blob_name(file.digest)) != file.size:
            raise DamagedObject(blob_name(file.digest), "it is missing or cut short")

    def _part(self, part: tuple[File, int]) -> None:
        if self._failed:
            return  # one failure ends the transfer: the other parts are useless without this one
        file, start = part
        end = min(start + PART_BYTES, file.size)
        try:
            data = self._read(file, start, end)
            with open(self._places[file.digest], "r+b") as target:
                target.seek(start)
                target.write(data)
            self._report(len(data))
        except BaseException:
            self._failed = True
            raise

    def _read(self, file: File, start: int, end: int) -> bytes:
        data = self._backend.read_part(blob_name(file.digest), start, end)
        if data is None or len(data) != end - start:
            raise DamagedObject(blob_name(file.digest), "it is missing or cut short")
        return data

    def _report(self, size: int) -> None:
        with self._lock:
            self._done += size
            done = self._done
        self._tell(done, self._total)


def check_file(place: Path, file: File) -> None:
    """Compare a file that has arrived with its digest. Errors: DamagedObject, OSError."""
    if digest_file(place, file.size) != file.digest:
        raise DamagedObject(blob_name(file.digest), "its content does not match its name")
