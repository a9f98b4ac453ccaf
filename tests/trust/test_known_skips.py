"""CI fails when a test is skipped that is not on the list."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
LISTED = [line for line in (TESTS / "may_be_skipped.txt").read_text().splitlines() if not line.startswith("#")]


def run(folder: Path, text: str, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "tests").mkdir()
    shutil.copy(TESTS / "conftest.py", folder / "tests")
    (folder / "tests" / "may_be_skipped.txt").write_text("# a list\ntests/test_a.py::test_known*  a reason\n")
    (folder / "tests" / "test_a.py").write_text(text)
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", *options]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


SKIPS = """\
import pytest
def test_known_one(): pytest.skip("it may")
@pytest.mark.xfail
def test_expected(): assert False
def test_passes(): pass
"""


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (SKIPS, 0),
        (SKIPS + "def test_other(): pytest.skip('quietly')\n", 1),
        (SKIPS + "@pytest.mark.skipif(True, reason='quietly')\ndef test_other(): pass\n", 1),
        ("import pytest\npytest.skip('quietly', allow_module_level=True)\n", 1),
        ("import pytest\npytest.importorskip('missing_module')\n", 1),
    ],
    ids=["listed", "in-a-test", "by-a-mark", "module", "import"],
)
def test_a_test_that_is_skipped_unseen_fails_the_run(text: str, code: int, tmp_path: Path) -> None:
    done = run(tmp_path, text, "--known-skips-only")
    assert done.returncode == code, done.stdout + done.stderr
    assert ("SKIPPED, and not in tests/may_be_skipped.txt" in done.stdout) == bool(code)


def test_without_the_option_nothing_changes(tmp_path: Path) -> None:
    assert run(tmp_path, SKIPS + "def test_other(): pytest.skip('quietly')\n").returncode == 0


@pytest.mark.parametrize("line", LISTED)
def test_each_listed_test_has_a_reason(line: str) -> None:
    assert re.fullmatch(r"tests/\S+\.py(::\S+|\*)  \S.*", line)  # a whole module where it cannot be imported
