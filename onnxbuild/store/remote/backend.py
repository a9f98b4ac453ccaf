"""A folder on another machine, through fsspec: reads and writes whole objects, each within a time limit.

fsspec and its backends are imported on first use: they cost 60 to 240 ms of CPU, which only a run that asks a remote
store pays. Each backend finds its credentials where it usually does; those in an address are never shown.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from onnxbuild.regular_files import NotRegular
from onnxbuild.store.remote.address import S3, WEBDAV, Address, fsspec_options, root_on
from onnxbuild.store.remote.bounded_reads import read_range, size_of
from onnxbuild.store.remote.remote_errors import DamagedObject, RemoteUnusable

T = TypeVar("T")

# How long to wait for an answer, and the speed below which building is faster than a transfer.
PATIENCE_SECONDS = 10.0
_SLOWEST_BYTES_PER_SECOND = 500_000

# A part of a large object: small enough to notice soon that it stalls, large enough to make the requests negligible.
PART_BYTES = 8 << 20

# The schemes whose writes are atomic. For the others, a temporary name is written and renamed.
_ATOMIC_WRITES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "memory"})


_ALWAYS_WORK = "use S3 (`s3://`), WebDAV (`webdavs://`) or a folder"


class Backend:
    """Objects below an address, by name. No method reads more than it is asked for.

    Errors of every method: RemoteUnusable for any error but a missing object; DamagedObject for a name that has
    something else than a file.
    """

    def __init__(self, address: Address, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self.address, self._patience = address, patience_seconds
        self._opening = threading.Lock()
        self._fs: Any = None
        self._root = ""

    def close(self) -> None:
        """Close connections, for backends that leave this to their user."""
        with contextlib.suppress(Exception):
            if self._fs is not None and self.address.scheme in WEBDAV:
                self._fs.client.http.close()

    def read(self, name: str, most_bytes: int) -> bytes | None:
        """The first `most_bytes` of an object, or None if it does not exist."""
        return self._ask(name, 0, lambda fs, path: self._read(fs, path, None, most_bytes))

    def read_part(self, name: str, start: int, end: int) -> bytes | None:
        """The bytes of an object from `start` up to `end`, fewer if it is shorter; None if it does not exist."""
        return self._ask(name, end - start, lambda fs, path: self._read(fs, path, start, end - start))

    def _read(self, filesystem: Any, path: str, start: int | None, size: int) -> bytes:
        return read_range(filesystem, self.address.scheme, path, start, size, self._seconds_for(size))

    def size(self, name: str) -> int | None:
        """The size of an object in bytes, or None if it does not exist."""
        return self._ask(name, 0, lambda fs, path: size_of(fs, self.address.scheme, path))

    def write(self, name: str, data: bytes) -> None:
        """Write a small object atomically."""
        self._put(name, len(data), lambda fs, path: fs.pipe_file(path, data))

    def upload(self, name: str, file: Path) -> None:
        """Write a file atomically."""
        extra = {"chunksize": PART_BYTES} if self.address.scheme in S3 else {}
        self._put(name, file.stat().st_size, lambda fs, path: fs.put_file(str(file), path, **extra))

    def _put(self, name: str, size: int, put: Callable[[Any, str], Any]) -> None:
        if self.address.scheme in _ATOMIC_WRITES:
            self._ask(name, size, put, missing_is_none=False)
            return

        is_webdav = self.address.scheme in WEBDAV

        def put_and_rename(fs: Any, path: str) -> None:
            fs.makedirs(fs._parent(path), exist_ok=True)  # noqa: SLF001 - fsspec's documented helper has no other name
            temporary = f"{path}.{uuid.uuid4().hex[:12]}.part"
            try:
                put(fs, temporary)
                # fsspec implements a move for WebDAV as copy and delete; the move of the protocol is one step.
                fs.client.move(temporary, path, overwrite=True) if is_webdav else fs.mv(temporary, path)
            except BaseException:
                with contextlib.suppress(Exception):
                    fs.rm_file(temporary)
                raise

        self._ask(name, size, put_and_rename, missing_is_none=False)

    def _ask(
        self, name: str, size: int, function: Callable[[Any, str], T], *, missing_is_none: bool = True
    ) -> T | None:
        limit = self._seconds_for(size)
        try:
            return _within(limit, lambda: function(*self._place(name)))
        except NotRegular as error:
            raise DamagedObject(name, f"it {error.strerror}") from None
        except FileNotFoundError as error:
            if missing_is_none and not _no_such_bucket(error):
                return None
            raise RemoteUnusable(self._reason(error)) from error
        except TimeoutError as error:
            raise RemoteUnusable(f"no answer within {limit:.0f} seconds") from error
        except Exception as error:  # each backend raises different errors, and each of them means: build locally
            raise RemoteUnusable(self._reason(error)) from error

    def _seconds_for(self, size: int) -> float:
        return self._patience + size / _SLOWEST_BYTES_PER_SECOND

    def _place(self, name: str) -> tuple[Any, str]:
        """The file system, and the path of an object on it."""
        with self._opening:
            if self._fs is None:
                import fsspec

                protocol, options = fsspec_options(self.address, self._patience)
                if self.address.scheme not in S3 | WEBDAV.keys():
                    options = _from_url(fsspec.get_filesystem_class(protocol), self.address)
                filesystem = fsspec.filesystem(protocol, skip_instance_cache=True, **options)
                if self.address.scheme in S3:
                    filesystem.retries = 2  # the default of five takes longer than our limit
                self._root = root_on(filesystem, self.address)
                self._fs = filesystem
            return self._fs, f"{self._root}/{name}"

    def _reason(self, error: BaseException) -> str:
        reason = backend_error_in_words(error, self.address.scheme)
        for secret in self.address.secrets:
            reason = reason.replace(secret, "***")
        return reason


def _from_url(kind: Any, address: Address) -> Mapping[str, Any]:
    """What an address says about the server, as options of its backend. Errors: ValueError if that is not enough.

    This is checked before the backend is made: some print a traceback when half of one is collected as garbage.
    """
    import inspect

    options: Mapping[str, Any] = kind._get_kwargs_from_urls(address.url)  # noqa: SLF001 - fsspec's own way
    try:
        inspect.signature(kind.__init__).bind(None, **options)
    except TypeError as error:
        raise ValueError(f"an address is not enough for `{address.scheme}:` ({error}); {_ALWAYS_WORK}") from None
    return options


def backend_error_in_words(error: BaseException, scheme: str) -> str:
    """The reason why a backend failed, on one line."""
    if isinstance(error, ValueError) and str(error).startswith("Protocol not known"):
        return f"fsspec knows no protocol `{scheme}`; {_ALWAYS_WORK}"
    if isinstance(error, ImportError):
        what = "`pip install onnxbuild[remote]`" if scheme in S3 | WEBDAV.keys() else "another package"
        return f"`{scheme}:` needs {what} ({_first_line(error)})"
    if isinstance(error, PermissionError):
        return f"access denied ({_first_line(error)})"
    if isinstance(error, FileNotFoundError):
        return f"it does not exist ({_first_line(error)})"
    if isinstance(error, NotImplementedError):
        return f"`{scheme}:` is read-only"
    return _first_line(error)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _no_such_bucket(error: BaseException) -> bool:
    """Whether a whole bucket is missing: s3fs raises the same exception for it as for an object, with another cause."""
    response = getattr(error.__cause__, "response", None)
    return isinstance(response, Mapping) and response.get("Error", {}).get("Code") == "NoSuchBucket"


def _within(seconds: float, function: Callable[[], T]) -> T:
    """The result of a function, if it returns in time.

    A separate thread does the work and is abandoned if it hangs. The time limits of the backends do not cover
    everything (a name server, a network file system), and a thread of a pool would delay the end of the process.

    Errors: TimeoutError, and whatever the function raises.
    """
    result: list[T] = []
    raised: list[BaseException] = []

    def work() -> None:
        try:
            result.append(function())
        except BaseException as error:  # noqa: BLE001 - raised again in the waiting thread
            raised.append(error)

    began = time.monotonic()
    thread = threading.Thread(target=work, daemon=True, name="remote")
    thread.start()
    thread.join(seconds)
    if raised:
        raise raised[0]
    if not result:
        raise TimeoutError(f"no result within {time.monotonic() - began:.1f} seconds")
    return result[0]
