"""A run decides only what has changed, with the plan of the run before; the receipt answers for the rest."""

import json
import os
import time

import pytest

from onnxbuild.cli import run_command
from onnxbuild.receipts import receipt


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Three ONNX models that share nothing; each is a part of the graph with one action."""
    monkeypatch.chdir(tmp_path)
    for name in "abc":
        (tmp_path / "sources" / name).mkdir(parents=True)
        (tmp_path / "sources" / name / "model.onnx").write_text(name)
        (tmp_path / "sources" / name / "model.onnx_data").write_text(name)
    models = {name: {"source": f"onnx:sources/{name}", "load": False, "targets": ["fp32"]} for name in "abc"}
    (tmp_path / "m.yaml").write_text(json.dumps({"onnxbuild": 1, "targets": {"fp32": {}}, "models": models}))
    time.sleep(0.05)  # a manifest that changed at the moment in which its run began leaves no receipt
    return tmp_path


@pytest.fixture
def plans(monkeypatch):
    """How often a manifest has been planned."""
    from onnxbuild.commands import workspace as session

    counted = []
    real = session.planned
    monkeypatch.setattr(session, "planned", lambda *given, **more: counted.append(1) or real(*given, **more))
    return counted


def last_line(capsys):
    out = capsys.readouterr().out
    return [line for line in out.splitlines() if line.startswith(("built", "up to date"))][-1].split(" in ")[0]


def run(capsys, *arguments):
    code = run_command(["run", "m.yaml", *arguments])
    return code, last_line(capsys)


def edit(world, name, text):
    """Change weights: a changed graph may refer to other files, and is planned again."""
    (world / "sources" / name / "model.onnx_data").write_text(text)


def test_one_changed_source_is_built_with_the_plan_of_before(world, plans, capsys):
    assert run(capsys) == (0, "built 3, unchanged 0, hit 0, failed 0")
    assert run(capsys) == (0, "up to date: 3 actions, nothing to do")
    edit(world, "b", "changed")
    assert run(capsys) == (0, "built 1, unchanged 0, hit 2, failed 0")
    assert (world / "out" / "b" / "fp32" / "model.onnx_data").read_text() == "changed"
    assert run(capsys) == (0, "up to date: 3 actions, nothing to do")
    assert len(plans) == 1


def test_parts_change_one_after_the_other(world, plans, capsys):
    run(capsys)
    for turn, name in enumerate("abcab"):
        edit(world, name, f"turn {turn}")
        assert run(capsys) == (0, "built 1, unchanged 0, hit 2, failed 0")
    assert [(world / "out" / name / "fp32" / "model.onnx_data").read_text() for name in "abc"] == [
        "turn 3", "turn 4", "turn 2"
    ]  # fmt: skip
    assert len(plans) == 1


def test_a_changed_manifest_is_planned_again(world, plans, capsys):
    run(capsys)
    edit(world, "a", "changed")
    text = (world / "m.yaml").read_text()
    (world / "m.yaml").write_text(text.replace('"c": {"source": "onnx:sources/c"', '"d": {"source": "onnx:sources/c"'))
    assert run(capsys) == (0, "built 1, unchanged 0, hit 2, failed 0")
    assert len(plans) == 2
    assert (world / "out" / "d" / "fp32" / "model.onnx_data").read_text() == "c"


def test_an_edited_output_is_restored(world, plans, capsys):
    run(capsys)
    place = world / "out" / "c" / "fp32" / "model.onnx"
    place.write_text("edited")
    assert run(capsys) == (0, "up to date: 3 actions, nothing to do")
    assert place.read_text() == "c"
    assert len(plans) == 1


def test_a_part_that_fails_leaves_the_receipt_of_before(world, plans, capsys):
    run(capsys)
    os.remove(world / "sources" / "a" / "model.onnx")
    edit(world, "b", "changed")
    # The folder of the source has changed, and the plan was made from it.
    assert run_command(["run", "m.yaml"]) == 2
    capsys.readouterr()
    (world / "sources" / "a" / "model.onnx").write_text("a")
    assert run(capsys) == (0, "built 1, unchanged 0, hit 2, failed 0")
    assert run(capsys) == (0, "up to date: 3 actions, nothing to do")


def test_sources_that_two_models_share_are_one_part(world, plans, capsys):
    text = (world / "m.yaml").read_text()
    (world / "m.yaml").write_text(text.replace("onnx:sources/b", "onnx:sources/a"))
    run(capsys)
    edit(world, "a", "changed")
    assert run(capsys) == (0, "built 1, unchanged 0, hit 1, failed 0")
    for name in "ab":
        assert (world / "out" / name / "fp32" / "model.onnx_data").read_text() == "changed"


def test_a_receipt_whose_memory_cannot_be_read_is_planned_again(world, plans, capsys):
    run(capsys)
    (left,) = (world / ".onnxbuild" / "receipts").iterdir()
    line = left.read_bytes().partition(b"\n")[0]
    left.write_bytes(line + b"\nnot a plan")
    edit(world, "a", "changed")
    assert run(capsys) == (0, "built 1, unchanged 0, hit 2, failed 0")
    assert len(plans) == 2


@pytest.mark.parametrize("what", ["a", "zz"])
def test_a_memory_with_one_wrong_byte_is_planned_again(world, plans, capsys, what):
    """It may still decode, to a plan that nobody asked for."""
    run(capsys)
    (left,) = (world / ".onnxbuild" / "receipts").iterdir()
    line, _, memory = left.read_bytes().partition(b"\n")
    place = memory.rindex(b"fp32")
    left.write_bytes(line + b"\n" + memory[:place] + b"fp16" + memory[place + 4 :] + (b"" if what == "a" else b"z"))
    edit(world, "a", "changed")
    assert run(capsys) == (0, "built 1, unchanged 0, hit 2, failed 0")
    assert len(plans) == 2


def test_a_program_gets_an_event_for_each_action(world, capsys):
    run_command(["run", "m.yaml", "--json"])
    edit(world, "a", "changed")
    capsys.readouterr()
    run_command(["run", "m.yaml", "--json"])
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    outcomes = {event["id"]: event["outcome"] for event in events if event["event"] == "action"}
    assert outcomes == {"a:fetch": "built", "b:fetch": "hit", "c:fetch": "hit"}


def test_a_module_two_folders_deep_breaks_a_receipt(tmp_path, monkeypatch):
    package = tmp_path / "onnxbuild"
    deep = package / "workers" / "export" / "worker.py"
    deep.parent.mkdir(parents=True)
    deep.write_text("x = 1\n")
    os.utime(deep, ns=(10**18, 10**18))
    monkeypatch.setattr(receipt, "__file__", str(package / "receipts" / "receipt.py"))
    before = receipt.installed()
    assert receipt.installed() == before
    os.utime(deep, ns=(10**18 + 1, 10**18 + 1))
    assert receipt.installed() != before


@pytest.mark.parametrize("changed", ["a.py", "b.py", "c/d.py", "c/e.py", "f/g.py"])
def test_every_module_of_the_tool_breaks_a_receipt(tmp_path, monkeypatch, changed):
    package = tmp_path / "onnxbuild"
    for name in ("a.py", "b.py", "c/d.py", "c/e.py", "f/g.py"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(name)
    monkeypatch.setattr(receipt, "__file__", str(package / "receipts" / "receipt.py"))
    before = receipt.installed()
    (package / changed).write_text("changed")
    assert receipt.installed() != before


def test_a_receipt_needs_nothing_that_windows_lacks(monkeypatch):
    known = receipt.installed()[-1]
    monkeypatch.delattr(os, "uname", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setenv("COMPUTERNAME", "otter")
    monkeypatch.setenv("PROCESSOR_ARCHITECTURE", "AMD64")
    assert receipt.installed()[-1] == ["otter", "AMD64", os.cpu_count()]
    assert len(known) == 3


@pytest.mark.parametrize(("width", "arguments", "kept"), [
    (None, [], True), (101, [], True), (97, [], False), (97, ["--quiet"], True), (97, ["--json"], True),
])  # fmt: skip
def test_an_answer_wider_than_the_terminal_is_printed_again(world, plans, capsys, monkeypatch, width, arguments, kept):
    from onnxbuild.commands import run as run_module

    run_command(["run", "m.yaml", *arguments])
    (stored,) = (world / ".onnxbuild" / "receipts").iterdir()
    line, _, memory = stored.read_bytes().partition(b"\n")
    answer = "a" * 99 + "\nup to date: 3 actions, nothing to do\n"
    stored.write_bytes(json.dumps({**json.loads(line), "answer": answer}).encode() + b"\n" + memory)
    capsys.readouterr()
    monkeypatch.setattr(run_module, "width_of", lambda _stream: width)
    assert run_command(["run", "m.yaml", *arguments]) == 0
    shown = capsys.readouterr().out
    assert (shown == (run_module.last_line(answer) if "--quiet" in arguments else answer)) == kept
    assert "up to date: 3 actions" in shown
    assert len(plans) == 1


def test_a_quiet_run_leaves_the_whole_answer_for_the_next_one(world, capsys):
    run_command(["run", "m.yaml", "--quiet"])
    quiet = capsys.readouterr().out
    run_command(["run", "m.yaml"])
    plain = capsys.readouterr().out
    assert "b/fp32" not in quiet
    assert "b/fp32" in plain
    assert plain.endswith("up to date: 3 actions, nothing to do\n")


def test_a_limit_on_the_cores_counts(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {3, 5, 7}, raising=False)
    assert receipt._cores() == 3


def test_a_relative_store_of_the_environment_is_another_one_elsewhere(world, monkeypatch, capsys):
    monkeypatch.setenv("ONNXBUILD_STORE", "store")
    manifest = str(world / "m.yaml")
    for folder in ("one", "two"):
        (world / folder).mkdir()
        monkeypatch.chdir(world / folder)
        assert run_command(["run", manifest]) == 0
        assert last_line(capsys) == ("built 3, unchanged 0, hit 0, failed 0")
        assert (world / folder / "store" / "blobs").is_dir()
