"""What a run leaves with its receipt: the plan and the outcomes, and when they are used again."""

from types import SimpleNamespace

import msgspec
import pytest
from outs import Outs

from onnxbuild.deliver.out_folder import deliver
from onnxbuild.diagnostics import Source, Span
from onnxbuild.execute.events import Outcome
from onnxbuild.manifest.spec import Manifest
from onnxbuild.manifest.spec import Store as Settings
from onnxbuild.planning.action_graph import Action, ActionGraph, FilesSource, OutputRef, RowsSource, Variant
from onnxbuild.planning.planned import Plan
from onnxbuild.receipts.new_receipt import Stored
from onnxbuild.receipts.remembered_plan import (
    Before,
    files_of_parts,
    parts_of,
    recall,
    remember,
    stored_files,
)
from onnxbuild.store.store import Store

SPAN = Span(Source("m.yaml", "text"), 1, 1)
PARTS = (("a", "b"), ("c",), ("d",))
OUTCOMES = {name: Outcome(id=name, kind="toy", outcome="hit", key=f"key of {name}") for name in "abcd"}


def action(name, *needs):
    inputs = {"files": FilesSource("/root", (name,)), **{need: OutputRef(need, "out") for need in needs}}
    return Action(id=name, kind="toy", params={"text": name}, inputs=inputs, span=SPAN)


def variant(target, made_by):
    return Variant(model="m", target=target, output=OutputRef(made_by, "out"), precision="fp32", steps=(made_by,),
                   checks=(), measures=())  # fmt: skip


GRAPH = ActionGraph(
    {one.id: one for one in (action("a"), action("b", "a"), action("c"), action("d"))},
    (variant("t", "b"), variant("u", "c")),
    {"another name": "a"},
)


def plan_of(**changes):
    manifest = {
        "path": "/place/m.yaml", "models": (), "datasets": {}, "toolchains": {}, "files": ("m.yaml",),
        "environment": {},
        "store": Settings(path="s", remote="s3://bucket/x", trust=("ci",), spans={"path": SPAN}, trust_spans=(SPAN,)),
        **changes,
    }  # fmt: skip
    return Plan(manifest=Manifest(**manifest), graph=GRAPH, named=frozenset("bd"), delivers=frozenset(), whole=GRAPH,
                watched=("m.yaml",), plugins=(("mine", "module:KIND"),))  # fmt: skip


class Receipt(SimpleNamespace):
    """A receipt that still applies, with what was left in it."""

    def memory(self):
        if isinstance(self.left, Exception):
            raise self.left
        return self.left


def receipt(left, *, parts=PARTS, moved=()):
    return Receipt(left=left, parts=[[] for _ in parts], moved=frozenset(moved))


def before(*moved):
    found = recall(receipt(remember(plan_of(), PARTS, OUTCOMES), moved=moved))
    assert isinstance(found, Before)
    return found


# -- the plan ---------------------------------------------------------------------------------------------------------


def test_a_plan_is_read_back_without_places_in_the_manifest():
    memory = before().memory
    actions = {name: msgspec.structs.replace(one, span=None) for name, one in GRAPH.actions.items()}
    assert memory.manifest == "/place/m.yaml"
    assert memory.settings == Settings(path="s", remote="s3://bucket/x", trust=("ci",))
    assert memory.graph == ActionGraph(actions, GRAPH.variants)
    assert memory.named == {"b", "d"}
    assert memory.plugins == (("mine", "module:KIND"),)
    assert memory.outcomes == OUTCOMES
    assert memory.parts == PARTS


@pytest.mark.parametrize(("moved", "ids", "named", "targets"), [
    ((), [], "", ()), ((0,), ["a", "b"], "b", ("t",)), ((1,), ["c"], "", ("u",)), ((1, 2), ["c", "d"], "d", ("u",)),
    ((2, 0), ["a", "b", "d"], "bd", ("t",)),
])  # fmt: skip
def test_the_plan_of_what_has_changed_has_those_parts_only(moved, ids, named, targets):
    found = before(*moved)
    plan = found.plan()
    assert list(plan.graph.actions) == ids
    assert tuple(one.target for one in plan.graph.variants) == targets
    assert plan.named == set(named)
    assert plan.whole == found.memory.graph
    assert plan.watched == ()
    assert plan.plugins == (("mine", "module:KIND"),)
    assert plan.manifest == Manifest(
        path="/place/m.yaml", models=(), datasets={}, toolchains={}, files=(), environment={},
        store=Settings(path="s", remote="s3://bucket/x", trust=("ci",)),
    )  # fmt: skip


def test_outcomes_of_this_run_take_the_place_of_those_of_before():
    built = Outcome(id="c", kind="toy", outcome="built")
    assert before().completed({"c": built}) == {**OUTCOMES, "c": built}
    assert list(before().completed({"c": built})) == list("abcd")


# -- when it is left, and when it is used -----------------------------------------------------------------------------

LEFT = {
    "nothing special": ({}, True),
    "a variable that was read": ({"environment": {"TOKEN": "x"}}, False),
    "a remote store with a password": ({"store": Settings(remote="https://user:secret@host/x")}, False),
    "a remote store without one": ({"store": Settings(remote="https://host/x")}, True),
    "no remote store": ({"store": Settings()}, True),
    "a model in this environment": ({"models": (SimpleNamespace(toolchain=None),)}, True),
    "a model in another one": ({"models": (SimpleNamespace(toolchain=None), SimpleNamespace(toolchain="t"))}, False),
}


@pytest.mark.parametrize("what", LEFT)
def test_a_plan_is_left_unless_it_has_secrets_or_needs_environments(what):
    changes, is_left = LEFT[what]
    left = remember(plan_of(**changes), PARTS, OUTCOMES)
    assert (left != b"") == is_left
    assert (recall(receipt(left)) is not None) == is_left


def test_without_a_receipt_nothing_is_recalled():
    assert recall(None) is None


@pytest.mark.parametrize("left", [
    b"", b"not a plan", b"\x91" * 100_000, OSError(5, "Input/output error"), remember(plan_of(), PARTS[:2], OUTCOMES),
    remember(plan_of(), (*PARTS, ("e",)), OUTCOMES),
], ids=["empty", "damaged", "nested", "unreadable", "of fewer parts", "of more parts"])  # fmt: skip
def test_a_memory_that_does_not_belong_to_the_receipt_is_not_recalled(left):
    assert recall(receipt(left)) is None


# -- the files of the parts -------------------------------------------------------------------------------------------


class Shared:
    """An action without sources, whose result is delivered as two variants."""

    def __init__(self, root, store):
        self.store = store
        outs = Outs(root)
        graph, self.outcomes = outs.published(store, {"model.onnx": b"result"})
        (one,) = graph.variants
        self.graph = msgspec.structs.replace(graph, variants=(one, msgspec.structs.replace(one, target="u")))
        self.deliveries = deliver(self.graph, self.outcomes, store, outs.out)
        self.out = outs.out

    def files(self):
        return files_of_parts(parts_of(self.graph), self.graph, self.outcomes, self.deliveries, self.store)


@pytest.fixture
def shared(tmp_path):
    with Store(tmp_path / "store") as store:
        yield Shared(tmp_path, store)


def test_a_part_watches_every_variant_that_its_action_makes(shared):
    (files,) = shared.files()
    assert set(files) == {
        str(shared.out / "m" / target / name) for target in "tu" for name in ("model.onnx", "onnxbuild.json")
    }


@pytest.mark.parametrize("number", [0, 1])
def test_every_variant_of_a_part_has_to_be_delivered(shared, number):
    shared.deliveries = [
        msgspec.structs.replace(one, files={}) if place == number else one
        for place, one in enumerate(shared.deliveries)
    ]
    assert shared.files() is None


@pytest.mark.parametrize("number", [0, 1])
def test_a_delivered_file_that_is_not_remembered_is_not_vouched_for(shared, number):
    one = shared.deliveries[number]
    more = msgspec.structs.replace(one, files={**one.files, str(shared.out / "unknown"): "0" * 64})
    shared.deliveries = [more if one is other else other for other in shared.deliveries]
    assert shared.files() is None


def test_a_part_without_sources_needs_no_trace(shared):
    shared.store.traces.forget([outcome.key for outcome in shared.outcomes.values()])
    assert shared.files() is not None


@pytest.fixture
def reading(tmp_path):
    """Two actions that each read a file, with their traces; nothing is delivered."""
    for name in "ab":
        (tmp_path / name).write_text(name)
    with Store(tmp_path / "store") as store:
        actions, outcomes = {}, {}
        for name in "ab":
            source = FilesSource(str(tmp_path), (name,))
            inputs = {"files": store.digest_files(source.root, source.files).digest}
            outcomes[name] = _recorded(store, name, inputs)
            rows = RowsSource(({"text": "x"},))
            actions[name] = Action(id=name, kind="toy", params={}, inputs={"files": source, "rows": rows})
        yield SimpleNamespace(store=store, graph=ActionGraph(actions), outcomes=outcomes, root=tmp_path)


def _recorded(store, name, inputs):
    from onnxbuild.digest import digest_value
    from onnxbuild.store.traces import Trace

    parts = {"name": name, "inputs": inputs}
    trace = Trace(parts=parts, outputs={"out": "0" * 64}, facts={}, seconds=0.0, worker="")
    store.traces.record(digest_value(parts), trace, [])
    return Outcome(id=name, kind="toy", outcome="hit", key=digest_value(parts))


def files(reading):
    return files_of_parts(parts_of(reading.graph), reading.graph, reading.outcomes, (), reading.store)


def test_each_part_has_its_own_files(reading):
    assert [list(one) for one in files(reading)] == [[str(reading.root / "a")], [str(reading.root / "b")]]


@pytest.mark.parametrize("name", ["a", "b"])
def test_one_part_that_is_not_known_leaves_no_receipt(reading, name):
    outcome = reading.outcomes[name]
    for changed in (
        msgspec.structs.replace(outcome, key=None),
        msgspec.structs.replace(outcome, key="0" * 64),
        _recorded(reading.store, name, {"files": "1" * 64}),
    ):
        reading.outcomes[name] = changed
        assert files(reading) is None
    reading.outcomes[name] = outcome
    assert files(reading) is not None


def test_a_source_that_is_not_remembered_is_not_vouched_for(reading):
    b = reading.graph.actions["b"]
    (reading.root / "new").write_text("new")
    source = FilesSource(str(reading.root), ("b", "new"))
    changed = msgspec.structs.replace(b, inputs={"files": source})
    reading.graph = ActionGraph({**reading.graph.actions, "b": changed})
    assert files(reading) is None


# -- the store --------------------------------------------------------------------------------------------------------


def test_a_receipt_knows_each_stored_file_with_its_size_and_the_whole_database(tmp_path):
    with Store(tmp_path / "store") as store:
        outs = Outs(tmp_path)
        _graph, one = outs.published(store, {"a": b"1", "b": b"22", "c": b"1"})
        _graph, two = outs.published(store, {"b": b"22", "d": b"4444"})
        found = stored_files({"one": one["m/t:toy"], "two": two["m/t:toy"]}, store)
        assert isinstance(found, Stored)
        assert found.blobs == str(tmp_path / "store" / "blobs")
        assert found.database == str(tmp_path / "store" / "traces.db")
        assert sorted(found.sizes.values()) == [1, 2, 4]
        assert {digest: store.content.path(digest).stat().st_size for digest in found.sizes} == found.sizes
        # What is in the log of the database would be moved into its file by the next process.
        size = (tmp_path / "store" / "traces.db").stat().st_size
    assert (tmp_path / "store" / "traces.db").stat().st_size == size
