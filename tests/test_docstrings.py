"""Every public name has a docstring: a module, a class, a function, a method, and a special method that says something.

ruff's rules D1 cover most of this; they leave out special methods and whatever a `noqa` excuses.
"""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "onnxbuild"

# Special methods that mean the same in every class.
SAME_EVERYWHERE = {
    "__init__", "__enter__", "__exit__", "__str__", "__repr__", "__eq__", "__hash__", "__lt__", "__post_init__",
    "__getattr__",
}  # fmt: skip


def undocumented(node, name):
    """The public names without a docstring in a module or class, with the name of the node itself if it has none."""
    if not (ast.get_docstring(node) or "").strip():
        yield name
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return  # what is inside a function is not an interface
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and is_public(child):
            yield from undocumented(child, f"{name}.{child.name}")


def is_public(node):
    if node.name.startswith("__") and node.name.endswith("__"):
        return node.name not in SAME_EVERYWHERE
    decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
    return not node.name.startswith("_") and not decorators & {"overload", "typing.overload"}


def test_every_public_name_has_a_docstring():
    missing = [
        name
        for path in sorted(PACKAGE.rglob("*.py"))
        for name in undocumented(
            ast.parse(path.read_text(encoding="utf-8")), path.relative_to(PACKAGE.parent).as_posix()
        )
    ]
    assert missing == []


def test_a_name_without_a_docstring_is_found():
    code = (
        '"""Has one."""\n'
        "class Seen:\n    def __call__(self): ...\n    def __init__(self): ...\n    def _own(self): ...\n"
        'def said():\n    """Yes."""\n    def inside(): ...\n'
        "class _Own:\n    def run(self): ...\n"
    )
    assert list(undocumented(ast.parse(code), "m")) == ["m.Seen", "m.Seen.__call__"]
