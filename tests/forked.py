"""Calls in forked children of the test process, also as another user.

Whatever happens in it, such a child ends here. One that went on would run all the tests that are left, a second time.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

as_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root becomes another user")


def started(work: Callable[[], int]) -> Callable[[], int]:
    """Begin work that returns an exit status; the answer waits for the end and returns that status."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of other tests are idle
        child = os.fork()
    if child == 0:
        code = 1
        try:
            code = work()
        finally:
            os._exit(code)
    return lambda: os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@contextmanager
def open_folder() -> Iterator[Path]:
    """A new folder that every user may enter. The folders of pytest are closed to other users."""
    place = Path(tempfile.mkdtemp())
    try:
        place.chmod(0o755)
        closed = [path for path in (place, *place.parents) if not path.stat().st_mode & 0o001]
        if closed:
            pytest.skip(f"another user may not enter {closed[0]}")
        yield place
    finally:
        shutil.rmtree(place)


class User:
    """Another user: calls run in child processes, one after the other or at once. Needs the rights of root."""

    def __init__(self, uid: int, umask: int = 0o022, *, group: int | None = None) -> None:
        self._uid, self._umask, self._group = uid, umask, group

    def start(self, work: Callable[[], Any]) -> Callable[[], Any]:
        """Begin; the answer waits for the end and returns what the work returned."""
        reader, writer = os.pipe()
        end = started(lambda: os.close(reader) or self._work(work, writer))
        os.close(writer)

        def ended() -> Any:
            with open(reader, encoding="utf-8") as file:
                text = file.read()
            assert end() == 0, text
            return json.loads(text)

        return ended

    def __call__(self, work: Callable[[], Any]) -> Any:
        return self.start(work)()

    def _work(self, work: Callable[[], Any], writer: int) -> int:
        try:
            os.setgroups([] if self._group is None else [self._group])
            os.setgid(self._uid)  # the primary group is the user's own, as on most systems
            os.setuid(self._uid)
            os.umask(self._umask)
            text, code = json.dumps(work()), 0
        except BaseException:
            text, code = traceback.format_exc(), 1
        with open(writer, "w", encoding="utf-8") as file:
            file.write(text)
        return code
