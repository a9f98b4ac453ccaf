"""`make mutants` tells the mutants that a test notices from those that none does, wherever the changed code runs."""

import os
import subprocess

import pytest

if not hasattr(os, "fork"):
    pytest.skip("a mutant runs in a forked process", allow_module_level=True)

from mutants import session
from mutants.copies import Copy
from mutants.mutant import Mutant
from mutants.patching import changed, is_function
from mutants.trials import Bench, profiled

CODE = """\
import functools

def counted(text):
    return len(text) + 1

def with_default(number=2):
    return number

@functools.cache
def cached():
    return 3

class Shape:
    @property
    def corners(self):
        return 4

def at_import():
    return 5

FIVE = at_import()

def unwatched():
    return 6

def counts_down(count):
    while count > 0:
        count -= 1

def in_a_child():
    return 7

def called_and_not_checked():
    return 8

def main():
    import sys
    sys.exit(9)

if __name__ == "__main__":
    main()
"""

TESTS = """\
import subprocess, sys
import pytest
from onnxbuild import toy

def test_counted(): assert toy.counted("ab") == 3
def test_default(): assert toy.with_default() == 2
def test_cached(): assert toy.cached() == 3
def test_property(): assert toy.Shape().corners == 4
def test_table(): assert toy.FIVE == 5
def test_ends(): toy.counts_down(1)
def test_unchecked(): toy.called_and_not_checked()
def test_that_fails(): assert toy.counted("") == 0
def test_child():
    assert subprocess.run([sys.executable, "-c", "from onnxbuild import toy; print(toy.in_a_child())"],
                          capture_output=True, text=True).stdout == "7\\n"
def test_script(): assert subprocess.run([sys.executable, "-I", "-S", toy.__file__]).returncode == 9
"""


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    root = tmp_path_factory.mktemp("toy")
    (root / "onnxbuild").mkdir()
    (root / "onnxbuild" / "__init__.py").touch()
    (root / "onnxbuild" / "toy.py").write_text(CODE)
    (root / "test_toy.py").write_text(TESTS)
    subprocess.run(["git", "init", "-q", root], check=True)
    copy = Copy(root, tmp_path_factory.mktemp("copies") / "0")
    bench = Bench(copy, ["test_toy.py"], profiled(copy, ["test_toy.py"]))
    yield bench
    bench.close()


def mutant(old, new):
    assert CODE.count(old) == 1
    return Mutant("onnxbuild/toy.py", 1, CODE.replace(old, new), CODE)


@pytest.mark.parametrize(
    ("old", "new", "outcome", "test"),
    [
        ("len(text) + 1", "len(text) - 1", "noticed", "test_counted"),
        ("number=2", "number=3", "noticed", "test_default"),
        ("return 3", "return 4", "noticed", "test_cached"),
        ("return 4", "return 5", "noticed", "test_property"),
        ("return 5", "return 6", "noticed", "test_table"),
        ("return 7", "return 8", "noticed", "test_child"),
        ("sys.exit(9)", "sys.exit(8)", "noticed", "test_script"),
        ("return 8", "return 9", "survived", "test_unchecked"),
        ("return 6", "return 7", "survived", ""),
    ],
)
def test_a_mutant_is_noticed_by_a_test_that_calls_it(bench, old, new, outcome, test):
    verdict = bench.tried(mutant(old, new))
    assert (verdict.outcome, verdict.test.rpartition("::")[2]) == (outcome, test)


def test_a_mutant_that_hangs_is_ended(bench, monkeypatch):
    monkeypatch.setattr(session, "PATIENCE", 0.5)
    verdict = bench.tried(mutant("count -= 1", "count -= 0"))
    assert (verdict.outcome, verdict.test) == ("timed out", "test_toy.py::test_ends")


def test_a_mutant_that_ends_the_process_is_noticed_and_the_next_one_is_tried(bench):
    ends = "import os; os.kill(os.getppid(), 9); os.kill(os.getpid(), 9)"
    assert bench.tried(mutant("return len(text) + 1", ends)).outcome == "noticed"
    assert bench.tried(mutant("return 8", "return 9")).outcome == "survived"


def test_a_fault_of_the_harness_is_no_verdict(bench):
    with pytest.raises(RuntimeError, match="KeyError"):
        bench._session.first_failure(["no such test"], None, bench.profile)


def test_a_test_that_fails_without_a_mutant_is_left_out(bench):
    assert bench.profile.failing == ("test_toy.py::test_that_fails",)


def test_after_a_mutant_the_copy_is_as_before(bench):
    bench.tried(mutant("return 8", "return 9"))
    assert (bench.copy.place / "onnxbuild" / "toy.py").read_text() == CODE


@pytest.mark.parametrize(
    ("old", "new", "name", "patchable"),
    [
        ("return 3", "return 4", "cached", True),
        ("number=2", "number=3", "<module>", False),
        ("def corners", "def edges", "Shape", False),
    ],
)
def test_what_differs_is_the_innermost_code(old, new, name, patchable):
    assert [(code.co_name, is_function(code)) for code in changed(CODE, mutant(old, new).text)] == [(name, patchable)]
