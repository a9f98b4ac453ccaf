"""What a server is started with: models, limits, addresses."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct


class ServedFolder(Struct, frozen=True):
    """A delivered folder and the names that requests may use for it, the full one first."""

    folder: Path
    names: tuple[str, ...]


class Limits(Struct, frozen=True, kw_only=True):
    """Bounds on what one request, one batch and the whole server may take. Times are in seconds."""

    batch: int = 32  # items that run together
    wait: float = 0.002  # how long an idle process waits for more items
    queue: int = 1024  # items of a model that wait; more are refused
    items: int = 256  # of one request
    body: int = 8 << 20  # bytes of one request
    tokens: int = 1024  # that one completion may have
    sequences: int = 8  # that one process continues at the same time
    timeout: float = 60.0  # until a request is given up
    drain: float = 30.0  # how long requests in flight may take after SIGTERM


class Tls(Struct, frozen=True):
    """Paths of a certificate with its chain, and of its private key, both in PEM."""

    certificate: str
    key: str


class ServerOptions(Struct, frozen=True, kw_only=True):
    """How a server runs. `threads`: of each session; None is what `tune` recorded, or ONNX Runtime's default."""

    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1  # processes of each model
    threads: int | None = None
    reload: float = 1.0  # seconds between looks at the folders; 0 never looks
    access_log: bool = True
    keys: tuple[str, ...] = ()
    tls: Tls | None = None
    limits: Limits = Limits()
