"""Where tests keep what takes minutes to make: a store whose environments outlive a run of the tests."""

import os
from pathlib import Path


def kept_between_tests() -> Path:
    """The root of that store, with the folder of its environments: the first test that asks makes them."""
    cache_home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    root = cache_home / "onnxbuild-tests"
    (root / "toolchains").mkdir(parents=True, exist_ok=True)
    return root
