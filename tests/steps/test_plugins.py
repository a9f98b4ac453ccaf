"""Step kinds of plugins: installed by entry point, and refused by name when they are broken."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from onnxbuild.diagnostics import DiagnosticError
from onnxbuild.steps import KINDS, all_kinds, kinds_at, plugin_places

KIND = """
from onnxbuild.steps.kind import Kind, Params
class P(Params, frozen=True, forbid_unknown_fields=True, kw_only=True):
    text: str = ""
KIND = Kind(name="shout", version=1, params=P, inputs={}, outputs={"out": "text"}, worker="shout:run")
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def install(code: str, entry: str) -> None:
        (tmp_path / "shout_plugin.py").write_text(code)
        info = tmp_path / "shout-1.0.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shout\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[onnxbuild.steps]\n{entry}\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "shout_plugin", raising=False)
        plugin_places.cache_clear()
        kinds_at.cache_clear()

    yield install
    monkeypatch.undo()
    plugin_places.cache_clear()
    kinds_at.cache_clear()


def test_a_plugin_brings_its_kind(installed) -> None:
    installed(KIND, "shout = shout_plugin:KIND")
    assert [*all_kinds()] == [*KINDS, "shout"]


@pytest.mark.parametrize(
    ("code", "entry", "message"),
    [
        ("1/0", "shout = shout_plugin:KIND", "ZeroDivisionError: division by zero"),
        (
            KIND,
            "whisper = shout_plugin:KIND",
            "its entry point is not a `Kind` of that name, or a built-in kind has the name",
        ),
    ],
)
def test_a_broken_plugin_is_named(installed, code: str, entry: str, message: str) -> None:
    installed(code, entry)
    with pytest.raises(DiagnosticError) as error:
        all_kinds()
    name = entry.partition(" ")[0]
    assert [one.message for one in error.value.diagnostics] == [
        f"the plugin for step kind `{name}` cannot be used: {message}"
    ]
