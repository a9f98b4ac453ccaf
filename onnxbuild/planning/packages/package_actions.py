"""Plans the packages of a model: for each, the action that writes it and the check with its client."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import UNSET, Struct, convert, structs

from onnxbuild.diagnostics import Diagnostic, Span, fault
from onnxbuild.manifest.document import Array, Table
from onnxbuild.manifest.spec import Model
from onnxbuild.planning.action_graph import PACKAGES, Action, Input, OutputRef, Packed, Stated, Variant
from onnxbuild.planning.settle import Settler, Step, as_json
from onnxbuild.steps import Kinds
from onnxbuild.steps.kind import Context, Kind, TargetFacts
from onnxbuild.steps.packaging.package_kind import CLIENT, PACKAGE, graph_port, in_package, without_client_fields

_KEY = "package"


class Origin(Struct, frozen=True, kw_only=True):
    """What the packages of a model are made from. `fetch`: the checkpoint, for configs, tokenizer and processor."""

    model: Model
    fetch: OutputRef
    context: Context
    variants: tuple[Variant, ...]
    stated: Mapping[str, Stated]
    unlocked: bool


Add = Callable[[str, Kind, Mapping[str, Any], Mapping[str, Input], Span, tuple[str, ...]], str]


def packages_of(
    origin: Origin, kinds: Kinds, settler: Settler, actions: Mapping[str, Action], add: Add, faults: list[Diagnostic]
) -> Iterator[Packed]:
    """The packages that a model asks for. `add` adds an action, and `actions` has what was added."""
    targets = {one.target: _facts(one, actions, kinds) for one in origin.variants}
    if any(name.lower() == PACKAGES for name in targets) and origin.model.block.get(_KEY):
        message = f"the target `{PACKAGES}` would share its folder with the packages of the model"
        faults.append(fault("OB763", message, span=origin.model.block.key_span(_KEY), hint="give it another name"))
        return
    steps = list(package_steps(origin.model))
    listed = _listed(origin.model)
    faults.extend(_unpacked(steps, targets, kinds, listed))
    for step in steps:
        kind = kinds[step.kind]
        taken = {name: one for name, one in targets.items() if kind.takes_compiled or not one.backend}
        left_out = {name: one.backend for name, one in targets.items() if name not in taken}
        context = structs.replace(origin.context, targets=taken, left_out=left_out, listed=listed)
        settled = settler.settle(step, context, unlocked=origin.unlocked)
        if settled is not None:
            yield _packed(origin, kind, kinds, settled.params, context, add, step.key_at)


def _listed(model: Model) -> tuple[str, ...]:
    """The packages of a model that names them without params: one name, or a list."""
    written = model.block.get(_KEY)
    return (
        (written,) if isinstance(written, str) else tuple(dict.fromkeys(written)) if isinstance(written, Array) else ()
    )


def _unpacked(
    steps: Sequence[Step], targets: Mapping[str, TargetFacts], kinds: Kinds, listed: Sequence[str]
) -> Iterator[Diagnostic]:
    """Warnings for packages of all targets that leave out compiled ones, where no package takes these."""
    compiled = [f"`{name}`" for name, one in targets.items() if one.backend]
    if not compiled or len(compiled) == len(targets) or any(kinds[one.kind].takes_compiled for one in steps):
        return
    names = [step.kind.removeprefix(PACKAGE) for step in steps]
    for name, step in zip(names, steps, strict=True):
        if "targets" not in step.block:
            message = f"the package `{name}` has ONNX graphs, and leaves out {', '.join(compiled)}, which is compiled"
            if compiled[1:]:
                message = f"the package `{name}` has ONNX graphs, and leaves out the compiled {', '.join(compiled)}"
            also = f"`package: [{', '.join((*names, 'compiled'))}]` takes them along"
            hint = f"{also}; {in_package(name, listed=listed)} names what goes in"
            yield fault("OB762", message, span=step.key_at, severity="warning", hint=hint)


def _packed(origin: Origin, kind: Kind, kinds: Kinds, params: Any, context: Context, add: Add, at: Span) -> Packed:
    chosen = {name: one for one in origin.variants for name in [one.target] if name in params.graphs.values()}
    inputs: dict[str, Input] = {graph_port(name): one.output for name, one in chosen.items()}
    waits = tuple(dict.fromkeys(check for one in chosen.values() for check in (*one.proofs, *one.checks)))
    name = f"{origin.model.name}:{kind.name}"
    action = add(name, kind, without_client_fields(params), {"model": origin.fetch, **inputs}, at, waits)
    of_client = kind.client_params(params, context)
    output = OutputRef(action, "package")
    client = None
    if of_client is not None:
        checker = kinds[f"{CLIENT}{kind.package}"]
        client = add(f"{origin.model.name}:{checker.name}", checker, as_json(of_client), {"model": output}, at, ())
    return Packed(
        name=kind.package,
        client=client,
        targets=tuple(chosen),
        variant=Variant(
            model=origin.model.name,
            target=f"{PACKAGES}/{kind.package}",
            output=output,
            precision=_precision(list(chosen.values())),
            steps=(*dict.fromkeys(step for one in chosen.values() for step in one.steps), action),
            checks=() if client is None else (client,),
            measures=(),
            proofs=waits,
            stated=origin.stated,
            task=origin.context.task or "",
            manifest=origin.variants[0].manifest,
        ),
    )


def _precision(chosen: Sequence[Variant]) -> str:
    return ", ".join(dict.fromkeys(one.precision for one in chosen))


def package_steps(model: Model) -> Iterator[Step]:
    """The packages that a model's block names, each as a step: a name, a list of names, or params by name."""
    written = model.block.get(_KEY)
    at = model.block.values_at.get(_KEY, model.span)
    if isinstance(written, str):
        yield Step(f"{PACKAGE}{written}", {}, at, at)
    elif isinstance(written, Array):
        for name, place in dict(zip(written, written.items_at, strict=True)).items():
            yield Step(f"{PACKAGE}{name}", {}, place, place)
    elif isinstance(written, Table):
        for name, block in written.items():
            if block is not False:
                filled = block if isinstance(block, Table) else {}
                yield Step(f"{PACKAGE}{name}", filled, written.key_span(name), written.value_span(name))


def _facts(variant: Variant, actions: Mapping[str, Action], kinds: Kinds) -> TargetFacts:
    made = (actions[one] for one in variant.steps)
    steps = tuple((one.kind, one.params) for one in made if one.kind not in {"fetch", "prepare"})
    needs = _needs(actions[variant.output.action], kinds) if variant.backend else ()
    return TargetFacts(
        precision=variant.precision, steps=steps, device=variant.device, backend=variant.backend, needs=needs
    )


def _needs(compiles: Action, kinds: Kinds) -> tuple[str, ...]:
    """What runs the result of an action that compiles."""
    kind = kinds[compiles.kind]
    if not kind.backend:
        return ()  # a step after `compile`, which is a fault (OB800)
    # The runtime of a backend asks for no context.
    runtime = kind.runtime(convert(compiles.params, kind.params), None)  # type: ignore[arg-type]
    return () if runtime is UNSET else runtime.needs
