"""Selectors: `minilm`, `minilm/cpu-int8`, `minilm/cpu-int8:validate`, `'*/cpu-*'`, `:benchmark`, `+x`, `x+`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import translate

from onnxbuild.diagnostics import Diagnostic, DiagnosticError, did_you_mean, fault
from onnxbuild.planning.action_graph import ActionGraph, Packed, Variant


def select(graph: ActionGraph, selectors: Sequence[str]) -> ActionGraph:
    """The actions that selectors name, with all that these need; the whole graph without selectors.

    Errors: DiagnosticError OB018 for each selector that matches nothing.
    """
    return graph.only(graph.with_needs(named(graph, selectors))) if selectors else graph


def named(graph: ActionGraph, selectors: Sequence[str]) -> frozenset[str]:
    """The actions that selectors name, without what these need; all without selectors.

    Errors: DiagnosticError OB018 for each selector that matches nothing.
    """
    if not selectors:
        return frozenset(graph.actions)
    chosen: set[str] = set()
    faults: list[Diagnostic] = []
    names = _names(graph)
    for selector in selectors:
        # `+x` selects what is selected anyway; it exists so that scripts can be explicit.
        pattern = selector.removeprefix("+")
        matches = _matching(pattern.removesuffix("+"), names)
        if not matches:
            faults.append(_nothing(selector, graph, names))
        chosen |= graph.with_dependents(matches) if pattern.endswith("+") else matches
    if faults:
        raise DiagnosticError(faults)
    return frozenset(chosen)


def variants_named(graph: ActionGraph, selectors: Sequence[str]) -> tuple[Variant, ...]:
    """The variants that selectors name, directly or through one of their actions; all without selectors.

    A variant whose steps another one needs is built with it, but not named by it.
    """
    if not selectors:
        return graph.variants
    return tuple(
        variant
        for variant in graph.variants
        if any(names_variant(one, variant.name, variant.steps, variant.members) for one in selectors)
    )


def packages_named(graph: ActionGraph, selectors: Sequence[str]) -> tuple[Packed, ...]:
    """The packages that selectors name, directly or through one of their actions; all without selectors."""
    if not selectors or not graph.packages:
        return graph.packages
    chosen = named(graph, [one for one in selectors if _matching(one.strip("+"), _names(graph))])
    return tuple(one for one in graph.packages if not chosen.isdisjoint(one.members))


def delivered_named(graph: ActionGraph, selectors: Sequence[str]) -> frozenset[str]:
    """The names of the variants and packages whose folders a run with these selectors writes.

    Others are built only because something needs them: they may lack measures, and their folders stay as they are.
    """
    if not selectors:
        return frozenset(one.name for one in graph.delivered)
    names = _names(graph)
    matches = {action for one in selectors for action in _matching(one.strip("+"), names)} & graph.actions.keys()
    behind = _behind(graph, selectors, names)
    uploads = {(one.model, one.package) for one in graph.uploads if one.action in matches | behind}
    return frozenset(
        (
            *(one.name for one in variants_named(graph, selectors)),
            *(one.name for one in graph.variants if one.output.action in behind),
            *(one.variant.name for one in packages_named(graph, selectors)),
            *(one.variant.name for one in graph.packages if (one.variant.model, one.name) in uploads),
        )
    )


def _behind(graph: ActionGraph, selectors: Sequence[str], names: Mapping[str, str]) -> frozenset[str]:
    """The actions that selectors such as `x+` add to the ones that they match."""
    patterns = [one.strip("+") for one in selectors if one.endswith("+")]
    starts = [_matching(one, names) & graph.actions.keys() for one in patterns]
    return frozenset(action for start in starts for action in graph.with_dependents(start) - start)


def names_variant(selector: str, variant: str, steps: Sequence[str], others: Sequence[str] = ()) -> bool:
    """Whether a selector names a variant, directly or through one of its actions: its steps, or others."""
    pattern = selector.removeprefix("+")
    own = [f"{variant}:{name.rpartition(':')[2]}" for name in (*steps, *others)]
    names = [variant, *own]
    if pattern.endswith("+"):  # what depends on a step is named with it
        names += steps
    return bool(_matching(pattern.removesuffix("+"), dict(zip(names, names, strict=True))))


def _names(graph: ActionGraph) -> Mapping[str, str]:
    """Every name of an action: its id, its names in other targets that share it, the folders that it fills."""
    made = {variant.name: variant.output.action for variant in graph.delivered}
    checked = {f"{one.variant.name}:client": one.client for one in graph.packages if one.client is not None}
    return {**made, **checked, **{name: name for name in graph.actions}, **graph.aliases}


def _matching(pattern: str, names: Mapping[str, str]) -> set[str]:
    if not pattern:
        return set()
    place, colon, kind = pattern.partition(":")
    model, slash, target = place.partition("/")
    wanted = [
        _matcher(model or "*"),
        _matcher(target) if slash and target else None,
        _matcher(kind) if colon and kind else None,
    ]
    return {action for name, action in names.items() if _is_wanted(name, wanted)}


def _matcher(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))


def _is_wanted(name: str, wanted: list[re.Pattern[str] | None]) -> bool:
    place, _, kind = name.partition(":")
    model, _, target = place.partition("/")
    # `:quantize` also means `quantize-2`, a step that a target has twice, and `:validate` what precedes such a step;
    # `:package` and `:client` mean those of every package, and `:publish` every destination.
    kinds = {kind, re.sub(r"-(\d+|fp32)$", "", kind), re.sub(r"^(package|client|publish)-.*", r"\1", kind)}
    return all(
        one is None or any(one.match(part) for part in parts)
        for one, parts in zip(wanted, ({model}, {target}, kinds), strict=True)
    )


def _nothing(selector: str, graph: ActionGraph, names: Mapping[str, str]) -> Diagnostic:
    hint = did_you_mean(selector.strip("+"), _known(graph, names))
    model = selector.strip("+").partition("/")[0]
    targets = [variant.target for variant in graph.variants if variant.model == model]
    if hint is None and targets:
        return fault("OB018", f"the selector `{selector}` matches nothing", hint=f"`{model}` has {_listed(targets)}")
    models = list(dict.fromkeys(variant.model for variant in graph.variants))
    if hint is None and models:
        hint = f"models: {_listed(models)}"
    return fault("OB018", f"the selector `{selector}` matches nothing", hint=hint)


def _listed(names: Sequence[str]) -> str:
    few = 8
    return ", ".join(f"`{one}`" for one in names[:few]) + (" …" if len(names) > few else "")


def _known(graph: ActionGraph, names: Mapping[str, str]) -> Iterable[str]:
    kinds = {f":{action.kind}" for action in graph.actions.values()}
    variants = {variant.name for variant in graph.variants}
    models = {variant.model for variant in graph.variants}
    return sorted({*models, *variants, *kinds, *names})
