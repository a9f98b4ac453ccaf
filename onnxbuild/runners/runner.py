"""The protocol of runners: how actions reach the place where they run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Protocol

from onnxbuild.protocol import Failure, Progress, Request, Response

Tell = Callable[[Progress], None]


class Runner(Protocol):
    """Where actions run: tells what is installed there, and takes requests."""

    def packages(self, toolchain: str, names: tuple[str, ...]) -> Mapping[str, str]:
        """The installed version of each named distribution; "absent" for one that is not installed."""

    def identity(self, toolchain: str) -> Mapping[str, str]:
        """What else of the toolchain belongs to a key: the interpreter."""

    def submit(self, toolchain: str, request: Request, tell: Tell) -> Future[Response]:
        """Run a request; the future always ends with a response, a failed one where the worker died."""

    def cancel(self, request_id: str, why: Failure) -> None:
        """End the worker that runs this request; its future ends with `why`."""

    def close(self) -> None:
        """End all workers, and leave none behind."""
