"""Where tests keep what takes minutes to make: a store whose environments outlive a run of the tests."""

from pathlib import Path

import platformdirs


def kept_between_tests() -> Path:
    """The root of that store, with its folder of environments. The first test that needs an environment makes it."""
    root = platformdirs.user_cache_path("onnxbuild-tests", appauthor=False)
    (root / "toolchains").mkdir(parents=True, exist_ok=True)
    return root
