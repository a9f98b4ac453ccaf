"""The protocol of runners: how the engine sends actions to the place where they run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Protocol

from onnxbuild.protocol import Failure, Progress, Request, Response

Tell = Callable[[Progress], None]


class Runner(Protocol):
    """A place where actions run: it knows what is installed there, and accepts requests."""

    def packages(self, toolchain: str, names: tuple[str, ...]) -> Mapping[str, str]:
        """The installed version of each named distribution; "absent" for one that is not installed."""

    def identity(self, toolchain: str) -> Mapping[str, str]:
        """The other parts of a key that depend on the toolchain: the interpreter."""

    def submit(self, toolchain: str, request: Request, tell: Tell) -> Future[Response]:
        """Run a request. The future always gets a response; if the worker died, the response is a failure."""

    def cancel(self, request_id: str, why: Failure) -> None:
        """Kill the worker that runs this request; the future gets the failure `why`."""

    def close(self) -> None:
        """End all workers and everything that they started."""
