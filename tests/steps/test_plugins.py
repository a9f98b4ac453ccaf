"""Step kinds of plugins: installed by entry point, and refused by name when they are broken."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from plugin.world import PLUGIN, ROOT, World

from onnxbuild.diagnostics import DiagnosticError
from onnxbuild.planning.interpreters.distributions import Distributions
from onnxbuild.runners.environments import Current
from onnxbuild.steps import KINDS, all_kinds, kinds_at, plugin_places
from onnxbuild.steps.kind import packages_of

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
            "its entry point is no `Kind`, `Package` or `Backend` of that name, or a built-in one has the name",
        ),
        (
            KIND.replace('"shout"', '"blame"'),  # a command adds that kind to plans
            "blame = shout_plugin:KIND",
            "its entry point is no `Kind`, `Package` or `Backend` of that name, or a built-in one has the name",
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


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A world whose plugin is a copy that a test may edit."""
    shutil.copytree(PLUGIN, tmp_path / "plugin", ignore=shutil.ignore_patterns("__pycache__", "world.py"))
    made = World(tmp_path / "world")
    made.environment["PYTHONPATH"] = f"{tmp_path / 'plugin'}{os.pathsep}{ROOT}"
    made.manifest({"one": [{"text": "x"}]})
    return made


def edit(world: World, name: str, text: str) -> None:
    path = world.root.parent / "plugin" / "toy_steps" / name
    path.write_text((path.read_text() if path.exists() else "") + text)


@pytest.mark.parametrize("name", ["work.py", "__init__.py", "helper.py", "deep/helper.py"])
def test_the_code_of_a_plugin_is_part_of_the_key_without_another_version(world: World, name: str) -> None:
    (world.root.parent / "plugin" / "toy_steps" / "deep").mkdir()
    world.run()
    world.run("--json")  # now a receipt answers this question
    edit(world, name, "# another line\n")
    outcomes = world.run("--json").actions()
    ran = {one: event["reasons"] for one, event in outcomes.items() if event["outcome"] != "hit"}
    assert list(ran) == ["m/one:toy"]
    assert [reason["part"] for reason in ran["m/one:toy"]] == ["packages.code of toy_steps"]
    assert "up to date" in world.run().out


def test_what_is_no_code_of_a_plugin_rebuilds_nothing(world: World) -> None:
    world.run()
    edit(world, "notes.txt", "text")
    os.utime(world.root.parent / "plugin" / "toy_steps" / "work.py")
    assert set(world.run("--json").outcomes().values()) == {"hit"}


def test_only_plugins_have_their_code_in_the_key(installed) -> None:
    installed(KIND, "shout = shout_plugin:KIND")
    code = {name: packages_of(kind, kind.params()) for name, kind in all_kinds().items() if name == "shout"}
    assert code == {"shout": ("code of shout_plugin", "code of shout")}
    assert not any(kind.is_plugin for kind in KINDS.values())
    assert len(Current().version("code of shout_plugin")) == 32
    assert Current().version("code of shout") == "absent"


def test_a_toolchain_has_its_own_copy_of_the_code(tmp_path: Path) -> None:
    for name, files in {"one": ["m/__init__.py"], "two": ["m.py", "m/data.txt"]}.items():
        for file in files:
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).write_text(name)
    first, second = (Distributions([str(tmp_path / one)]).version("code of m") for one in ("one", "two"))
    assert first != second
    both = Distributions([str(tmp_path / "one"), str(tmp_path / "two")])
    assert both.version("code of m") == first
    assert both.version("code of absent") == "absent"
