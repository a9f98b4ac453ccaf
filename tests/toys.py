"""Toy step kinds, and a runner that counts what it ran: most tests of the engine use them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from onnxbuild.execute.events import ActionFinished, Event, Outcome, RunFinished
from onnxbuild.execute.policy import Interrupt, Policy
from onnxbuild.execute.schedule import execute
from onnxbuild.planning.action_graph import Action, ActionGraph, FilesSource, Input, OutputRef, RowsSource
from onnxbuild.protocol import CheckFailed, Failure, Request, Response
from onnxbuild.steps.kind import Kind, Params
from onnxbuild.store.store import Store


class ToyParams(Params, frozen=True, forbid_unknown_fields=True, kw_only=True):
    text: str = ""
    fail: bool = False


def _texts(inputs: Mapping[str, Path]) -> list[str]:
    """The content of every input file, by port and name."""
    return [path.read_text() for port in sorted(inputs) for path in sorted(inputs[port].rglob("*")) if path.is_file()]


def cat(params: ToyParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], tell: Any) -> dict[str, Any]:
    """Concatenates its text and its inputs."""
    if params.fail:
        raise CheckFailed("OBE00", "told to fail")
    text = params.text + "".join(_texts(inputs))
    (outputs["out"] / "text").write_text(text)
    return {"length": len(text)}


def count(params: ToyParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], tell: Any) -> dict[str, Any]:
    """The length of its text and inputs, so that different inputs can give an equal output."""
    if params.fail:
        raise CheckFailed("OBE00", "told to fail")
    (outputs["out"] / "text").write_text(str(len(params.text) + sum(map(len, _texts(inputs))) % 7))
    return {}


def _kind(name: str, **more: Any) -> Kind:
    settings: dict[str, Any] = {"version": 1, "packages": lambda _params: ("frob",), **more}
    return Kind(name=name, params=ToyParams, inputs={}, outputs={"out": "text"}, worker=f"toys:{name}", **settings)


TOYS: Mapping[str, Kind] = {
    "cat": _kind("cat"),
    "count": _kind("count"),
    "measure": msgspec.structs.replace(_kind("cat"), name="measure", pool="alone", measures=True),
    "flaky": _kind("flaky", transient=True),
}

FUNCTIONS = {"cat": cat, "count": count}


class InlineRunner:
    """Runs toy workers in threads of this process. `ran` counts runs by action id; `versions` are what is installed."""

    def __init__(self, functions: Mapping[str, Any] | None = None, versions: Mapping[str, str] | None = None) -> None:
        self.functions = {**FUNCTIONS, **(functions or {})}
        self.versions = dict(versions or {"frob": "1.0"})
        self.ran: Counter[str] = Counter()
        self.together = 0
        self.most_together: dict[str, int] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(8)

    def packages(self, toolchain: str, names: tuple[str, ...]) -> Mapping[str, str]:
        return {name: self.versions[name] for name in names}

    def identity(self, toolchain: str) -> Mapping[str, str]:
        return {"python": "cpython-3.11"}

    def submit(self, toolchain: str, request: Request, tell: Any) -> Future[Response]:
        return self._pool.submit(self._run, request, tell)

    def _run(self, request: Request, tell: Any) -> Response:
        with self._lock:
            self.ran[request.id] += 1
            self.together += 1
            self.most_together[request.id] = self.together
        try:
            function = self.functions[request.worker.partition(":")[2]]
            params = msgspec.convert(request.params, ToyParams)
            inputs = {port: Path(place) for port, place in request.inputs.items()}
            outputs = {port: Path(place) for port, place in request.outputs.items()}
            return Response(id=request.id, facts=function(params, inputs, outputs, tell))
        except CheckFailed as failed:
            return Response(id=request.id, failure=failed.failure)
        except Exception as error:
            return Response(id=request.id, failure=Failure(code="OBE98", message=repr(error)))
        finally:
            with self._lock:
                self.together -= 1

    def cancel(self, request_id: str, why: Failure) -> None:
        pass

    def close(self) -> None:
        self._pool.shutdown()


def step(name: str, kind: str = "cat", *, of: str | Iterable[str] = (), files: FilesSource | None = None,
         rows: tuple[Mapping[str, Any], ...] = (), **params: Any) -> Action:  # fmt: skip
    """An action `name` that reads the outputs of the actions `of`."""
    needs = [of] if isinstance(of, str) else list(of)
    inputs: dict[str, Input] = {f"in{number}": OutputRef(need, "out") for number, need in enumerate(needs)}
    if files is not None:
        inputs["files"] = files
    if rows:
        inputs["rows"] = RowsSource(rows)
    return Action(
        id=name, kind=kind, params=msgspec.to_builtins(ToyParams(**params)), inputs=inputs, pool=TOYS[kind].pool
    )


def graph_of(*actions: Action) -> ActionGraph:
    """The graph of actions, given in an order in which each comes after what it needs."""
    return ActionGraph({action.id: action for action in actions})


class Bench:
    """A store and a runner on which builds are made one after the other."""

    def __init__(self, root: Path, runner: InlineRunner | None = None) -> None:
        self.root = root
        self.runner = runner or InlineRunner()

    def __call__(self, *actions: Action, **policy: Any) -> dict[str, str]:
        """Build, and return how each action ended."""
        return {name: outcome.outcome for name, outcome in self.outcomes(*actions, **policy).items()}

    def outcomes(self, *actions: Action, **policy: Any) -> dict[str, Outcome]:
        return finished(self.events(*actions, **policy))

    def events(self, *actions: Action, interrupt: Interrupt | None = None, **policy: Any) -> list[Event]:
        settings = {"scope": "test", "logs": str(self.root / "logs"), "jobs": 2, "backoff_seconds": 0.0, **policy}
        with Store(self.root / "store") as store:
            return list(
                execute(graph_of(*actions), kinds=TOYS, store=store, runner=self.runner,
                        policy=Policy(**settings), interrupt=interrupt)
            )  # fmt: skip

    def text(self, outcome: Outcome) -> str:
        """What an action has written."""
        with Store(self.root / "store") as store:
            tree = store.tree(outcome.outputs["out"])
            return "".join(store.content.path(file.digest).read_text() for file in tree.files)


def finished(events: Iterable[Event]) -> dict[str, Outcome]:
    """Outcomes by id, as the events report them."""
    events = list(events)
    outcomes = {event.outcome.id: event.outcome for event in events if isinstance(event, ActionFinished)}
    assert isinstance(events[-1], RunFinished)
    ours = {"OBE54", "OBE99"}  # an error of the system, or a bug: no toy asks for one
    assert not [o.failure for o in outcomes.values() if o.failure and o.failure.code in ours]
    assert dict(events[-1].outcomes) == outcomes
    return outcomes
