"""What a card must not be read to promise: what was compared with what, on which rows, on which machine."""

from __future__ import annotations

from collections.abc import Iterator

from onnxbuild.deliver.compiled_states import is_prepared
from onnxbuild.report.card.metadata import languages
from onnxbuild.report.card.subject import Subject
from onnxbuild.report.evidence.evidence import Step, VariantEvidence
from onnxbuild.report.evidence.words import machine_words
from onnxbuild.report.markdown_text import code, escaped

_REFERENCES = {"torch": "the model in PyTorch", "onnxruntime": "the ONNX model that it was made from"}


def limits(subject: Subject) -> Iterator[str]:
    """One sentence or two for each limit, as Markdown."""
    yield from dict.fromkeys(line for variant in subject.variants for line in _of_checks(variant))
    for variant in subject.variants:
        yield from _of_verdict(subject, variant)
        yield from _of_device(variant)
    yield from _of_speed(subject)
    if subject.stated.license is None:
        yield "The source states no license that can be repeated here: ask its author before you use these files."


def _of_checks(variant: VariantEvidence) -> Iterator[str]:
    """What the validations compared; equal for most variants."""
    for step in variant.steps:
        if step.kind == "validate" and step.facts.get("metrics"):
            reference = str(step.facts.get("reference", ""))
            what = _REFERENCES.get(reference, "the model that it was made from")
            yield f"Accuracy says how near a variant is to {what}, on {_rows(step)}. On other texts it may differ."


def _rows(step: Step) -> str:
    name = str(step.params.get("dataset") or "")
    counts = languages(step)
    source = f"the rows of {code(name)}" if name else "rows and inputs that come with onnxbuild"
    return f"{source} ({escaped(counts)})" if counts else source


def _of_verdict(subject: Subject, variant: VariantEvidence) -> Iterator[str]:
    name = code(variant.target)
    if variant.target not in subject.folders:
        yield f"{name} failed or was not finished, so it has no folder here."
    elif variant.row.verdict is None:
        why = f" (skipped: {escaped(variant.row.skipped)})" if variant.row.skipped else ""
        yield f"{name} was not validated{why}."
    elif variant.row.verdict == "warned":
        yield f"{name} is outside a bound that the manifest does not enforce."
    for step in variant.steps:
        messages = (str(one.get("message", "")) for one in step.facts.get("undecided") or ())
        yield from (f"{name}: {escaped(message)}" for message in messages if message)


def _of_device(variant: VariantEvidence) -> Iterator[str]:
    """That figures are not those of the device, and whether anything is compiled for it."""
    name = code(variant.target)
    places = [*(one.ran_on for one in variant.checks), *(one.ran_on for one in variant.measurements)]
    for place in dict.fromkeys(filter(None, places)):
        yield f"The figures of {name} were measured on the {escaped(place)}, and not on the device."
    if is_prepared(variant.row.state):
        yield f"{name} is only prepared: nothing is compiled for the device yet."


def _of_speed(subject: Subject) -> Iterator[str]:
    measured = [one for variant in subject.variants for one in variant.measurements]
    if not measured:
        yield "Speed was not measured."
        return
    for machine in subject.evidence.machines:
        yield f"Speed was measured on one machine: {escaped(machine_words(machine))}. Elsewhere, ratios differ, too."
    if any(one.contended for one in measured):
        yield "Other programs ran during a measurement marked as contended: it may be too slow."
