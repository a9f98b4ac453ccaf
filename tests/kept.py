"""Where tests keep what takes minutes to make: a store whose environments outlive a run of the tests."""

from pathlib import Path

from platformdirs import user_cache_path


def kept_between_tests() -> Path:
    """The root of that store, with the folder of its environments; the first test that needs one creates it."""
    root = user_cache_path("onnxbuild-tests", appauthor=False)
    (root / "toolchains").mkdir(parents=True, exist_ok=True)
    return root
