"""A folder on another machine, through fsspec: whole objects read and written, each with a limit to our patience.

fsspec and its backends are imported on first use: 60 to 240 ms of CPU that only who asks a remote store pays.
Credentials come from where each backend usually finds them; what an address itself carries is shown nowhere.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct

T = TypeVar("T")

# Until the first byte of an answer; for more bytes, what a line of this speed takes. Below that, building is faster.
PATIENCE_SECONDS = 10.0
_SLOWEST_BYTES_A_SECOND = 500_000

# A part of a large object: small enough that a stalled one is noticed soon, large enough that requests do not count.
PART_BYTES = 8 << 20

# Where a put shows the whole object or nothing. Elsewhere a temporary name is written and renamed.
_PUTS_WHOLE = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "memory"})

_WEBDAV = {"webdav": "http", "dav": "http", "webdavs": "https", "davs": "https"}


class Unusable(Exception):  # noqa: N818 - a state of the remote store, which a run answers by building locally
    """The remote store cannot be used; the text says why, without secrets."""


class Address(Struct, frozen=True):
    """Where a remote store is. `shown` has neither user nor password: it is what is told and written down."""

    url: str
    scheme: str
    shown: str
    secrets: tuple[str, ...] = ()


def address_of(text: str, base: Path) -> Address:
    """The address that a person wrote; a plain path is a folder, relative to `base`."""
    if "://" not in text:
        path = (base / os.path.expanduser(text)).absolute()
        return Address(f"file://{path}", "file", str(path))
    from urllib.parse import unquote, urlsplit, urlunsplit

    parts = urlsplit(text)
    _, _, host = parts.netloc.rpartition("@")
    secrets = tuple({one for one in (parts.password, unquote(parts.password or "")) if one})
    return Address(text.rstrip("/"), parts.scheme, urlunsplit((parts.scheme, host, parts.path, "", "")), secrets)


class Backend:
    """Objects below an address, by name. Every method raises `Unusable` for all but an object that is not there."""

    def __init__(self, address: Address, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self.address, self._patience = address, patience_seconds
        self._opening = threading.Lock()
        self._fs: Any = None
        self._root = ""

    def close(self) -> None:
        """Close connections, where the backend leaves that to us."""
        with contextlib.suppress(Exception):
            if self._fs is not None and self.address.scheme in _WEBDAV:
                self._fs.client.http.close()

    def read(self, name: str) -> bytes | None:
        """A small object, or None where there is none."""
        return self._ask(name, 0, lambda fs, path: fs.cat_file(path))

    def read_part(self, name: str, start: int, end: int) -> bytes | None:
        """The bytes of an object from `start` up to `end`, fewer where it is shorter; None where there is none."""
        return self._ask(name, end - start, lambda fs, path: fs.cat_file(path, start=start, end=end))

    def size(self, name: str) -> int | None:
        """The size of an object in bytes, or None where there is none."""
        found = self._ask(name, 0, lambda fs, path: fs.info(path))
        return None if found is None or found.get("type") == "directory" else int(found["size"] or 0)

    def write(self, name: str, data: bytes) -> None:
        """Write a small object: whole or not at all."""
        self._put(name, len(data), lambda fs, path: fs.pipe_file(path, data))

    def upload(self, name: str, file: Path) -> None:
        """Write a file: whole or not at all."""
        extra = {"chunksize": PART_BYTES} if self.address.scheme in {"s3", "s3a"} else {}
        self._put(name, file.stat().st_size, lambda fs, path: fs.put_file(str(file), path, **extra))

    def _put(self, name: str, size: int, put: Callable[[Any, str], Any]) -> None:
        if self.address.scheme in _PUTS_WHOLE:
            self._ask(name, size, put, missing_is_none=False)
            return

        is_webdav = self.address.scheme in _WEBDAV

        def put_and_rename(fs: Any, path: str) -> None:
            fs.makedirs(fs._parent(path), exist_ok=True)  # noqa: SLF001 - fsspec's documented helper has no other name
            temporary = f"{path}.{uuid.uuid4().hex[:12]}.part"
            try:
                put(fs, temporary)
                # fsspec's own move for WebDAV copies and deletes; the protocol's is one step.
                fs.client.move(temporary, path, overwrite=True) if is_webdav else fs.mv(temporary, path)
            except BaseException:
                with contextlib.suppress(Exception):
                    fs.rm_file(temporary)
                raise

        self._ask(name, size, put_and_rename, missing_is_none=False)

    def _ask(
        self, name: str, size: int, function: Callable[[Any, str], T], *, missing_is_none: bool = True
    ) -> T | None:
        limit = self._patience + size / _SLOWEST_BYTES_A_SECOND
        try:
            return _within(limit, lambda: function(*self._place(name)))
        except FileNotFoundError as error:
            if missing_is_none and not _no_such_bucket(error):
                return None
            raise Unusable(self._reason(error)) from error
        except TimeoutError as error:
            raise Unusable(f"no answer within {limit:.0f} seconds") from error
        except Exception as error:  # each backend has errors of its own, and every one means: build locally
            raise Unusable(self._reason(error)) from error

    def _place(self, name: str) -> tuple[Any, str]:
        """The file system, and the path of an object on it."""
        with self._opening:
            if self._fs is None:
                import fsspec

                scheme = self.address.scheme
                protocol, options = _options(self.address, self._patience)
                filesystem = fsspec.filesystem(protocol, skip_instance_cache=True, **options)
                if scheme in {"s3", "s3a"}:
                    filesystem.retries = 2  # five, its default, outlast our patience
                self._root = _root(filesystem, self.address)
                self._fs = filesystem
            return self._fs, f"{self._root}/{name}"

    def _reason(self, error: BaseException) -> str:
        for secret in self.address.secrets:
            error = Exception(str(error).replace(secret, "***")) if secret in str(error) else error
        return reason_in_words(error, self.address.scheme)


def reason_in_words(error: BaseException, scheme: str) -> str:
    """Why a backend could not do something, in a line."""
    if isinstance(error, ImportError):
        return f"`{scheme}:` needs `pip install onnxbuild[remote]` ({_first_line(error)})"
    if isinstance(error, PermissionError):
        return f"access denied ({_first_line(error)})"
    if isinstance(error, FileNotFoundError):
        return f"there is no such place ({_first_line(error)})"
    if isinstance(error, NotImplementedError):
        return f"`{scheme}:` can only be read"
    return _first_line(error)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _no_such_bucket(error: BaseException) -> bool:
    """S3 has one exception for an object and for a whole bucket that is not there; its cause tells them apart."""
    response = getattr(error.__cause__, "response", None)
    return isinstance(response, Mapping) and response.get("Error", {}).get("Code") == "NoSuchBucket"


def _options(address: Address, patience: float) -> tuple[str, Mapping[str, Any]]:
    """The protocol as fsspec calls it, and what its backend has to be told."""
    if address.scheme in {"s3", "s3a"}:
        waits = {"connect_timeout": patience / 2, "read_timeout": patience}
        config = {**waits, "retries": {"max_attempts": 2, "mode": "standard"}, "max_pool_connections": 32}
        return "s3", {"config_kwargs": config, "use_listings_cache": False}
    if address.scheme in _WEBDAV:
        from urllib.parse import unquote, urlsplit, urlunsplit

        parts = urlsplit(address.url)
        _, _, host = parts.netloc.rpartition("@")
        user = (unquote(parts.username or ""), unquote(parts.password or "")) if parts.username else _netrc(host)
        # The whole path counts from the host: below a base that is not there yet no folder can be made.
        base = urlunsplit((_WEBDAV[address.scheme], host, "", "", ""))
        return "webdav", {"base_url": base, "auth": user, "timeout": patience}
    return address.scheme, {}


def _root(filesystem: Any, address: Address) -> str:
    if address.scheme in _WEBDAV:
        from urllib.parse import unquote, urlsplit

        return unquote(urlsplit(address.url).path).rstrip("/")
    root: str = filesystem._strip_protocol(address.url)  # noqa: SLF001 - what fsspec's own modules call from outside
    return root.rstrip("/")


def _netrc(host: str) -> tuple[str, str] | None:
    import netrc

    try:
        found = netrc.netrc().authenticators(host.partition(":")[0])
    except (OSError, netrc.NetrcParseError):
        return None
    return (found[0], found[2] or "") if found else None


def _within(seconds: float, function: Callable[[], T]) -> T:
    """The result of a function, if it comes in time.

    A thread of its own does the work, and is left behind when it hangs: no backend's own limits cover everything (a
    name server, a network file system), and a thread of a pool would hold up the end of the process.

    Errors: TimeoutError, and whatever the function raises.
    """
    result: list[T] = []
    raised: list[BaseException] = []

    def work() -> None:
        try:
            result.append(function())
        except BaseException as error:  # noqa: BLE001 - passed on to the thread that waits
            raised.append(error)

    began = time.monotonic()
    thread = threading.Thread(target=work, daemon=True, name="remote")
    thread.start()
    thread.join(seconds)
    if raised:
        raise raised[0]
    if not result:
        raise TimeoutError(f"nothing within {time.monotonic() - began:.1f} seconds")
    return result[0]
