"""Runs of a real manifest: after each event the receipt does not answer, and the engine does what is right."""

import json
import os
import sys
import time

import pytest
from outs import Outs

from onnxbuild.cli import run_command
from onnxbuild.commands import workspace
from onnxbuild.commands.parsing.options import Asked, RunOptions
from onnxbuild.commands.run import question_of
from onnxbuild.deliver.out_folder import deliver
from onnxbuild.digest import digest_value
from onnxbuild.execute.events import Outcome
from onnxbuild.planning.action_graph import Action, ActionGraph, FilesSource, OutputRef, Variant
from onnxbuild.receipts.receipt import standing
from onnxbuild.receipts.remembered_plan import files_of_parts, parts_of, stored_files
from onnxbuild.store.store import Store
from onnxbuild.store.traces import Trace

UP_TO_DATE = "up to date: 2 actions, nothing to do"


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Two models that share nothing, and a fragment that the manifest includes."""
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        (tmp_path / "sources" / name).mkdir(parents=True)
        (tmp_path / "sources" / name / "model.onnx").write_text(name)
    models = {name: {"source": f"onnx:sources/{name}", "load": False, "targets": ["fp32"]} for name in "ab"}
    (tmp_path / "targets.yaml").write_text('targets: {"fp32": {}}')
    (tmp_path / "m.yaml").write_text(json.dumps({"onnxbuild": 1, "include": ["targets.yaml"], "models": models}))
    (tmp_path / "plugin.py").write_text("")
    (tmp_path / "interpreter").write_text("")
    plugin, interpreter = str(tmp_path / "plugin.py"), str(tmp_path / "interpreter")
    monkeypatch.setattr(workspace, "plugin_files", lambda _kinds: (plugin,))
    toolchain = type("Toolchain", (), {"watched": lambda _self: (interpreter,), "close": lambda _self: None})()
    monkeypatch.setattr(workspace, "environments_of", lambda *_given: {"t": toolchain})
    time.sleep(0.05)
    return tmp_path


def run(capsys, *arguments):
    code = run_command(["run", "m.yaml", *arguments])
    lines = capsys.readouterr().out.splitlines()
    return code, next(line for line in lines if line.startswith(("built", "up to date", "failed"))).split(" in ")[0]


def answers(world):
    """Whether the next run would answer from a receipt without a look at anything else."""
    found = standing(str(world / ".onnxbuild"), question_of(RunOptions(asked=Asked("m.yaml"))))
    return found is not None and not found.moved


def blobs(world):
    return [path for path in (world / ".onnxbuild" / "store" / "blobs").rglob("*") if path.is_file()]


def removed(*names):
    return lambda world: [os.remove(world / name) for name in names]


def written(name):
    return lambda world: (world / name).write_text("changed")


def config_of_a(world):
    (world / "sources" / "a" / "config.json").write_text("{}")


EVENTS = {
    "a source": (written("sources/a/model.onnx"), "built 1, unchanged 0, hit 1, failed 0"),
    "a new file of a source": (config_of_a, "built 1, unchanged 0, hit 1, failed 0"),
    "an output": (written("out/a/fp32/model.onnx"), UP_TO_DATE),
    "a removed output": (removed("out/a/fp32/model.onnx"), UP_TO_DATE),
    "a description": (written("out/a/fp32/onnxbuild.json"), UP_TO_DATE),
    "a removed description": (removed("out/a/fp32/onnxbuild.json"), UP_TO_DATE),
    "the manifest": (lambda world: (world / "m.yaml").write_text((world / "m.yaml").read_text() + "\n"), UP_TO_DATE),
    "an included file": (lambda world: (world / "targets.yaml").write_text('targets: {"fp32":  {}}'), UP_TO_DATE),
    "a lock file where there was none": (lambda world: (world / "onnxbuild.lock").write_text("version: 1\n"), None),
    "a plugin": (written("plugin.py"), UP_TO_DATE),
    "a toolchain": (written("interpreter"), UP_TO_DATE),
    "the database": (removed(".onnxbuild/store/traces.db"), "built 2, unchanged 0, hit 0, failed 0"),
    "a stored file": (lambda world: os.remove(blobs(world)[0]), "built 0, unchanged 1, hit 1, failed 0"),
    "a stored file, cut short": (
        lambda world: (blobs(world)[0].chmod(0o644), blobs(world)[0].write_text("")),
        "built 0, unchanged 1, hit 1, failed 0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", EVENTS)
def test_what_changes_is_decided_anew(world, capsys, what):
    assert run(capsys)[0] == 0
    assert answers(world)
    event, expected = EVENTS[what]
    event(world)
    assert not answers(world)
    if expected is None:  # the lock file is not one, and the run says so
        assert run_command(["run", "m.yaml"]) == 2
        return
    assert run(capsys) == (0, expected)
    time.sleep(0.05)
    run(capsys)
    assert answers(world), "the receipt is there again"
    for name in "ab":
        source = (world / "sources" / name / "model.onnx").read_text()
        assert (world / "out" / name / "fp32" / "model.onnx").read_text() == source


def test_a_database_that_another_run_made_anew_is_another_one(world, capsys):
    """Also where the new file gets the inode of the old one, which is free."""
    run(capsys)
    database = world / ".onnxbuild" / "store" / "traces.db"
    inode = database.stat().st_ino
    database.unlink()
    Store(world / ".onnxbuild" / "store").close()
    receipts = list((world / ".onnxbuild" / "receipts").iterdir())
    for receipt in receipts:
        receipt.write_text(receipt.read_text(errors="surrogateescape").replace(str(inode), str(database.stat().st_ino)),
                           errors="surrogateescape")  # fmt: skip
    assert not answers(world)


def test_results_that_were_forgotten_end_the_receipt(world, capsys):
    run(capsys)
    with Store(world / ".onnxbuild" / "store") as store:
        key = next(iter(store.traces.all_traces()))
        store.traces.forget([])
        assert answers(world), "nothing was forgotten"
        store.traces.forget([key])
    assert not answers(world)


def test_an_output_that_is_damaged_after_the_delivery_leaves_no_receipt(world, capsys, monkeypatch):
    from onnxbuild.commands.building import rounds

    def deliver_then_damage(*given):
        deliveries = deliver(*given)
        place = world / "out" / "a" / "fp32" / "model.onnx"
        status = place.stat()
        place.write_text("X")
        os.utime(place, ns=(status.st_atime_ns, status.st_mtime_ns))
        return deliveries

    monkeypatch.setattr(rounds, "deliver", deliver_then_damage)
    run(capsys)
    monkeypatch.undo()
    monkeypatch.chdir(world)
    assert not answers(world)
    run(capsys)
    assert (world / "out" / "a" / "fp32" / "model.onnx").read_text() == "a"


def test_files_of_others_in_an_output_folder_change_nothing(world, capsys):
    run(capsys)
    (world / "out" / "a" / "fp32" / "notes").write_text("mine")
    if sys.platform != "win32":
        (world / "out" / "a" / "fp32" / "link").symlink_to("nowhere")
    assert answers(world)


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need a privilege there")
def test_a_link_among_the_receipts_is_not_read_by_lint(world, capsys):
    run(capsys)
    (world / ".onnxbuild" / "receipts" / "aaaaaaaa.json").symlink_to("/dev/zero")
    os.mkfifo(world / ".onnxbuild" / "receipts" / "bbbbbbbb.json")
    assert run_command(["lint", "m.yaml"]) == 0


def part_of(*needs, files=(), name):
    inputs = {f"in{number}": OutputRef(need, "out") for number, need in enumerate(needs)}
    inputs |= {f"files{number}": FilesSource("/root", (file,)) for number, file in enumerate(files)}
    return Action(id=name, kind="toy", params={}, inputs=inputs)


def test_parts_share_neither_an_output_nor_a_file():
    actions = [
        part_of(name="a", files=["one"]), part_of("a", name="b"), part_of("b", name="c"),
        part_of(name="d", files=["two"]), part_of(name="e", files=["two", "three"]), part_of(name="f", files=["three"]),
        part_of(name="g"), part_of(name="h"), part_of("g", "h", name="i"), part_of(name="j", files=["four"]),
    ]  # fmt: skip
    parts = parts_of(ActionGraph({action.id: action for action in actions}))
    assert parts == (("a", "b", "c"), ("d", "e", "f"), ("g", "h", "i"), ("j",))


def test_parts_that_a_late_action_joins_are_one():
    actions = [part_of(name="a"), part_of("a", name="b"), part_of(name="c"), part_of("c", name="d"),
               part_of("b", "d", name="e"), part_of("a", name="f")]  # fmt: skip
    assert parts_of(ActionGraph({action.id: action for action in actions})) == (("a", "b", "c", "d", "e", "f"),)


# -- the files of a part ----------------------------------------------------------------------------------------------


class Parted:
    """An action that reads a model's folder and a dataset, with its result delivered."""

    def __init__(self, root):
        self.root, self.outs = root, Outs(root)
        self.sources = {
            "model": FilesSource(str(root / "model"), ("model.onnx", "config.json")),
            "rows": FilesSource(str(root / "data"), ("rows.jsonl",)),
        }
        for source in self.sources.values():
            os.makedirs(source.root)
            for name in source.files:
                with open(os.path.join(source.root, name), "w", encoding="utf-8") as file:
                    file.write(name)

    def built(self, store):
        inputs = {port: store.digest_files(s.root, s.files).digest for port, s in self.sources.items()}
        parts = {"version": 1, "packages": {}, "toolchain": {}, "machine": None, "inputs": inputs}
        work = store.workspace()
        (work / "model.onnx").write_text("result")
        trace = Trace(parts=parts, outputs={}, facts={}, seconds=0.0, worker="")
        key = digest_value(parts)
        trace = store.publish(key, trace, {"out": work})
        action = Action(id="m/t:toy", kind="toy", params={}, inputs=self.sources)
        ref = OutputRef("m/t:toy", "out")
        variant = Variant(
            model="m", target="t", output=ref, precision="fp32", steps=("m/t:toy",), checks=(), measures=()
        )
        outcome = Outcome(id="m/t:toy", kind="toy", outcome="built", key=key, outputs=trace.outputs)
        self.graph, self.outcomes = ActionGraph({"m/t:toy": action}, (variant,)), {"m/t:toy": outcome}
        self.deliveries = deliver(self.graph, self.outcomes, store, self.outs.out)
        return self

    def files(self, store):
        return files_of_parts(parts_of(self.graph), self.graph, self.outcomes, self.deliveries, store)


@pytest.fixture
def parted(tmp_path):
    return Parted(tmp_path)


def test_a_part_watches_every_source_and_every_delivered_file(parted):
    with Store(parted.root / "store") as store:
        (files,) = parted.built(store).files(store)
        sizes = stored_files(parted.outcomes, store).sizes
        assert list(sizes.values()) == [len("result")]
        assert all(store.content.path(digest).is_file() for digest in sizes)
    names = {os.path.relpath(path, parted.root).replace(os.sep, "/") for path in files}
    assert names == {
        "model/model.onnx", "model/config.json", "data/rows.jsonl", "out/m/t/model.onnx", "out/m/t/onnxbuild.json",
    }  # fmt: skip
    for path, stamp in files.items():
        status = os.stat(path)
        assert stamp == (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


@pytest.mark.parametrize("name", ["model/config.json", "data/rows.jsonl"])
def test_a_source_that_another_process_read_anew_during_the_run_is_not_vouched_for(parted, name):
    """An editor that plans at every edit remembers the new content, of which the result was not made."""
    with Store(parted.root / "store") as store:
        parted.built(store)
        (parted.root / name).write_text("edited")
        for source in parted.sources.values():
            store.digest_files(source.root, source.files)
        assert parted.files(store) is None


def test_a_source_that_changed_during_the_run_has_the_signature_of_what_was_read(parted):
    with Store(parted.root / "store") as store:
        parted.built(store)
        path = parted.root / "data" / "rows.jsonl"
        path.write_text("edited")
        (files,) = parted.files(store)
        assert files[str(path)][0] == len("rows.jsonl")


def test_a_source_of_an_image_is_not_vouched_for(parted, monkeypatch):
    from onnxbuild.receipts import remembered_plan

    with Store(parted.root / "store") as store:
        parted.built(store)
        rows = str(parted.root / "data" / "rows.jsonl")
        monkeypatch.setattr(remembered_plan, "may_be_exchanged", lambda path, _stamp: path == rows)
        assert parted.files(store) is None


def test_a_delivered_file_that_was_read_anew_with_other_content_is_not_vouched_for(parted):
    with Store(parted.root / "store") as store:
        parted.built(store)
        (parted.outs.folder / "model.onnx").write_text("damage")
        store.digest_files(str(parted.outs.folder), ("model.onnx",))
        assert parted.files(store) is None


def test_a_variant_that_was_not_delivered_is_not_vouched_for(parted):
    import msgspec

    with Store(parted.root / "store") as store:
        parted.built(store)
        parted.deliveries = tuple(msgspec.structs.replace(one, files={}) for one in parted.deliveries)
        assert parted.files(store) is None
