"""Foreign code of an export: which files it is, and what has to be pinned."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxbuild.diagnostics import Diagnostic, Source, Span
from onnxbuild.manifest.reach import Reach
from onnxbuild.permissions import permissions
from onnxbuild.planning.action_graph import FilesSource
from onnxbuild.planning.exporter_code import exporter_code, floating_code


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What the exporter named by a text consists of, or the code, the message and the hint of its fault."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "lib")
    for name in ("lib/one_mod.py", "lib/a_pkg/__init__.py", "lib/a_pkg/deep/x.py", "lib/a_pkg/deep/x.txt",
                 "lib/a_pkg/__pycache__/y.py", "lib/space/x.txt", "sub/mine.py", "lib/bare.so"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("raise RuntimeError('imported')")

    def ask(text: str):
        at = Span(Source("sub/m.yaml", ""), 1, 1, 1)
        found = exporter_code(text, at, Reach("sub/m.yaml", permissions()))
        if isinstance(found, FilesSource):
            return found.root.replace(str(tmp_path), "<here>"), found.files
        assert isinstance(found, Diagnostic)
        assert found.span == at
        return found.code, found.message, dict(found.notes)["hint"].replace(str(tmp_path), "<here>")

    return ask


FILE = "write `path/to/file.py:function`"
MODULE = "write `path/to/file.py:function`, or install the module into the environment of onnxbuild"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mine.py:f", ("<here>/sub", ("mine.py",))),
        ("../sub/./mine.py:f", ("<here>/sub", ("mine.py",))),
        ("one_mod:f", ("<here>/lib", ("one_mod.py",))),
        ("a_pkg:f", ("<here>/lib", ("a_pkg/__init__.py", "a_pkg/deep/x.py"))),
        ("a_pkg.deep.x:f", ("<here>/lib", ("a_pkg/__init__.py", "a_pkg/deep/x.py"))),
        ("mine.py", ("OB026", "`mine.py` is not an exporter", FILE)),
        ("mine.py:", ("OB026", "`mine.py:` is not an exporter", FILE)),
        (":f", ("OB026", "`:f` is not an exporter", FILE)),
        ("mine.py:f()", ("OB026", "`mine.py:f()` is not an exporter", FILE)),
        ("mime.py:f", ("OB016", "`mime.py` does not exist", "did you mean `mine.py`?")),
        ("zzz.py:f", ("OB016", "`zzz.py` does not exist", "looked for `<here>/sub/zzz.py`")),
        ("gone/mine.py:f", ("OB016", "`gone/mine.py` does not exist", "looked for `<here>/sub/gone/mine.py`")),
        ("no_such_mod:f", ("OB016", "the module `no_such_mod` cannot be found", MODULE)),
        ("no such:f", ("OB016", "the module `no such` cannot be found", MODULE)),
        ("sys:f", ("OB016", "the module `sys` cannot be found", MODULE)),
        ("space:f", ("OB016", "the module `space` cannot be found", MODULE)),
        ("../a/b:f", ("OB016", "the module `../a/b` cannot be found", MODULE)),
    ],
)
def test_what_an_exporter_consists_of(code, text: str, expected) -> None:
    assert code(text) == expected


def test_an_exporter_outside_the_reach_of_the_manifest_is_not_looked_at(code, monkeypatch) -> None:
    monkeypatch.delenv("ONNXBUILD_ALLOW_PATH")
    kind, message, _hint = code("../lib/one_mod.py:f")
    assert (kind, message.startswith("`../lib/one_mod.py` ")) == ("OB060", True)


COMMIT = "0123456789abcdef0123456789abcdef01234567"
PINNED = "`trust_remote_code` runs the Python code of a revision that is not pinned"
PIN = "read the code, then write `hub:o/m@` with the 40 digits of its commit"
ELSEWHERE = "its revision is not pinned: copy its .py files beside the weights, and use the folder as `local:`"


@pytest.mark.parametrize(
    ("source", "config", "faults"),
    [
        (f"hub:o/m@{COMMIT}", None, []),
        ("hub:o/m", None, [(PINNED, PIN)]),
        (f"hub:o/m@{COMMIT}0", {}, [(PINNED, PIN)]),
        (f"hub:o/m@{COMMIT[:-1]}", {}, [(PINNED, PIN)]),
        ("local:x", {"auto_map": {"AutoModel": "a.B"}}, []),
        ("local:x", {"auto_map": {"AutoModel": "o/m--a.B"}},
         [("the checkpoint's code is in another repository: `o/m`", ELSEWHERE)]),
        ("local:x", {"auto_map": {"AutoConfig": "a.B", "AutoTokenizer": [None, "p/q--a.B", "r/s--a.B"]}},
         [("the checkpoint's code is in another repository: `p/q`", ELSEWHERE)]),
        ("local:x", {"auto_map": ["o/m--a.B"]}, []),
        ("local:x", {"auto_map": {"AutoModel": 1}}, []),
        ({"random": "x"}, {"auto_map": None}, []),
        ("hub:o/m@v1", {"auto_map": {"AutoModel": "o/n--a.B"}}, [
            (PINNED, PIN),
            ("the checkpoint's code is in another repository: `o/n`", ELSEWHERE),
        ]),
    ],
)  # fmt: skip
def test_all_code_of_a_checkpoint_is_pinned(source, config, faults) -> None:
    at = Span(Source("m.yaml", ""), 1, 1, 1)
    found = floating_code(source, config, at)
    assert [(one.message, dict(one.notes)["hint"]) for one in found] == faults
    assert all((one.code, one.span) == ("OB107", at) for one in found)
