"""From a `Manifest` to an `ActionGraph`: for each model its fetch and export, for each target its steps and checks."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from onnxbuild.diagnostics import Diagnostic, DiagnosticError, Span, did_you_mean, fault
from onnxbuild.digest import canonical
from onnxbuild.machine import Machine
from onnxbuild.manifest.document import Table, overlay
from onnxbuild.manifest.json_schema import place_of
from onnxbuild.manifest.load import in_order
from onnxbuild.manifest.spec import Manifest, Model, Target
from onnxbuild.planning.action_graph import CURRENT, Action, ActionGraph, FilesSource, Input, OutputRef, Variant
from onnxbuild.planning.exporter_code import exporter_code, floating_code
from onnxbuild.planning.known_versions import known_versions
from onnxbuild.planning.locked import Lock
from onnxbuild.planning.sources import Fetched, SourceReader
from onnxbuild.steps import Kinds
from onnxbuild.steps.dataset_rows import PORT as ROWS
from onnxbuild.steps.dataset_rows import Rows
from onnxbuild.steps.exporters import is_own
from onnxbuild.steps.kind import Context, Fault, Kind
from onnxbuild.steps.precision import PrecisionParams, precision_after
from onnxbuild.steps.quantize import QuantizeParams, precision_of
from onnxbuild.tables.tasks import family_of, infer_task

_ON_BY_DEFAULT = frozenset({"validate"})


class Expansion(Struct, frozen=True, kw_only=True):
    """A graph with all that was found on the way. `files` and `directories` were looked at to plan it."""

    graph: ActionGraph
    diagnostics: tuple[Diagnostic, ...]
    files: tuple[str, ...]
    directories: tuple[str, ...]


def expand(manifest: Manifest, kinds: Kinds, lock: Lock, machine: Machine) -> ActionGraph:
    """The actions of a manifest.

    A Hub source that the lock does not hold is planned with the revision as written: before a run, `lock_for`.
    Errors: DiagnosticError with every fault of every model; warnings are dropped (`survey` keeps them).
    """
    found = survey(manifest, kinds, lock, machine)
    faults = [one for one in found.diagnostics if one.severity == "error"]
    if faults:
        raise DiagnosticError(faults)
    return found.graph


def survey(manifest: Manifest, kinds: Kinds, lock: Lock, machine: Machine) -> Expansion:
    """The actions of a manifest as far as they can be told, with errors and warnings, in order of place."""
    expander = _Expander(kinds, lock, machine, manifest)
    for dataset in manifest.datasets.values():
        expander.sources.check_dataset(dataset)
    for model in manifest.models:
        expander.add_model(model)
    return Expansion(
        graph=ActionGraph(expander.actions, tuple(expander.variants), expander.aliases),
        diagnostics=tuple(in_order(expander.faults)),
        files=tuple(expander.sources.files),
        directories=tuple(expander.sources.directories),
    )


class _Step(Struct, frozen=True):
    """A block of one step kind, and where its key stands."""

    kind: str
    block: Any
    key_at: Span
    value_at: Span


class _Settled(Struct, frozen=True):
    """Params as a kind resolved them: the Struct, and its plain form."""

    params: Any
    plain: Mapping[str, Any]


class _Base(Struct, frozen=True):
    """What all targets of a model start from."""

    fetch: OutputRef
    output: OutputRef
    context: Context
    steps: tuple[str, ...]
    unlocked: bool


class _Expander:
    """One expansion: actions so far, each interned by what it does, so that equal steps are one action."""

    def __init__(self, kinds: Kinds, lock: Lock, machine: Machine, manifest: Manifest) -> None:
        self.actions: dict[str, Action] = {}
        self.variants: list[Variant] = []
        self.aliases: dict[str, str] = {}
        self.faults: list[Diagnostic] = []
        self.sources = SourceReader(lock, self.faults)
        self._kinds, self._machine, self._datasets = kinds, machine, manifest.datasets
        self._checks = tuple(kind for kind in kinds.values() if place_of(kind) == "check")
        self._by_content: dict[bytes, str] = {}
        self._timeout: float | None = None  # of the model at hand, like the toolchain
        self._toolchain = CURRENT
        self._versions = functools.cache(lambda toolchain: known_versions(manifest, lock, toolchain))
        self._settled: dict[tuple[Any, ...], tuple[_Settled, Any, Any]] = {}

    def add_model(self, model: Model) -> None:
        self._timeout = model.block.get("timeout")
        self._toolchain = model.toolchain or CURRENT
        fetched = self.sources.fetched(model)
        if fetched is None:
            return
        task = model.task or infer_task(fetched.config or {})
        context = Context(
            task=task,
            family=family_of(task, fetched.config),
            config=fetched.config,
            precision="fp32",
            previous=("fetch",),
            reference=fetched.artifact,
            device="cpu",
            machine=self._machine,
            versions=self._versions(model.toolchain),
        )
        base = self._base(model, fetched, context)
        if base is not None:
            for target in model.targets:
                self._add_target(model, target, base)

    def _base(self, model: Model, fetched: Fetched, context: Context) -> _Base | None:
        kind = self._kinds["fetch"]
        params = msgspec.convert({**fetched.params}, kind.params)
        if fetched.params["origin"] == "random":
            params = msgspec.structs.replace(params, task=context.task or "")
        at = model.block.key_span("source")
        fetch = OutputRef(self._add(f"{model.name}:fetch", kind, _as_json(params), fetched.inputs, at), "model")
        if fetched.artifact == "onnx":
            if "export" in model.block:
                message = "an ONNX model is not exported: it is the reference as it is"
                at = model.block.key_span("export")
                self.faults.append(fault("OB032", message, span=at, hint="remove `export:`"))
            return _Base(fetch, fetch, context, (fetch.action,), fetched.unlocked)
        step = _Step(
            "export",
            model.block.get("export", {}),
            *_places(model.block, "export", model.block.values_at.get("task", model.span)),
        )
        settled = self._settle(step, context, unlocked=fetched.unlocked)
        if settled is None:
            return None
        if settled.params.trusts_code:
            code = floating_code(model.source, fetched.config, step.block.value_span("trust_remote_code"))
            self.faults.extend(code)
            if code:
                return None
        inputs = self._export_inputs(fetch, settled.params.exporter, step)
        if inputs is None:
            return None
        export = self._add(f"{model.name}:export", self._kinds["export"], settled.plain, inputs, step.key_at)
        context = msgspec.structs.replace(
            context,
            precision=settled.params.dtype,
            previous=("fetch", "export"),
            trusts_code=settled.params.trusts_code,
        )
        return _Base(fetch, OutputRef(export, "model"), context, (fetch.action, export), fetched.unlocked)

    def _export_inputs(self, fetch: OutputRef, exporter: str, step: _Step) -> Mapping[str, Input] | None:
        """The checkpoint, and the code of an exporter that the manifest brings itself; None after a fault."""
        if not is_own(exporter):
            return {"model": fetch}
        at = step.block.value_span("exporter")
        code = exporter_code(exporter, at)
        if isinstance(code, Diagnostic):
            self.faults.append(code)
            return None
        return {"model": fetch, "exporter": code}

    def _add_target(self, model: Model, target: Target, base: _Base) -> None:
        context = msgspec.structs.replace(base.context, device=target.device)
        output, steps = base.output, list(base.steps)
        for step in self._steps(target):
            settled = self._settle(step, context, unlocked=base.unlocked)
            if settled is None:
                return
            kind = self._kinds[step.kind]
            name = f"{model.name}/{target.name}:{step.kind}"
            inputs = {"model": output, **self._dataset_input(settled.params)}
            action = self._add(name, kind, settled.plain, inputs, step.key_at)
            output = OutputRef(action, "model")
            steps.append(action)
            context = msgspec.structs.replace(
                context,
                precision=_precision(step.kind, settled.params, context),
                previous=(*context.previous, step.kind),
            )
        checks: list[str] = []
        measures: list[str] = []
        for kind in self._checks:
            check = self._add_check(model, target, kind, base, output, context)
            if check is not None:
                (measures if kind.measures else checks).append(check)
        self.variants.append(
            Variant(
                model=model.name,
                target=target.name,
                output=output,
                precision=context.precision,
                steps=tuple(steps),
                checks=tuple(checks),
                measures=tuple(measures),
            )
        )

    def _add_check(
        self, model: Model, target: Target, kind: Kind, base: _Base, output: OutputRef, context: Context
    ) -> str | None:
        step = _check_step(model, target, kind.name)
        if step is None or output == base.fetch:  # a model that came as ONNX is its own reference
            return None
        settled = self._settle(step, context, unlocked=base.unlocked)
        if settled is None:
            return None
        ports = {"model": output, "reference": base.fetch}
        name = f"{model.name}/{target.name}:{kind.name}"
        inputs = {**{port: ports[port] for port in kind.inputs}, **self._dataset_input(settled.params)}
        return self._add(name, kind, settled.plain, inputs, step.key_at)

    def _steps(self, target: Target) -> Iterator[_Step]:
        """The steps that make a target's graph, in order: `steps` as written, the short form in the kinds' order."""
        block = target.block
        written = [name for name in self._kinds if name in block and place_of(self._kinds[name]) == "target"]
        if "steps" not in block:
            for name in written:
                yield _Step(name, block[name], *_places(block, name, target.span))
            return
        for name in written:
            message = f"`{name}` beside `steps`: its place in the order is not told"
            self.faults.append(fault("OB032", message, span=block.key_span(name), hint="put it into `steps`"))
        for entry in block["steps"]:
            for name, value in entry.items():
                yield _Step(name, value, *_places(entry, name, target.span))

    def _settle(self, step: _Step, context: Context, *, unlocked: bool) -> _Settled | None:
        """The step's params, resolved and checked; None after an error."""
        # Targets that a thousand models share hold one block each: what a check looks at is the same for most of them.
        # What has faults is settled anew each time, for their places differ.
        block = step.block if not isinstance(step.block, dict) else id(step.block) if step.block else None
        about = (context.task, context.precision, context.previous, context.reference, context.device)
        key = (step.kind, block, *about, context.trusts_code, id(context.config), unlocked, self._toolchain)
        if key in self._settled:
            return self._settled[key][0]
        faults = len(self.faults)
        settled = self._settle_anew(step, context, unlocked=unlocked)
        if settled is not None and len(self.faults) == faults:
            # What the ids in the key belong to is kept beside the value, so that no other object can take them.
            self._settled[key] = (settled, step.block, context.config)
        return settled

    def _settle_anew(self, step: _Step, context: Context, *, unlocked: bool) -> _Settled | None:
        kind = self._kinds[step.kind]
        short = kind.params.SHORT
        value = step.block if isinstance(step.block, dict) or short is None else {short: step.block}
        try:
            params = msgspec.convert(value, kind.params)
        except msgspec.ValidationError as error:
            self.faults.append(fault("OB011", f"`{step.kind}`: {error}", span=step.value_at))
            return None
        # What cannot be told of a model that was never looked at is no fault of the manifest: OB101 asks to lock it.
        # Checked as written: resolving sets what the chosen method does not read to its default.
        found = [one for one in kind.check(params, context) if not (unlocked and one.code == "OB303")]
        self.faults.extend(_located(one, step) for one in found)
        if any(one.severity == "error" for one in found):
            return None
        with_rows = self._with_rows(params, step)
        if with_rows is None:
            return None
        resolved = kind.resolve(with_rows, context)
        return _Settled(resolved, _as_json(resolved))

    def _with_rows(self, params: Any, step: _Step) -> Any:
        """The params with what the manifest says of the dataset that they name; None where there is none so called."""
        name = getattr(params, "dataset", "")
        if not name:
            return params
        found = self._datasets.get(name)
        if found is None:
            at = step.block.value_span("dataset") if isinstance(step.block, Table) else step.value_at
            hint = did_you_mean(name, self._datasets) or "define it under `datasets:`"
            self.faults.append(fault("OB004", f"dataset `{name}` is not defined", span=at, hint=hint))
            return None
        rows = Rows(columns=found.columns, limit=found.limit, seed=found.seed)
        return msgspec.structs.replace(params, rows=rows)

    def _dataset_input(self, params: Any) -> Mapping[str, Input]:
        """The rows that params name, as an input: they count by content. What is on a Hub is fetched first."""
        name = getattr(params, "dataset", "")
        source = self.sources.rows(self._datasets[name]) if name else None
        if not isinstance(source, Fetched):
            return {ROWS: source} if source is not None else {}
        kind = self._kinds["fetch"]
        plain = _as_json(msgspec.convert({**source.params}, kind.params))
        fetch = self._add(f"datasets/{name}:fetch", kind, plain, {}, self._datasets[name].span)
        return {ROWS: OutputRef(fetch, "model")}

    def _add(self, name: str, kind: Kind, params: Mapping[str, Any], inputs: Mapping[str, Input], at: Span) -> str:
        """The id of the action that does this: an earlier one that does the same, else a new one called `name`."""
        toolchain = self._toolchain_for(kind, params)
        content = canonical([kind.name, params, inputs, toolchain])
        known = self._by_content.get(content)
        if known is not None:
            self.aliases.setdefault(name, known)
            return known
        number, unique = 1, name
        while unique in self.actions or unique in self.aliases:
            number += 1
            unique = f"{name}-{number}"
        self.actions[unique] = Action(
            id=unique, kind=kind.name, params=params, inputs=inputs, pool=kind.pool,
            toolchain=toolchain, timeout_seconds=self._timeout or kind.timeout_seconds, span=at,
        )  # fmt: skip
        self._by_content[content] = unique
        return unique

    def _toolchain_for(self, kind: Kind, params: Mapping[str, Any]) -> str:
        """Copying files needs no framework, and so no environment but this one."""
        return CURRENT if kind.name == "fetch" and params["origin"] == "files" else self._toolchain


def _check_step(model: Model, target: Target, kind: str) -> _Step | None:
    """The block of a check: the target's over the model's; `false` switches it off, `true` on with defaults."""
    of_model, of_target = model.block.get(kind), target.block.get(kind)
    holder, fallback = (target.block, target.span) if of_target is not None else (model.block, model.span)
    asked = of_target if of_target is not None else of_model
    if asked is False or (asked is None and kind not in _ON_BY_DEFAULT):
        return None
    places = _places(holder, kind, fallback)
    if isinstance(of_target, Table) and isinstance(of_model, Table):
        return _Step(kind, overlay(of_model, of_target), *places)
    block = asked if isinstance(asked, Table) else of_model if isinstance(of_model, Table) else {}
    return _Step(kind, block, *places)


def _places(block: Table, key: str, fallback: Span) -> tuple[Span, Span]:
    """Where a block's key and value stand; a block that was not written stands where its owner does."""
    return block.keys_at.get(key, fallback), block.values_at.get(key, fallback)


def _precision(kind: str, params: Any, context: Context) -> str:
    if isinstance(params, QuantizeParams):
        return precision_of(params)
    if isinstance(params, PrecisionParams):
        return precision_after(params, context.precision)
    return "fp16" if kind == "optimize" and params.level == "O4" else context.precision


def _as_json(params: Any) -> Mapping[str, Any]:
    """Params as they come back from a trace: lists, no tuples, so that the two compare equal."""
    found: Mapping[str, Any] = msgspec.json.decode(msgspec.json.encode(params))
    return found


def _located(found: Fault, step: _Step) -> Diagnostic:
    span, field, block = step.key_at, found.field, step.block
    if field is not None and not isinstance(block, dict):  # the short form
        span = step.value_at
    elif field is not None and isinstance(block, Table) and field in block:
        span = _within(block[field], found.message) or block.value_span(field)
    return fault(found.code, found.message, span=span, hint=found.hint, severity=found.severity)


def _within(value: Any, message: str) -> Span | None:
    """The place of the key inside a field that a message names."""
    named = [key for key in value if f"`{key}`" in message] if isinstance(value, Table) else []
    return value.key_span(named[0]) if named else None


def watched_files(manifest: Manifest, expansion: Expansion, lock: str) -> tuple[str, ...]:
    """Every file that the plan was made from, but for the content of sources: an equal set of stats means no news."""
    return (*manifest.files, lock, *expansion.files)


def sources_of(graph: ActionGraph) -> Iterator[FilesSource]:
    """The files from outside that a graph reads, each once."""
    seen: set[FilesSource] = set()
    for action in graph.actions.values():
        for source in action.inputs.values():
            if isinstance(source, FilesSource) and source not in seen:
                seen.add(source)
                yield source
