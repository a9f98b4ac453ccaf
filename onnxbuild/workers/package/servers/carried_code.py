"""The code of `onnxbuild serve` in a package: the modules that its app needs, in a package of their own."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path(__file__).parents[3]
_OURS, _THEIRS = "onnxbuild", "served"
_APP = f"{_OURS}.serve.folder_server"
# The modules that become files at the top of the package.
FILES = {"server_app": "app.py", "server_answers": "answers.py", "golden_check": "test_golden.py"}

_IMPORT = re.compile(rf"^(\s*(?:from|import)) {_OURS}\.", re.MULTILINE)
_ANSWERS = re.compile(rf"^from {re.escape(_APP)}\.server_answers import", re.MULTILINE)


def write_code(package: Path) -> None:
    """Write the app, its test, and below `served/` all that they import of onnxbuild."""
    for module, name in FILES.items():
        _write(package / name, _source(f"{_APP}.{module}"))
    for module in sorted(_needed()):
        _write(package / _THEIRS / _place(module).relative_to(_ROOT), _source(module))
    for folder in [path for path in (package / _THEIRS).rglob("*") if path.is_dir()] + [package / _THEIRS]:
        if not (folder / "__init__.py").exists():
            _write(folder / "__init__.py", '"""Code of `onnxbuild serve`."""\n')


def _needed() -> set[str]:
    """The modules of onnxbuild that the app imports, directly or not, without those that become other files."""
    found: set[str] = set()
    waiting = [name for module in FILES for name in _imported(f"{_APP}.{module}")]
    while waiting:
        module = waiting.pop()
        if module not in found and not module.startswith(_APP):
            found.add(module)
            waiting += _imported(module)
    return found


def _imported(module: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(_place(module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.startswith(f"{_OURS}."):
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from [name for name in inner if _place(name).is_file()] or [node.module]


def _place(module: str) -> Path:
    path = _ROOT.parent / Path(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_name(f"{path.name}.py")


def _source(module: str) -> str:
    text = _ANSWERS.sub("from answers import", _place(module).read_text(encoding="utf-8"))
    return _IMPORT.sub(rf"\1 {_THEIRS}.", text)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
