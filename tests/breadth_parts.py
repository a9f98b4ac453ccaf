"""Lets a test module import the parts of the benchmark of breadth, which is a folder of scripts: import `parts`."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def parts() -> Iterator[None]:
    """Its folders are on the path while the tests of a module run."""
    sys.path[:0] = added = [str(BENCHMARKS), str(BENCHMARKS / "breadth")]
    yield
    for path in added:
        sys.path.remove(path)
