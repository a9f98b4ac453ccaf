"""Where tests keep what takes minutes to make: a store whose environments outlive a run of the tests."""

import os
from pathlib import Path


def kept_between_tests() -> Path:
    """The root of that store."""
    cache_home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache_home / "onnxbuild-tests"
