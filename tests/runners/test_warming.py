"""While an action runs that others follow, a second worker imports what those need."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from plugin.world import World

from onnxbuild.protocol import Request
from onnxbuild.runners.local import LocalRunner
from onnxbuild.workers.libraries import warm
from onnxbuild.workers.libraries.warm import WarmParams, run

# `wave` is a module that nothing else imports. The herald waits until the second worker runs, and each follower for the
# other, so that both workers get one. A worker imports before it takes an action, however long that lasts.
WAIT = """
import os, time
from pathlib import Path
def workers():
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    return sum(b"__main__.py\\0%d\\0" % os.getppid() in line for line in lines)
while workers() < 2:
    time.sleep(0.01)
time.sleep(0.2)
"""
LOOK = """
import os, sys, time
got["wave"] = "wave" in sys.modules
open({own!r}, "w").close()
while not os.path.exists({other!r}):
    time.sleep(0.01)
"""


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def had_imported(world: World, followers: dict[str, str], jobs: str) -> list[bool]:
    """For each action after the herald, whether its worker had imported the module."""
    targets = {}
    for name, other in followers.items():
        code = LOOK.format(own=str(world.root / name), other=str(world.root / other))
        targets[name] = {
            "steps": [{"herald": {"code": WAIT if jobs == "2" else ""}}, {"friend": {"code": code, "text": name}}]
        }
    path = world.manifest({name: [] for name in followers})
    manifest = json.loads(path.read_text()) | {"targets": targets}
    path.write_text(json.dumps(manifest))
    ended = world.run("--json", "-j", jobs)
    assert ended.code == 0, ended
    return [one["facts"]["got"]["wave"] for one in ended.actions().values() if one["kind"] == "friend"]


def test_the_second_worker_has_imported_what_the_next_actions_need(world: World) -> None:
    assert sorted(had_imported(world, {"a": "b", "b": "a"}, "2")) == [False, True]
    assert world.wait_for_silence() == []


def test_with_one_job_there_is_no_second_worker(world: World) -> None:
    assert had_imported(world, {"a": "a"}, "1") == [False]


def test_the_module_of_the_model_is_imported_too_and_a_missing_one_harms_nothing(tmp_path: Path, monkeypatch) -> None:
    imported: list[str] = []
    monkeypatch.setattr(warm, "importlib", SimpleNamespace(import_module=imported.append))
    for config in ('{"model_type": "xlm-roberta"}', '{"model_type": "../evil"}', "[]", "not JSON"):
        (tmp_path / "config.json").write_text(config)
        assert run(WarmParams(modules=("wave",)), {"model": tmp_path}, {}, lambda *_: None) == {}
    assert imported == ["wave", "transformers.models.xlm_roberta.modeling_xlm_roberta", "wave", "wave", "wave"]

    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(warm, "importlib", SimpleNamespace(import_module=missing))
    assert run(WarmParams(modules=("wave",)), {}, {}, lambda *_: None) == {}


def test_a_closed_runner_starts_no_worker() -> None:
    runner = LocalRunner(jobs=2)
    runner.close()
    runner._warm_another(
        "current", Request(id="a", worker="", params={}, inputs={}, outputs={}, log="", warms=("wave",))
    )
    assert runner._all == []
