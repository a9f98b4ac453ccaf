"""The model test: whatever is edited, in whatever order, an incremental build equals a clean one, and then is idle."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toys import Bench, InlineRunner, step

from onnxbuild.execute.events import SUCCEEDED, Outcome
from onnxbuild.planning.action_graph import Action, FilesSource
from onnxbuild.store.content import DamagedBlob
from onnxbuild.store.store import Store

_TEXTS = st.sampled_from(["", "a", "b", "ab"])


@st.composite
def worlds(draw: st.DrawFn, size: int = 7) -> list[dict]:
    """A random graph as rows that edits can change: kind, text, needs, whether it fails, whether it reads the file."""
    rows = []
    for number in range(draw(st.integers(1, size))):
        earlier = [f"n{n}" for n in range(number)]
        rows.append({
            "kind": draw(st.sampled_from(["cat", "count", "measure"])),
            "text": draw(_TEXTS),
            "of": draw(st.lists(st.sampled_from(earlier), max_size=3, unique=True)) if earlier else [],
            "fail": draw(st.integers(0, 9)) == 0,
            "reads": draw(st.booleans()),
        })  # fmt: skip
    return rows


@st.composite
def edits(draw: st.DrawFn) -> list[tuple]:
    return draw(
        st.lists(
            st.one_of(
                st.tuples(st.just("text"), st.integers(0, 6), _TEXTS),
                st.tuples(st.just("fail"), st.integers(0, 6), st.booleans()),
                st.tuples(st.just("file"), st.just(0), _TEXTS),
                st.tuples(st.just("version"), st.just(0), st.sampled_from(["1", "2"])),
                st.tuples(st.just("lose"), st.integers(0, 20), st.booleans()),
                st.tuples(st.just("touch"), st.just(0), st.just("")),
            ),
            min_size=1,
            max_size=5,
        )
    )


def actions(rows: list[dict], folder: Path) -> list[Action]:
    source = FilesSource(str(folder), ("file",))
    return [
        step(f"n{number}", row["kind"], of=row["of"], text=row["text"], fail=row["fail"],
             files=source if row["reads"] else None)
        for number, row in enumerate(rows)
    ]  # fmt: skip


def result(bench: Bench, outcomes: dict[str, Outcome]) -> dict[str, str]:
    """What a build leads to: the text that each action wrote, or that it has none."""
    return {
        name: bench.text(outcome) if outcome.outcome in SUCCEEDED else outcome.outcome
        for name, outcome in outcomes.items()
    }


def lose_a_blob(bench: Bench, number: int, *, damage: bool) -> None:
    blobs = sorted((bench.root / "store" / "blobs").rglob("*/*"))
    if blobs:
        blob = blobs[number % len(blobs)]
        if damage and blob.stat().st_size:
            blob.chmod(0o644)
            blob.write_bytes(b"?" * blob.stat().st_size)
        else:
            blob.unlink()


def delivered(bench: Bench, world: list[Action], jobs: int) -> dict[str, Outcome]:
    """Build as the command does: damage is noticed when the output is written, and the result is then built again."""
    while True:
        outcomes = bench.outcomes(*world, jobs=jobs)
        try:
            with Store(bench.root / "store") as store:
                for outcome in outcomes.values():
                    for file in (file for tree in outcome.outputs.values() for file in store.tree(tree).files):
                        store.content.verify(file)
        except DamagedBlob:
            continue
        return outcomes


def test_an_incremental_build_equals_a_clean_one(amount: Callable) -> None:
    tried = settings(max_examples=amount(20, 60), deadline=None, suppress_health_check=[HealthCheck.too_slow])
    tried(incremental_equals_clean)()


@given(worlds(), st.lists(edits(), min_size=1, max_size=4), st.integers(1, 4))
def incremental_equals_clean(rows: list[dict], rounds: list[list[tuple]], jobs: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "in").mkdir()
        (root / "in" / "file").write_text("start")
        version = "1"
        Bench(root / "used").outcomes(*actions(rows, root / "in"), jobs=jobs)
        for number, changes in enumerate(rounds):
            for what, where, value in changes:
                if what in {"text", "fail"}:
                    rows[where % len(rows)][what] = value
                elif what == "file":
                    (root / "in" / "file").write_text(value)
                elif what == "touch":
                    (root / "in" / "file").touch()
                elif what == "version":
                    version = value
                else:
                    lose_a_blob(Bench(root / "used"), where, damage=value)
            runner = InlineRunner(versions={"frob": version})
            used = Bench(root / "used", runner)
            clean = Bench(root / f"clean{number}", InlineRunner(versions={"frob": version}))
            incremental = delivered(used, actions(rows, root / "in"), jobs)
            fresh = clean.outcomes(*actions(rows, root / "in"), jobs=jobs)
            assert set(incremental) == {f"n{n}" for n in range(len(rows))}
            assert result(used, incremental) == result(clean, fresh)

            idle = InlineRunner(versions={"frob": version})
            again = Bench(root / "used", idle).outcomes(*actions(rows, root / "in"), jobs=jobs)
            expected = {name: "hit" if outcome.outcome in SUCCEEDED else outcome.outcome
                        for name, outcome in incremental.items()}  # fmt: skip
            assert {name: outcome.outcome for name, outcome in again.items()} == expected
            assert set(idle.ran) <= {name for name, outcome in again.items() if outcome.outcome == "failed"}
