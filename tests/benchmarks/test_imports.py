"""The benchmarks run rarely, so a moved module or a renamed function must show here."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "benchmarks").rglob("*.py"))
WORKER = re.compile(r"(onnxbuild(?:\.\w+)+):(\w+)")


def names_used(path):
    """(module, name) of each import from onnxbuild, and of each worker that the script names as text."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "onnxbuild":
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from WORKER.findall(node.value)


def names_defined(module):
    """The names at the top level of a module, and the modules of a package. Nothing is imported."""
    place = ROOT / module.replace(".", "/")
    source = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    if not source.is_file():
        return set()
    names = {path.stem for path in place.iterdir()} if place.is_dir() else set()
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_what_a_benchmark_takes_from_onnxbuild_exists(path):
    assert [(module, name) for module, name in names_used(path) if name not in names_defined(module)] == []


def test_the_benchmarks_take_something_from_onnxbuild():
    assert len({use for path in SCRIPTS for use in names_used(path)}) >= 10
