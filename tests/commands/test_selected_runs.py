"""A run that selectors narrow, or that ends early: what it writes below out/, and what stays as a whole run left it."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import structs
from toys import TOYS, InlineRunner, cat, step

from onnxbuild.commands.building.finished import Result
from onnxbuild.commands.building.rounds import run_session
from onnxbuild.commands.publishing.papers import Papers
from onnxbuild.commands.workspace import Session
from onnxbuild.execute.events import ActionFinished, Event
from onnxbuild.execute.policy import Interrupt, Policy
from onnxbuild.manifest.spec import Manifest
from onnxbuild.manifest.spec import Store as Settings
from onnxbuild.planning.action_graph import ActionGraph, OutputRef, Packed, Published, Variant
from onnxbuild.planning.best_only import begun
from onnxbuild.planning.planned import Plan
from onnxbuild.planning.select import delivered_named, named, select
from onnxbuild.report.progress.reporter import Quiet, Reporter
from onnxbuild.store.store import Store
from onnxbuild.tables.choices import Choice


def sized(params, inputs, outputs, tell):
    return {"bytes": cat(params, inputs, outputs, tell)["length"]}


class World:
    """A model with two variants, of which one is proven by a check of the other; its best one is measured once more."""

    def __init__(self, root: Path) -> None:
        self.root, self.out, self.runner = root, root / "out", InlineRunner({"cat": sized})
        self.text = "spam"

    def whole(self) -> ActionGraph:
        actions = [
            step("m/fp32:export", text=self.text),
            step("m/fp32:check", of="m/fp32:export"),
            step("m/fp32:bench", "measure", of="m/fp32:export"),
            step("m/fp32:again", "measure", of="m/fp32:bench"),
            structs.replace(step("m/int8:quantize", of="m/fp32:export", text="q"), after=("m/fp32:check",)),
            step("m/int8:check", of=["m/fp32:export", "m/int8:quantize"]),
            step("m/int8:bench", "measure", of="m/int8:quantize"),
            step("m/int8:again", "measure", of="m/int8:bench"),
            structs.replace(step("m:package-plain", of="m/int8:quantize"), after=("m/fp32:check", "m/int8:check")),
            structs.replace(step("m:publish", of="m:package-plain"), after=("m/int8:bench",)),
        ]
        packed = Packed(name="plain", variant=_package(), client=None, targets=("int8",))
        return ActionGraph(
            {one.id: one for one in actions},
            (_variant("fp32", "export"), _variant("int8", "quantize", "m/fp32:export", proofs=("m/fp32:check",))),
            {"m/int8:export": "m/fp32:export"},
            (Choice("m", "size_mb", False, (), ("fp32", "int8")),),
            (packed,),
            (Published(model="m", package="plain", place="folder:p", action="m:publish"),),
        )

    def run(self, *selectors: str, reporter: Reporter | None = None, interrupt: Interrupt | None = None) -> Result:
        whole = self.whole()
        graph = begun(select(whole, selectors))
        manifest = Manifest(path="m.yaml", models=(), datasets={}, store=Settings(), files=(), environment={},
                            toolchains={})  # fmt: skip
        plan = Plan(manifest=manifest, graph=graph, named=named(whole, selectors) & graph.actions.keys(), whole=whole,
                    delivers=delivered_named(graph, selectors), watched=(), plugins=())  # fmt: skip
        policy = Policy(scope="test", logs=str(self.root / "logs"), jobs=1)
        with Store(self.root / "store") as store:
            opened = Session(plan=plan, kinds=TOYS, store=store, runner=self.runner, scope="test", state=self.root,
                             out=self.out)  # fmt: skip
            return run_session(opened, policy, self.out, reporter or Quiet(), interrupt)

    def files(self) -> dict[str, bytes]:
        return {str(one.relative_to(self.out)): one.read_bytes() for one in self.out.rglob("*") if one.is_file()}

    def folders(self) -> list[str]:
        return sorted(str(one.parent.relative_to(self.out)) for one in self.out.rglob("onnxbuild.json"))


def _variant(target: str, last: str, *before: str, proofs: tuple[str, ...] = ()) -> Variant:
    own = f"m/{target}:"
    return Variant(
        model="m", target=target, output=OutputRef(f"{own}{last}", "out"), precision=target, proofs=proofs,
        steps=(*before, f"{own}{last}"), checks=(f"{own}check",), measures=(f"{own}bench",), if_best=(f"{own}again",),
    )  # fmt: skip


def _package() -> Variant:
    steps = ("m/fp32:export", "m/int8:quantize", "m:package-plain")
    return Variant(model="m", target="packages/plain", output=OutputRef(steps[-1], "out"), precision="int8",
                   steps=steps, checks=(), measures=(), proofs=("m/fp32:check", "m/int8:check"))  # fmt: skip


def card(_papers, _variant, _own, outcomes):
    """What a card depends on: the results of the variants in the package."""
    shown = ("m/int8:check", "m/int8:bench", "m/int8:again")
    return "".join(f"{name} {outcomes[name].key if name in outcomes else None}\n" for name in shown).encode()


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setattr(Papers, "card", card)
    return World(tmp_path)


SELECTORS = [
    "m",
    "m/fp32",
    "m/int8",
    "m/*",
    "m/int8:quantize",
    "m/int8:check",
    "m/int8:bench",
    ":bench",
    ":check",
    ":export",
    "m/fp32:check+",
    "+m/int8",
    "m:publish",
    "m/packages/plain",
    ":package-*",
]


@pytest.mark.parametrize("selector", SELECTORS)
def test_no_selected_run_changes_what_a_whole_run_has_left(world, selector):
    world.run()
    whole = world.files()
    assert b"m/int8:again" not in whole["m/int8/onnxbuild.json"]
    assert b"m/fp32:again" in whole["m/fp32/onnxbuild.json"], "the smallest one"
    ran = sum(world.runner.ran.values())
    done = world.run(selector)
    assert (done.exit_code, {one.state for one in done.deliveries}) == (0, {"intact"})
    assert world.files() == whole
    world.run()
    assert world.files() == whole
    assert sum(world.runner.ran.values()) == ran


@pytest.mark.parametrize(
    ("selectors", "folders"),
    [
        (["m/int8"], ["m/int8"]),
        (["m/fp32"], ["m/fp32"]),
        (["m/int8:check"], ["m/int8"]),
        (["m/int8:quantize"], []),
        (["m/fp32", "m/int8"], ["m/best", "m/fp32", "m/int8"]),
        (["m/packages/plain"], ["m/packages/plain"]),
        (["m:publish"], ["m/packages/plain"]),
        (["m/fp32:export+"], ["m/best", "m/fp32", "m/int8", "m/packages/plain"]),
    ],
)
def test_a_selected_run_writes_only_the_folders_of_what_is_selected(world, selectors, folders):
    assert world.run(*selectors).exit_code == 0
    assert world.folders() == folders


def test_another_source_changes_only_the_selected_folder(world):
    world.run()
    before = world.files()
    world.text = "eggs and ham"
    world.run("m/int8:check")
    after = world.files()
    assert {name.rpartition("/")[0] for name in after if after[name] != before[name]} == {"m/int8"}
    assert b"m/int8:bench" not in after["m/int8/onnxbuild.json"], "it measured another graph"


class Stop(Quiet):
    """Ends the run as soon as an action has ended."""

    def __init__(self, name: str) -> None:
        self.name, self.interrupt = name, Interrupt()

    def event(self, event: Event) -> None:
        if isinstance(event, ActionFinished) and event.outcome.id == self.name:
            self.interrupt.requested = True


def test_a_run_that_ends_early_takes_no_step_from_a_description(world):
    graph = world.whole()
    variants = tuple(structs.replace(one, if_best=()) for one in graph.variants)
    world.whole = lambda: structs.replace(graph, variants=variants)
    world.run()
    whole = world.files()
    stop = Stop("m/fp32:check")
    done = world.run(reporter=stop, interrupt=stop.interrupt)
    assert done.interrupted
    assert done.outcomes["m/fp32:bench"].outcome == "skipped"
    assert {one.variant: one.state for one in done.deliveries}["m/fp32"] == "intact"
    assert world.files() == whole
