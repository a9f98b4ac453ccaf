"""A report as one HTML page, which needs no other file and no network."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import Any

from msgspec import Struct

from onnxbuild.protocol import json_text
from onnxbuild.report.evidence.evidence import Evidence, Step
from onnxbuild.report.evidence.figure_tables import (
    Table,
    check_table,
    choice_table,
    latency_table,
    meanings,
    outdated_lines,
    package_table,
    throughput_table,
    variant_table,
)
from onnxbuild.report.evidence.session_table import session_table
from onnxbuild.report.evidence.words import machine_words, summary
from onnxbuild.report.page.canvas import as_svg, needed
from onnxbuild.report.page.plots import Plot
from onnxbuild.report.result import result_table
from onnxbuild.report.wording import seconds_in_words

_LONGEST = 20_000  # characters of a step's params and facts; the rest is in `onnxbuild.json`


class _Drawn(Struct, frozen=True):
    name: str
    title: str
    description: str
    svg: str


def html_page(evidence: Evidence, drawn: Sequence[Plot], texts: str = "") -> str:
    """The page. `texts`: what the variants generated, as lines."""
    jinja2 = needed("jinja2")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(_part("page.html"))
    checks, latencies = check_table(evidence), latency_table(evidence)
    parts: dict[str, Any] = {
        "variants": variant_table(evidence),
        "choices": choice_table(evidence),
        "packages": package_table(evidence),
        "checks": checks,
        "latencies": latencies,
        "throughputs": throughput_table(evidence),
        "sessions": session_table(evidence),
        "plots": [_Drawn(one.name, one.title, one.description, as_svg(one.figure, one.name)) for one in drawn],
        "texts": texts.splitlines(),
    }
    rendered: str = template.render(
        **parts,
        evidence=evidence,
        summary=summary(evidence),
        outdated=outdated_lines(evidence),
        meanings=meanings(evidence),
        sections=[(name, title) for name, title in _SECTIONS.items() if _has(parts.get(name))],
        notes=result_table.notes(variant.row for variant in evidence.variants),
        failures=failed_steps(evidence),
        machines=[machine_words(machine) for machine in evidence.machines],
        words_of=_words_of,
        details_of=_details_of,
        css=_part("page.css"),
        script=_part("page.js"),
    )
    return rendered


_SECTIONS = {
    "variants": "Variants",
    "choices": "Choice",
    "packages": "Packages",
    "plots": "Plots",
    "checks": "Validation",
    "latencies": "Benchmarks",
    "throughputs": "Throughput",
    "sessions": "Session settings",
    "texts": "Generated text",
    "steps": "Steps",
    "environment": "Environment",
}


def _has(part: Any) -> bool:
    return bool(part.rows) if isinstance(part, Table) else part is None or bool(part)


def _part(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def failed_steps(evidence: Evidence) -> list[Step]:
    """The failed actions, each once."""
    steps = (step for variant in evidence.variants for step in variant.steps if step.failure is not None)
    return list({step.id: step for step in steps}.values())


def _words_of(step: Step) -> str:
    took = f", {seconds_in_words(step.seconds)}" if step.seconds is not None else ""
    return f"{'failed' if step.failure else step.kind}{took}"


def _details_of(step: Step) -> str:
    value = {name: getattr(step, name) for name in ("key", "params", "packages", "toolchain", "machine", "facts")}
    text = json_text({name: one for name, one in value.items() if one}, indent=2)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}\n… (`onnxbuild.json` has the rest)"
