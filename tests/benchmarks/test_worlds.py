"""The generators make worlds that build; nothing is timed here."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def module(name):
    """A module of `benchmarks/`, which is no package."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
        loaded = importlib.util.module_from_spec(spec)
        sys.modules[name] = loaded
        spec.loader.exec_module(loaded)
    return sys.modules[name]


@pytest.fixture(scope="module")
def worlds():
    sys.path.insert(0, str(BENCHMARKS))
    yield module("worlds")
    sys.path.remove(str(BENCHMARKS))


def run(worlds, world, *words, name="run"):
    return module("measure").run_once(worlds.onnxbuild(sys.executable, world, *words, name=name)).output


def test_toy_actions_are_built_once_and_a_changed_source_builds_its_chain(worlds, tmp_path):
    worlds.make_onnxbuild(tmp_path, 8)
    names = worlds.step_names(8)
    built = module("cases").ran_here(run(worlds, tmp_path), 8)
    assert built == set(names.values())
    assert run(worlds, tmp_path).endswith("up to date: 8 actions, nothing to do\n")
    worlds.change_source(tmp_path, 1)
    assert module("cases").ran_here(run(worlds, tmp_path), 8) == {f"m00001-{number}" for number in range(4)}


def test_the_result_of_a_chain_has_the_line_of_each_step(worlds, tmp_path):
    worlds.make_onnxbuild(tmp_path, 4)
    run(worlds, tmp_path)
    assert (tmp_path / "out" / "m00000" / "chain" / "model.onnx").read_text() == "source 0\na\nb\nc\n"


def test_the_manifest_to_lint_has_no_fault(worlds, tmp_path):
    worlds.make_lint(tmp_path, 5)
    assert run(worlds, tmp_path, name="lint") == "no faults in 1 manifest\n"


def test_the_bare_worker_does_the_actions(worlds, tmp_path):
    worlds.make_onnxbuild(tmp_path, 4)
    words = [sys.executable, str(BENCHMARKS / "bare_worker.py"), str(tmp_path)]
    module("measure").run_once(module("measure").Command(words, tmp_path, worlds.environment()))


def test_large_weights_take_no_room_and_are_laid_out(worlds, tmp_path):
    worlds.make_large(tmp_path, 5_000_000)
    assert (tmp_path / "sources" / "large" / "model.onnx_data").stat().st_blocks < 100
    run(worlds, tmp_path)
    assert (tmp_path / "out" / "large" / "fp32" / "model.onnx_data").stat().st_size == 5_000_000


@pytest.mark.skipif(shutil.which("ninja") is None, reason="ninja is not installed")
def test_ninja_runs_the_same_steps(worlds, tmp_path):
    worlds.make_ninja(tmp_path, 8)
    measure = module("measure")
    output = measure.run_once(measure.Command(["ninja", "-v"], tmp_path)).output
    assert module("cases").ran_in_ninja(output) == set(worlds.step_names(8).values())


def test_the_doit_file_has_a_task_for_each_step(worlds, tmp_path):
    worlds.make_doit(tmp_path, 8)
    scope = {}
    exec((tmp_path / "dodo.py").read_text(), scope)
    assert [task["basename"] for task in scope["task_all"]()] == list(worlds.step_names(8).values())


def test_a_miss_is_distinguished_from_a_pass():
    table = module("table")
    lines = [
        table.Line("b", "CPU", 0.5, "s", 1.0),
        table.Line("b", "CPU", 2.0, "s", 1.0),
        table.Line("b", "n", 0, "", 0),
    ]
    assert [line.verdict for line in lines] == ["pass", "MISS", "pass"]
    assert json.loads(json.dumps(table.as_json(lines[1])))["ratio"] == 2.0
    assert table.as_text(lines).splitlines()[1].split() == ["b", "CPU", "500.0", "ms", "1.00", "s", "0.50", "pass"]
