"""From a `Manifest` to an `ActionGraph`: for each model its fetch and export, for each target its steps and checks."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Struct

from onnxbuild.diagnostics import Diagnostic, DiagnosticError, Span, fault
from onnxbuild.machine import Machine
from onnxbuild.manifest.checks.tuning_checks import tunes_best_only
from onnxbuild.manifest.document import Table
from onnxbuild.manifest.json_schema import place_of
from onnxbuild.manifest.load import in_order
from onnxbuild.manifest.reach import Reach
from onnxbuild.manifest.reading.budget import MOST_STEPS
from onnxbuild.manifest.spec import Manifest, Model, Target
from onnxbuild.planning.action_graph import (
    CURRENT,
    ActionGraph,
    Input,
    OutputRef,
    Packed,
    Published,
    SharedActions,
    Stated,
    Variant,
)
from onnxbuild.planning.checkpoints.adapters_of_models import is_merged_into, without_weights
from onnxbuild.planning.checkpoints.preparation import prepare_params, refusal
from onnxbuild.planning.compiling.compiled_targets import (
    reads_checkpoint,
    runtime_after,
    starts_from_checkpoint,
    tune_of_compiled,
)
from onnxbuild.planning.datasets.dataset_sources import DatasetReader
from onnxbuild.planning.datasets.figures_of_choices import unmeasured_figures
from onnxbuild.planning.exporter_code import exporter_code, floating_code, watched_code_of
from onnxbuild.planning.known_versions import known_versions
from onnxbuild.planning.local_files import LocalFiles
from onnxbuild.planning.locked import Lock
from onnxbuild.planning.origins.manifest_place import place_of_manifest
from onnxbuild.planning.origins.stated_sources import stated
from onnxbuild.planning.packages.package_actions import Origin, packages_of
from onnxbuild.planning.packages.publish_actions import Uploads
from onnxbuild.planning.settle import Settled, Settler, Step, as_json, block_places, check_step, target_steps
from onnxbuild.planning.sources import Fetched, SourceReader
from onnxbuild.steps import Kinds
from onnxbuild.steps.checks.load_check import LOAD
from onnxbuild.steps.checks.tune import TUNE
from onnxbuild.steps.dataset_rows import PORT as ROWS
from onnxbuild.steps.export import unknown_task
from onnxbuild.steps.exporters import is_own
from onnxbuild.steps.kind import UNCOMPILED, Context, Kind
from onnxbuild.steps.prepare import ADAPTER
from onnxbuild.steps.quantize import CHECKPOINT
from onnxbuild.steps.validate import VALIDATE
from onnxbuild.tables.architectures import infer_task
from onnxbuild.tables.checkpoint_files import has_processor
from onnxbuild.tables.checkpoints.adapters import task_of
from onnxbuild.tables.checkpoints.quantization import quantized_of, without_block
from onnxbuild.tables.positions import may_read_text
from onnxbuild.tables.tasks import TASKS, family_of, file_role, proper_name, reads_text_rows

FULL = "fp32"  # the precision of a graph that no step has made less exact


class Expansion(Struct, frozen=True, kw_only=True):
    """A graph with its diagnostics. `files` and `directories` were looked at to plan it."""

    graph: ActionGraph
    diagnostics: tuple[Diagnostic, ...]
    files: tuple[str, ...]
    directories: tuple[str, ...]


def expand(manifest: Manifest, kinds: Kinds, lock: Lock, machine: Machine) -> ActionGraph:
    """The actions of a manifest.

    A Hub source that the lock does not hold is planned with the revision as written: before a run, `lock_for`.
    Errors: DiagnosticError with every fault of every model; warnings are dropped (`survey` keeps them).
    """
    expansion = survey(manifest, kinds, lock, machine)
    faults = [one for one in expansion.diagnostics if one.severity == "error"]
    if faults:
        raise DiagnosticError(faults)
    return expansion.graph


def survey(manifest: Manifest, kinds: Kinds, lock: Lock, machine: Machine) -> Expansion:
    """The actions of the sound part of a manifest, with errors and warnings, in order of place."""
    expander = _Expander(kinds, lock, machine, manifest)
    for dataset in manifest.datasets.values():
        expander.datasets.check(dataset)
    for model in manifest.models:
        expander.add_model(model)
    return Expansion(
        graph=ActionGraph(
            expander.shared.actions,
            tuple(expander.variants),
            expander.shared.aliases,
            tuple(model.choice for model in manifest.models if model.choice is not None),
            tuple(expander.packages),
            tuple(expander.uploads),
        ),
        diagnostics=tuple(in_order(expander.faults)),
        files=tuple(expander.local.files),
        directories=tuple(expander.local.directories),
    )


class _Base(Struct, frozen=True):
    """What all targets of a model start from; `fetch` is what its variants are compared with.

    `steps` make `output`, and `sources`, the first of them, `fetch`.
    """

    fetch: OutputRef
    output: OutputRef
    context: Context
    steps: tuple[str, ...]
    unlocked: bool
    sources: tuple[str, ...] = ()
    stated: Mapping[str, Stated] = {}


class _Expander:
    """One expansion: the actions and variants so far, and the faults."""

    def __init__(self, kinds: Kinds, lock: Lock, machine: Machine, manifest: Manifest) -> None:
        self.shared = SharedActions()
        self.variants: list[Variant] = []
        self.packages: list[Packed] = []
        self.uploads: list[Published] = []
        self.faults: list[Diagnostic] = []
        self.local = LocalFiles(self.faults, Reach(manifest.path, manifest.permissions))
        self.datasets = DatasetReader(lock, self.local)
        self._sources = SourceReader(lock, self.local)
        self._settler = Settler(kinds, manifest.datasets, self.datasets, self.faults)
        self._kinds, self._machine, self._manifest, self._lock = kinds, machine, manifest, lock
        self._checks = tuple(kind for kind in kinds.values() if place_of(kind) == "check")
        self._place = place_of_manifest(manifest.path)
        self._timeout: float | None = None  # of the model at hand, like the toolchain
        self._toolchain = CURRENT
        self._versions = functools.cache(lambda toolchain: known_versions(manifest, lock, toolchain))

    def add_model(self, model: Model) -> None:
        self._timeout = model.block.get("timeout")
        self._toolchain = model.toolchain or CURRENT
        fetched = self._sources.fetched(model)
        adapter = self._sources.adapter(model, model.adapter or "") if is_merged_into(model) else None
        if fetched is None or (adapter is None and is_merged_into(model)):
            return
        if adapter is not None and fetched.artifact == "onnx":
            self.faults.append(without_weights(model))
            return
        versions = self._versions(model.toolchain)
        task = proper_name(model.task) if model.task else _implied_task(fetched, adapter, versions)
        context = Context(
            task=task,
            family=family_of(task, fetched.config),
            config=fetched.config,
            precision="fp32",
            previous=("fetch",),
            reference=fetched.artifact,
            opset=fetched.opset,
            graphs=max(1, sum(name.endswith(".onnx") for name in fetched.files or ())),
            device="cpu",
            machine=self._machine,
            versions=versions,
        )
        self._check_processor(model, fetched, adapter, task)
        base = self._base(model, fetched, adapter, context)
        if base is not None:
            base = msgspec.structs.replace(base, stated=self._stated(model, (fetched, adapter), base.steps))
            before = len(self.variants)
            for target in model.targets:
                self._add_target(model, target, base)
            added = tuple(self.variants[before:])
            self._check_choice(model, added, base.context)
            self._add_packages(model, base, fetched, added)

    def _check_choice(self, model: Model, variants: Sequence[Variant], context: Context) -> None:
        checks = [self.shared.actions[name] for variant in variants for name in variant.checks]
        validations = [check.params for check in checks if check.kind == VALIDATE.name]
        self.faults.extend(unmeasured_figures(model, validations, context.config))

    def _add_packages(self, model: Model, base: _Base, fetched: Fetched, variants: tuple[Variant, ...]) -> None:
        """The packages of a model; without them where a target has a fault, which may be one that they name."""
        if len(variants) != len(model.targets):
            return
        context = msgspec.structs.replace(base.context, files=_names_of(fetched))
        origin = Origin(
            model=model,
            fetch=base.fetch,
            context=context,
            variants=variants,
            stated=base.stated,
            unlocked=base.unlocked,
        )
        faults = len(self.faults)
        actions = self.shared.actions
        packages = list(packages_of(origin, self._kinds, self._settler, actions, self._add, self.faults))
        self.packages += packages
        if any(one.severity == "error" for one in self.faults[faults:]):
            return  # a package with a fault is not among those that can be uploaded
        uploads = Uploads(
            origin=origin,
            packages=packages,
            kinds=self._kinds,
            settler=self._settler,
            actions=actions,
            add=self._add,
            reach=self.local.reach,
            faults=self.faults,
        )
        self.uploads += uploads.planned()

    def _stated(
        self, model: Model, fetched: tuple[Fetched, Fetched | None], steps: Sequence[str]
    ) -> Mapping[str, Stated]:
        """What the sources of a model state, by the actions that fetch them."""
        texts = (model.source, model.adapter or "")
        fetches = [one for one in steps if self.shared.actions[one].kind == "fetch"]
        known = [stated(text, one, self._lock, self.local) for text, one in zip(texts, fetched, strict=True) if one]
        declared = model.block.get("license")
        if declared:
            named = known[0] if declared == known[0].license else Stated()
            known[0] = msgspec.structs.replace(
                known[0],
                license=declared,
                license_from="manifest",
                license_name=named.license_name,
                license_link=named.license_link,
            )
        return dict(zip(fetches, known, strict=True))

    def _check_task(self, model: Model, context: Context) -> None:
        """A warning for an unknown task of a model that is not exported: its checks cannot know what to bound."""
        if context.task is None or context.task in TASKS:
            return
        problem = unknown_task(context.task, str((context.config or {}).get("model_type") or ""), context.versions)
        at = model.block.value_span("task")
        self.faults.append(fault(problem.code, problem.message, span=at, hint=problem.hint, severity="warning"))

    def _check_processor(self, model: Model, fetched: Fetched, adapter: Fetched | None, task: str | None) -> None:
        """OB330 for a checkpoint of text without a tokenizer. What reads images or audio has another processor."""
        if fetched.artifact != "checkpoint" or fetched.files is None or task is None or not reads_text_rows(task):
            return
        names = (*fetched.files, *((adapter.files or ()) if adapter is not None else ()))
        if may_read_text(fetched.config) and not has_processor(names):
            at = model.block.value_span("source")
            message = f"the checkpoint has no tokenizer, which the task `{task}` needs to read text"
            hint = (
                "save it beside the weights with `tokenizer.save_pretrained`; without one, checks use seeded token ids"
            )
            self.faults.append(fault("OB330", message, span=at, hint=hint, severity="warning"))

    def _fetch(self, name: str, fetched: Fetched, task: str | None, at: Span) -> OutputRef:
        kind = self._kinds["fetch"]
        params = msgspec.convert({**fetched.params}, kind.params)
        if fetched.params["origin"] == "random":
            params = msgspec.structs.replace(params, task=task or "")
        return OutputRef(self._add(name, kind, as_json(params), fetched.inputs, at), "model")

    def _is_refused(self, model: Model, fetched: Fetched, exporter: str) -> bool:
        """Whether no exporter reads the weights of a checkpoint; a custom one may."""
        problem = None if is_own(exporter) else refusal(fetched, _source_at(model))
        self.faults.extend([problem] if problem is not None else [])
        return problem is not None

    def _prepared(
        self, model: Model, fetch: OutputRef, adapter: Fetched | None, params: Mapping[str, Any]
    ) -> tuple[OutputRef, tuple[str, ...]]:
        """The checkpoint that variants are compared with, and the actions that make it of what was fetched."""
        if all(value is UNSET for value in params.values()):
            return fetch, ()
        at = model.block.key_span("source" if adapter is None else "adapter")
        inputs: dict[str, Input] = {"model": fetch}
        made: tuple[str, ...] = ()
        if adapter is not None:
            taken = self._fetch(f"adapters/{model.name}:fetch", adapter, None, at)
            inputs[ADAPTER], made = taken, (taken.action,)
        kind = self._kinds["prepare"]
        action = self._add(f"{model.name}:prepare", kind, as_json(kind.params(**params)), inputs, at)
        return OutputRef(action, "model"), (*made, action)

    def _base(self, model: Model, fetched: Fetched, adapter: Fetched | None, context: Context) -> _Base | None:
        fetch = self._fetch(f"{model.name}:fetch", fetched, context.task, model.block.key_span("source"))
        unlocked = fetched.unlocked or (adapter is not None and adapter.unlocked)
        if fetched.artifact == "onnx":
            self._check_task(model, context)
            if "export" in model.block:
                message = "an `onnx:` model has nothing to export: it is its own reference"
                at = model.block.key_span("export")
                self.faults.append(fault("OB032", message, span=at, hint="remove `export:`"))
            return _Base(fetch, fetch, context, (fetch.action,), fetched.unlocked)
        step = Step(
            "export",
            model.block.get("export", {}),
            *block_places(model.block, "export", model.block.values_at.get("task", model.span)),
            _source_at(model),
        )
        if self._is_refused(model, fetched, str(step.block.get("exporter", ""))):
            return None
        exports = not model.targets or not all(starts_from_checkpoint(one, self._kinds) for one in model.targets)
        settled = self._settle(step, msgspec.structs.replace(context, exports=exports), unlocked=unlocked)
        if settled is None:
            return None
        if settled.params.trusts_code:
            code = floating_code(model.source, fetched.config, step.block.value_span("trust_remote_code"))
            self.faults.extend(code)
            if code:
                return None
        own = is_own(settled.params.exporter)
        quantized = None if own else quantized_of(context.config)
        params = prepare_params(fetched, adapter, quantized, trusts_code=settled.params.trusts_code)
        checkpoint, made = self._prepared(model, fetch, adapter, params)
        # The builder of genai reads such weights itself.
        exported = (
            fetch if settled.params.exporter == "genai" and quantized is not None and adapter is None else checkpoint
        )
        inputs = self._export_inputs(exported, settled.params.exporter, step)
        if inputs is None:
            return None
        output, sources = checkpoint, (fetch.action, *made)
        steps = sources
        if exports:
            export = self._add(f"{model.name}:export", self._kinds["export"], settled.plain, inputs, step.key_at)
            output, steps = OutputRef(export, "model"), (*sources, export)
        context = msgspec.structs.replace(
            context,
            precision=self._kinds["export"].precision_after(settled.params, context),
            previous=("fetch", "export"),
            opset=getattr(settled.params, "opset", None),
            exporter=settled.params.exporter,
            max_length=None if settled.params.max_length is UNSET else settled.params.max_length,
            trusts_code=settled.params.trusts_code,
            # What is merged is no longer what was stored.
            config=context.config if adapter is None or quantized is None else without_block(context.config or {}),
        )
        return _Base(checkpoint, output, context, steps, unlocked, sources)

    def _export_inputs(self, fetch: OutputRef, exporter: str, step: Step) -> Mapping[str, Input] | None:
        """The checkpoint, and the code of a custom exporter; None after a fault."""
        if not is_own(exporter):
            return {"model": fetch}
        at = step.block.value_span("exporter")
        code = exporter_code(exporter, at, self.local.reach)
        if isinstance(code, Diagnostic):
            self.faults.append(code)
            return None
        self.local.files.update(dict.fromkeys(watched_code_of(code)))
        return {"model": fetch, "exporter": code}

    def _add_target(self, model: Model, target: Target, base: _Base) -> None:
        if len(target.block.get("steps", ())) > MOST_STEPS:
            message = f"the target has {len(target.block['steps']):,} steps: at most {MOST_STEPS:,}"
            self.faults.append(fault("OB021", message, span=target.block.key_span("steps")))
            return
        context = msgspec.structs.replace(base.context, device=target.device)
        output, steps = base.output, list(base.steps)
        exact, exact_context = output, context
        uncompiled: OutputRef | None = None
        for step in target_steps(target, self._kinds, self.faults):
            settled = self._settle(step, context, unlocked=base.unlocked)
            if settled is None:
                return
            kind = self._kinds[step.kind]
            name = f"{model.name}/{target.name}:{step.kind}"
            if reads_checkpoint(kind):  # it reads nothing of the steps before it
                output, steps = base.fetch, list(base.sources)
            inputs = {"model": output, **self._dataset_input(settled.params)}
            if getattr(settled.params, "reads_checkpoint", False):
                inputs[CHECKPOINT] = base.fetch
            action = self._add(name, kind, settled.plain, inputs, step.key_at)
            uncompiled = output if kind.backend and not reads_checkpoint(kind) else None
            output = OutputRef(action, "model")
            steps.append(action)
            context = msgspec.structs.replace(
                context,
                precision=kind.precision_after(settled.params, context),
                previous=(*context.previous, step.kind),
                runtime=runtime_after(kind, settled.params, context),
                program_limits=(*context.program_limits, *kind.program_limits(settled.params).items()),
                call_limits=(*context.call_limits, *kind.call_limits(settled.params).items()),
            )
            if (context.precision == FULL and not kind.backend) or reads_checkpoint(kind):
                exact, exact_context = output, context
        checks: list[str] = []
        measures: list[str] = []
        if_best: list[str] = []
        for kind in self._checks_of(target, context):
            if kind.name == LOAD.name and any(self.shared.actions[one].kind == VALIDATE.name for one in checks):
                continue  # the validation opens every graph
            # The device runs what it measures through the validation first, also for `run ':benchmark'`.
            after = tuple(checks) if context.runtime is not UNSET and kind.measures else ()
            check = self._add_check(model, target, kind, base, output, context, beside=uncompiled, after=after)
            if check is not None:
                waits = kind.name == TUNE.name and tunes_best_only(model.block, target.block)
                (if_best if waits else measures if kind.measures else checks).append(check)
        self.variants.append(
            Variant(
                model=model.name,
                target=target.name,
                output=output,
                precision=context.precision,
                steps=tuple(steps),
                checks=tuple(checks),
                backend="" if context.runtime is UNSET else context.runtime.backend,
                measures=tuple(measures),
                if_best=tuple(if_best),
                proofs=self._proofs(model, target, base, exact, exact_context, checks) if exact != output else (),
                stated=base.stated,
                device=target.device,
                task=base.context.task or "",
                manifest=self._place,
            )
        )

    def _checks_of(self, target: Target, context: Context) -> list[Kind]:
        """The kinds of checks that a variant may have: what a backend has compiled has no session to tune."""
        if context.runtime is UNSET:
            return list(self._checks)
        self.faults += tune_of_compiled(target)
        return [kind for kind in self._checks if kind.name != TUNE.name]

    def _proofs(
        self, model: Model, target: Target, base: _Base, exact: OutputRef, context: Context, checks: Sequence[str]
    ) -> tuple[str, ...]:
        """The validation of the graph before the first step that costs accuracy, if the variant itself is validated.

        The bounds of a quantized graph are so wide that a wrong export may be within them. Another target that has
        this graph shares the action.
        """
        if context.precision != FULL or base.context.reference != "checkpoint":
            return ()
        if not any(self.shared.actions[one].kind == VALIDATE.name for one in checks):
            return ()
        plain = msgspec.structs.replace(target, block=Table(target.span))
        proof = self._add_check(model, plain, VALIDATE, base, exact, context, f"{VALIDATE.name}-{FULL}")
        return () if proof is None else (proof,)

    def _add_check(
        self,
        model: Model,
        target: Target,
        kind: Kind,
        base: _Base,
        output: OutputRef,
        context: Context,
        name: str = "",
        beside: OutputRef | None = None,
        after: tuple[str, ...] = (),
    ) -> str | None:
        """The id of a check; `beside`: the ONNX graph of a compiled variant, which a benchmark runs too.

        `after`: checks that must have succeeded before.
        """
        step = check_step(model, target, kind)
        # A model that came as ONNX is its own reference, and may still not load, or be tuned.
        if step is None or (output == base.fetch and kind.name not in {LOAD.name, TUNE.name}):
            return None
        settled = self._settle(step, context, unlocked=base.unlocked)
        if settled is None:
            return None
        ports = {"model": output, "reference": base.fetch}
        inputs = {**{port: ports[port] for port in kind.inputs}, **self._dataset_input(settled.params)}
        if beside is not None and kind.measures:
            inputs[UNCOMPILED] = beside
        named = f"{model.name}/{target.name}:{name or kind.name}"
        return self._add(named, kind, settled.plain, inputs, step.key_at, after)

    def _dataset_input(self, params: Any) -> Mapping[str, Input]:
        """The rows of the dataset that params name, as an input. A dataset on the Hub is fetched first."""
        name = getattr(params, "dataset", "")
        if not name:
            return {}
        dataset = self._manifest.datasets[name]
        source = self.datasets.rows(dataset, file_role(getattr(params, "task", "")))
        if not isinstance(source, Fetched):
            return {ROWS: source} if source is not None else {}
        kind = self._kinds["fetch"]
        plain = as_json(msgspec.convert({**source.params}, kind.params))
        fetch = self._add(f"datasets/{name}:fetch", kind, plain, {}, dataset.span)
        return {ROWS: OutputRef(fetch, "model")}

    def _settle(self, step: Step, context: Context, *, unlocked: bool) -> Settled | None:
        return self._settler.settle(step, context, unlocked=unlocked)

    def _add(
        self,
        name: str,
        kind: Kind,
        params: Mapping[str, Any],
        inputs: Mapping[str, Input],
        at: Span,
        after: tuple[str, ...] = (),
    ) -> str:
        return self.shared.add(
            name, kind, params, inputs, at, toolchain=self._toolchain, timeout=self._timeout, after=after
        )


def _names_of(fetched: Fetched) -> frozenset[str] | None:
    return None if fetched.files is None else frozenset(fetched.files)


def _implied_task(fetched: Fetched, adapter: Fetched | None, versions: Mapping[str, str]) -> str | None:
    """The task of the head that an adapter brings, or else of the head that config.json names."""
    brought = task_of(adapter.config or {}) if adapter is not None else None
    return brought or infer_task(fetched.config or {}, versions)


def _source_at(model: Model) -> Span:
    """The place of a model's source, or of the model type in one that is a mapping."""
    source = model.source
    return source.value_span("random") if isinstance(source, Table) else model.block.value_span("source")


def watched_files(manifest: Manifest, expansion: Expansion, lock: str) -> tuple[str, ...]:
    """Every file that the plan depends on, except the content of sources. Equal stats mean that nothing has changed."""
    return (*manifest.files, lock, *expansion.files)
