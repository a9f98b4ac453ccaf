"""One pytest process that has collected the tests of a copy, and runs some of them on request."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from mutants.copies import Copy

TRUST = Path(__file__).parents[1]
TO_COLLECT = 600.0  # seconds
PATIENCE = 20.0  # seconds that any test may take


@dataclass(frozen=True)
class Profile:
    """What the tests do without a mutant."""

    seconds: dict[str, float]  # of each test that passes
    calls: dict[str, frozenset[str]]
    at_import: frozenset[str]
    failing: tuple[str, ...]

    def limit(self, test: str) -> float:
        """The seconds after which a test hangs."""
        return PATIENCE + 5 * self.seconds[test]

    def calling(self, functions: frozenset[str]) -> list[str]:
        """The tests that call one of these functions, the fastest first."""
        return sorted((one for one in self.seconds if self.calls[one] & functions), key=self.seconds.__getitem__)

    def calling_any_of(self, module: str) -> list[str]:
        """The tests that call anything in a module, such as `store/content.py`, the fastest first."""
        called = frozenset[str]().union(*self.calls.values())
        return self.calling(frozenset(one for one in called if one.startswith(f"{module}:")))


class Session:
    """A pytest process, which forks for each request."""

    def __init__(self, copy: Copy, tests: Sequence[str]) -> None:
        requests, self._requests = os.pipe()
        self._events, events = os.pipe()
        environment = {
            **os.environ, "PYTHONPATH": f"{copy.place}{os.pathsep}{TRUST}",
            "MUTANTS_REQUESTS": str(requests), "MUTANTS_EVENTS": str(events),
        }  # fmt: skip
        command = [sys.executable, "-m", "pytest", "-q", "-m", "not heavy", "-p", "mutants.forked_tests",
                   "-p", "no:cacheprovider", "-p", "no:xdist", f"--basetemp={copy.place}-tmp", *tests]  # fmt: skip
        self.log = copy.place.with_name(f"{copy.place.name}-pytest.log")
        with open(self.log, "wb") as log:
            self._process = subprocess.Popen(
                command, cwd=copy.place, env=environment, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True, pass_fds=(requests, events),
            )  # fmt: skip
        os.close(requests)
        os.close(events)
        self._unread = b""
        self.tests = self._collected()

    def _collected(self) -> list[str]:
        """The tests, in their order: none if a module cannot be imported, or its import hangs."""
        try:
            event = self._event(time.monotonic() + TO_COLLECT)
        except EOFError:
            return []
        return event[1] if event else []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        os.close(self._requests)
        os.close(self._events)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def profile(self, calls: Path) -> Profile:
        """Run every test once, and note how long it takes and what it calls. The copy must be `recorded`."""
        at_import = frozenset(calls.read_text(encoding="utf-8").splitlines())
        seconds, called, failing, name = {}, {}, [], ""
        for kind, *values in self._answer({"tests": self.tests, "mutant": None, "log": str(calls)}):
            if kind == "starts":
                name = values[0]
            if kind == "ended" and values[0]:
                failing.append(name)
            elif kind == "ended":
                seconds[name], called[name] = values[1], frozenset(values[2])
        return Profile(seconds, called, at_import, tuple(failing))

    def first_failure(self, tests: Sequence[str], mutant: Any, profile: Profile) -> tuple[str, str]:
        """What became of a mutant, and the test that decided: `passed`, `failed`, `timed out` or `unpatched`."""
        outcome, name = "failed", ""
        for kind, *values in self._answer({"tests": tests, "mutant": mutant, "log": None}, profile):
            if kind == "starts":
                name = values[0]
            elif kind in {"passed", "unpatched", "timed out"}:
                outcome = kind
        return outcome, name

    def _answer(self, request: dict[str, Any], profile: Profile | None = None) -> Iterator[list[Any]]:
        """The events of one request. A test that hangs ends with the event `timed out`."""
        os.write(self._requests, (json.dumps(request) + "\n").encode())
        deadline, forked = float("inf"), 0
        while (event := self._event(deadline)) != ["over"]:
            if event is None:
                event, deadline = ["timed out"], float("inf")
                os.killpg(forked, signal.SIGKILL)
            elif event[0] == "forked":
                forked = event[1]
            elif event[0] == "broken":
                raise RuntimeError(event[1])
            elif event[0] == "starts" and profile:
                deadline = time.monotonic() + profile.limit(event[1])
            yield event

    def _event(self, deadline: float) -> list[Any] | None:
        """The next event, or None at the deadline. EOFError if the process has ended."""
        while b"\n" not in self._unread:
            left = min(max(deadline - time.monotonic(), 0), 1e6)
            if not select.select([self._events], [], [], left)[0]:
                return None
            if not (data := os.read(self._events, 1 << 20)):
                raise EOFError
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        event: list[Any] = json.loads(line)
        return event
