"""Try mutants: run the tests that call the changed functions, the fastest first, until one fails."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

from mutants.copies import Copy
from mutants.mutant import Mutant
from mutants.patching import changed, is_function
from mutants.session import Profile, Session

NOTICED, SURVIVED, TIMED_OUT, KNOWN = "noticed", "survived", "timed out", "equivalent"
_OUTCOMES = {"passed": SURVIVED, "failed": NOTICED, "timed out": TIMED_OUT}


@dataclass(frozen=True)
class Verdict:
    """What became of one mutant, after how many seconds, and by which test."""

    mutant: Mutant
    outcome: str
    seconds: float = 0
    test: str = ""


def profiled(copy: Copy, tests: Sequence[str]) -> Profile:
    """What each test calls and how long it takes, without a mutant."""
    with copy.recorded(), Session(copy, tests) as session:
        if not session.tests:
            raise SystemExit(session.log.read_text(encoding="utf-8", errors="replace")[-6000:])
        return session.profile(copy.calls)


class Bench:
    """Where one mutant after another is tried: a copy, and the session of its tests."""

    def __init__(self, copy: Copy, tests: Sequence[str], profile: Profile) -> None:
        self.copy, self._tests, self.profile = copy, tests, profile
        self._session: Session | None = None

    def close(self) -> None:
        """End the session; the next mutant starts another one."""
        if self._session:
            self._session.close()
        self._session = None

    def tried(self, mutant: Mutant) -> Verdict:
        """Write a mutant into the copy, for the processes that the tests start, and run the tests on it."""
        began = time.monotonic()
        self._session = self._session or Session(self.copy, self._tests)
        with self.copy.changed(mutant.path, mutant.text):
            try:
                outcome, test = self._judged(mutant)
            except EOFError:  # the mutant ended the session
                self.close()
                outcome, test = "failed", ""
        return Verdict(mutant, _OUTCOMES[outcome], time.monotonic() - began, test)

    def _judged(self, mutant: Mutant) -> tuple[str, str]:
        codes = changed(mutant.original, mutant.text)
        module = mutant.path.removeprefix(f"onnxbuild{os.sep}")
        functions = frozenset(f"{module}:{code.co_firstlineno}:{code.co_name}" for code in codes)
        if functions & self.profile.at_import:
            return self._in_fresh_session(sorted(self.profile.seconds, key=self.profile.seconds.__getitem__))
        if all(is_function(code) for code in codes):
            patch = (str(self.copy.place / mutant.path), mutant.original, mutant.text)
            outcome, test = self._session.first_failure(self.profile.calling(functions), patch, self.profile)
            if outcome != "unpatched":
                return outcome, test
        return self._in_fresh_session(self.profile.calling_any_of(module))

    def _in_fresh_session(self, tests: Sequence[str]) -> tuple[str, str]:
        """For a mutant that shows while its module is imported, such as a default value."""
        with Session(self.copy, sorted({test.partition("::")[0] for test in tests})) as session:
            if not set(tests) <= set(session.tests):
                return "failed", "collecting the tests"
            return session.first_failure(tests, None, self.profile)
