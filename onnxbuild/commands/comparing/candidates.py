"""Which exporters can export a model, in which toolchain, and the manifest that builds it with each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct, structs

from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.machine import this_machine
from onnxbuild.manifest.document import Table
from onnxbuild.manifest.spec import Manifest, Model, Target
from onnxbuild.planning.expand import survey
from onnxbuild.planning.known_versions import known_versions
from onnxbuild.planning.locked import Lock
from onnxbuild.steps import all_kinds
from onnxbuild.steps.exporters import AUTOMATIC, EXPORTERS, OF_OTHER_LIBRARIES

_TARGET = "fp32"
_OF_TOOLCHAINS = ("OB105", "OB637")
_UNKNOWN_MODEL = "OB301"
_MEASURED = ("validate", "benchmark")  # the blocks of the model that stay; both run whatever it says


class Candidate(Struct, frozen=True, kw_only=True):
    """An exporter for a model, as a model of its own: `because` says why it cannot export it, in lint's words."""

    exporter: str
    model: str
    toolchain: str | None = None
    version: str | None = None
    because: str | None = None

    @property
    def variant(self) -> str:
        """The variant that a run builds with it."""
        return f"{self.model}/{_TARGET}"


def candidates(manifest: Manifest, lock: Lock, model: Model) -> tuple[Candidate, ...]:
    """Every exporter, with the first toolchain that can run it: the model's own, this interpreter, the manifest's."""
    places = tuple(dict.fromkeys((model.toolchain, None, *manifest.toolchains)))
    found = (_candidate(name, manifest, lock, model, places) for name in AUTOMATIC)
    return tuple(one for one in found if one is not None)


def _candidate(
    name: str, manifest: Manifest, lock: Lock, model: Model, places: Sequence[str | None]
) -> Candidate | None:
    """The candidate; None for the exporter of a library that the checkpoint has nothing to do with."""
    candidate = Candidate(exporter=name, model=f"{model.name}-{name}")
    refusals: list[tuple[str, str]] = []
    for place in places:
        tried = structs.replace(candidate, toolchain=place)
        refusals += (refusal := _refusal(tried, manifest, lock, model))[:1]
        if not refusal:
            version = known_versions(manifest, lock, place).get(EXPORTERS[name].package)
            return structs.replace(tried, version=version)
    # Of the reasons that toolchains give, one about the model is the one that no other toolchain would cure.
    refusals.sort(key=lambda one: one[0] in _OF_TOOLCHAINS)
    if name in OF_OTHER_LIBRARIES and refusals[0][0] == _UNKNOWN_MODEL:
        return None
    return structs.replace(candidate, because=refusals[0][1])


def _refusal(candidate: Candidate, manifest: Manifest, lock: Lock, model: Model) -> list[tuple[str, str]]:
    """The codes and messages of lint's errors about the model as the candidate."""
    changed = structs.replace(manifest, models=(_exported_by(candidate, model),))
    found = survey(changed, all_kinds(), lock, this_machine()).diagnostics
    return [(one.code, one.message) for one in found if one.severity == "error"]


def one_per_exporter(name: str, able: Sequence[Candidate]) -> Callable[[Manifest], Manifest]:
    """A change of a manifest: instead of its models, one model per exporter, with an fp32 target."""

    def change(manifest: Manifest) -> Manifest:
        model = model_named(manifest, name)
        return structs.replace(manifest, models=tuple(_exported_by(one, model) for one in able))

    return change


def model_named(manifest: Manifest, name: str) -> Model:
    """The model of a manifest. Errors: DiagnosticError OB639 if there is none of that name."""
    model = next((one for one in manifest.models if one.name == name), None)
    if model is None:
        names = ", ".join(one.name for one in manifest.models)
        raise DiagnosticError([fault("OB639", f"the manifest has no model `{name}`", hint=f"one of {names}")])
    return model


def _exported_by(candidate: Candidate, model: Model) -> Model:
    measured = dict(_measured(model))
    export = Table(model.span, {**(model.block.get("export") or {}), "exporter": candidate.exporter})
    block = Table(model.span, {**model.block, **measured, "export": export})
    target = Target(name=_TARGET, device="cpu", block=Table(model.span, measured), span=model.span)
    return structs.replace(model, name=candidate.model, toolchain=candidate.toolchain, block=block, targets=(target,))


def _measured(model: Model) -> Iterator[tuple[str, Table]]:
    for step in _MEASURED:
        written = model.block.get(step)
        yield step, written if isinstance(written, Table) else Table(model.span, {})
