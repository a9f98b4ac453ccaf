"""Where tests keep what takes minutes to make: a store whose environments outlive a run of the tests."""

import shutil
from pathlib import Path

import platformdirs

from onnxbuild.store.marker import MARKER
from onnxbuild.store.store import Store


def kept_between_tests() -> Path:
    """The root of that store. The first test that needs an environment makes it."""
    root = platformdirs.user_cache_path("onnxbuild-tests", appauthor=False)
    if root.exists() and not (root / MARKER).exists():  # of a version whose stores had no marker
        shutil.rmtree(root)
    root.mkdir(parents=True, exist_ok=True)
    Store(root).close()
    return root


def kept_without_results() -> Path:
    """The same store, in which everything but the environments has to be built."""
    root = kept_between_tests()
    shutil.rmtree(root / "blobs", ignore_errors=True)
    for path in root.glob("traces.*"):
        path.unlink()
    return root
