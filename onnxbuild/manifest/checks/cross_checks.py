"""Faults that a schema cannot express: names that are invalid, undefined, or used twice."""

from __future__ import annotations

import re
from collections.abc import Iterator

from onnxbuild.diagnostics import Diagnostic, Span, did_you_mean, fault
from onnxbuild.manifest.checks.choice_checks import choice_faults
from onnxbuild.manifest.checks.tuning_checks import tuning_faults
from onnxbuild.manifest.document import Array, Table
from onnxbuild.manifest.language import NAME
from onnxbuild.manifest.reach import Reach
from onnxbuild.manifest.requirement_texts import requirement_faults
from onnxbuild.manifest.sections import ModelEntry, Sections
from onnxbuild.manifest.to_spec import interpreter_path
from onnxbuild.tables.bounds.figure_names import figure_hint
from onnxbuild.tables.regressions import FIGURES, allowance, worse_way

_NAME = re.compile(NAME)
# A file name has at most 255 bytes on most systems; that of a log holds the names of a model, a target and a kind.
_LONGEST_NAME = 100
_EMPTY = '""'
# Windows keeps these for devices, also with a suffix (`nul.txt`), and drops a dot at the end. An output folder is
# copied from one system to another, so they are refused everywhere.
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)


def cross_checks(sections: Sections, *, resolved: bool) -> Iterator[Diagnostic]:
    """Every fault between the sections of a manifest, in no particular order.

    `resolved`: no other fault is known, so that a `${` is plain text that `$${` left, and no reference without a value.
    """
    for problem in _all(sections):
        if resolved or "${" not in problem.message:
            yield problem


def _all(sections: Sections) -> Iterator[Diagnostic]:
    for name in sections.targets:
        yield from _bad_name("target", name, sections.targets.key_span(name))
    for name in sections.datasets:
        yield from _bad_name("dataset", name, sections.datasets.key_span(name))
    yield from _toolchains(sections.toolchains)
    for model in sections.models:
        yield from _bad_name("model", model.name, model.at)
        yield from _missing(model)
        yield from _targets_of(model, sections.targets)
        yield from _packages_of(model)
        yield from _toolchain_of(model, sections.toolchains)
        yield from choice_faults(model, sections.targets)
        yield from tuning_faults(model, sections.targets)
    yield from _collisions(sections.models)
    yield from _regressions(sections.regressions)


def unreachable(sections: Sections, reach: Reach) -> Iterator[Diagnostic]:
    """OB060 for every interpreter outside the manifest's folder. Planning checks sources when it looks at them."""
    for name in sections.toolchains:
        problem = interpreter_problem(sections.toolchains[name], reach)
        if problem is not None:
            yield problem


def interpreter_problem(toolchain: object, reach: Reach) -> Diagnostic | None:
    """OB060 for a toolchain whose interpreter is outside the manifest's folder; other checks see unusable entries."""
    if not isinstance(toolchain, Table) or not isinstance(toolchain.get("python"), str):
        return None
    path = interpreter_path(toolchain)
    return reach.interpreter_problem(toolchain["python"], path, toolchain.value_span("python")) if path else None


def _regressions(written: Table) -> Iterator[Diagnostic]:
    """OB033 for a figure that no build has, and for a bound that is none."""
    for name, text in written.items():
        if name not in FIGURES:
            hint = figure_hint(name, FIGURES)
            yield fault("OB033", f"unknown figure `{name}`", span=written.key_span(name), hint=hint)
        elif isinstance(text, str):
            yield from _bad_bound(name, text, written.value_span(name))


def _bad_bound(name: str, text: str, at: Span) -> Iterator[Diagnostic]:
    bound = allowance(text)
    sign = "+" if worse_way(name) > 0 else "-"
    if bound is None:
        hint = f"write a share such as `{sign}5%`, or an amount such as `{sign}0.01`"
        yield fault("OB033", f"`{text}` is not a bound of a regression", span=at, hint=hint)
    elif bound.way != worse_way(name):
        less = "smaller" if sign == "+" else "larger"
        message = f"`{name}` is better where it is {less}, so `{text}` would forbid an improvement"
        yield fault("OB033", message, span=at, hint=f"write `{sign}{text.strip()[1:]}`")


def _bad_name(what: str, name: str, at: Span) -> Iterator[Diagnostic]:
    if not _NAME.fullmatch(name):
        hint = "letters, digits, `.`, `_` and `-`, the first a letter or a digit"
        yield fault("OB023", f"`{_shortened(name) or _EMPTY}` cannot name a {what}", span=at, hint=hint)
    elif len(name) > _LONGEST_NAME:
        message = f"`{_shortened(name)}` cannot name a {what}: it has {len(name)} characters"
        yield fault("OB023", message, span=at, hint=f"at most {_LONGEST_NAME} characters: it becomes a file name")
    elif _DEVICE.fullmatch(name) or name.endswith("."):
        message = f"`{name}` cannot name a {what}: Windows has no such folder"
        hint = "choose another name: output folders are copied from one system to another"
        yield fault("OB023", message, span=at, hint=hint)


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"


def _toolchains(toolchains: Table) -> Iterator[Diagnostic]:
    for name, written in toolchains.items():
        if isinstance(written, Table) and bool(written.get("requirements")) == bool(written.get("python")):
            message = f"the toolchain `{name}` needs either `requirements` or `python`"
            yield fault("OB048", message, span=toolchains.key_span(name))
        if isinstance(written, Table):
            yield from requirement_faults(written)


def _missing(model: ModelEntry) -> Iterator[Diagnostic]:
    for key in ("source", "targets"):
        if key not in model.block or model.block[key] == []:
            hint = None if key == "source" else "name a target, such as `fp32` with `targets: {fp32: {}}`"
            yield fault("OB012", f"missing key `{key}` in the model `{model.name}`", span=model.at, hint=hint)


def _packages_of(model: ModelEntry) -> Iterator[Diagnostic]:
    written = model.block.get("package")
    seen: set[str] = set()
    for name, at in zip(written, written.items_at, strict=True) if isinstance(written, Array) else ():
        if str(name) in seen:
            yield fault("OB014", f"the package `{name}` is named twice", span=at, hint="leave one out")
        seen.add(str(name))


def _targets_of(model: ModelEntry, targets: Table) -> Iterator[Diagnostic]:
    seen: set[str] = set()
    for name, at, is_shared in _named_targets(model.block.get("targets")):
        if not is_shared:
            yield from _bad_name("target", name, at)
        elif name not in targets:
            yield _unknown_target(name, at, targets)
        if name.lower() in seen:
            yield fault("OB014", f"the target `{name}` is named twice", span=at)
        seen.add(name.lower())


def _named_targets(written: object) -> Iterator[tuple[str, Span, bool]]:
    """Name and place of each target of a model, and whether it is a shared one; other checks see unusable entries."""
    for entry, entry_at in zip(written, written.items_at, strict=True) if isinstance(written, Array) else ():
        name, at = (entry.get("name"), entry.value_span("name")) if isinstance(entry, Table) else (entry, entry_at)
        if isinstance(name, str):
            yield name, at, not isinstance(entry, Table)


def _unknown_target(name: str, at: Span, targets: Table) -> Diagnostic:
    known = ", ".join(f"`{one}`" for one in targets)
    listed = f"`targets:` has {known}" if known else "define it under `targets:`"
    return fault("OB017", f"unknown target `{name}`", span=at, hint=did_you_mean(name, targets) or listed)


def _toolchain_of(model: ModelEntry, toolchains: Table) -> Iterator[Diagnostic]:
    name = model.block.get("toolchain")
    if isinstance(name, str) and name and name not in toolchains:
        hint = did_you_mean(name, toolchains) or "define it under `toolchains:`"
        yield fault("OB044", f"unknown toolchain `{name}`", span=model.block.value_span("toolchain"), hint=hint)


def _collisions(models: tuple[ModelEntry, ...]) -> Iterator[Diagnostic]:
    first: dict[str, Span] = {}
    for model in models:
        name = model.name.lower()  # models become folders, and some file systems ignore case
        if name not in first:
            first[name] = model.at
            continue
        same_place = first[name] == model.at
        hint = "put every axis of the matrix into the name" if same_place else f"the first one is at {first[name]}"
        yield fault("OB006", f"two models are named `{model.name}`", span=model.at, hint=hint)
