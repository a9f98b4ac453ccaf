"""The modules and the light tests of each room."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

TESTS = {
    "execute": ("tests/execute",),
    "store": ("tests/store", "tests/execute", "tests/commands/test_gc.py", "tests/commands/test_cache.py"),
    "planning": ("tests/planning", "tests/rules", "tests/execute/test_keys.py", "tests/execute/test_kept_keys.py"),
    "receipts": ("tests/receipts", "tests/commands/test_receipts.py", "tests/commands/test_run.py"),
    "deliver": ("tests/deliver", "tests/commands/test_run.py", "tests/commands/test_receipts.py", "tests/execute"),
    "runners": (
        "tests/runners", "tests/execute", "tests/planning/test_toolchains.py", "tests/planning/test_interpreters.py",
    ),
    "manifest": ("tests/manifest", "tests/rules"),
    "workers": ("tests/workers", "tests/execute/test_workers.py", "tests/runners"),
}  # fmt: skip
# Of the workers, only what needs no framework.
LIGHT_WORKERS = ("failures", "libraries", "folders")


class Room:
    """The modules of one room, or only those with these names, and the tests that may notice their mutants."""

    def __init__(self, root: Path, name: str, only: Sequence[str] = ()) -> None:
        self.name = name
        package = root / "onnxbuild"
        folders = [f"workers/{part}" for part in LIGHT_WORKERS] if name == "workers" else [name]
        found = [path for folder in folders for path in sorted((package / folder).rglob("*.py"))]
        if name == "workers":
            found += sorted((package / "workers").glob("*.py"))
        self.paths = [str(path.relative_to(root)) for path in found if not only or path.stem in only]
        self.tests: Sequence[str] = [path for path in TESTS[name] if (root / path).exists()]
