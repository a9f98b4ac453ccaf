"""A report in other formats than HTML: Markdown for a pull request, CSV for a spreadsheet, JSON for programs."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator

from msgspec import structs

from onnxbuild.protocol import json_text
from onnxbuild.report.evidence.evidence import Evidence, Ratio, Throughput, VariantEvidence
from onnxbuild.report.evidence.figure_tables import (
    check_table,
    choice_table,
    choices_as_markdown,
    in_markdown,
    latency_table,
    outdated_lines,
    package_table,
    plain,
    throughput_table,
    variant_table,
)
from onnxbuild.report.evidence.session_table import session_table
from onnxbuild.report.evidence.words import environment, summary
from onnxbuild.report.markdown_text import escaped, message
from onnxbuild.report.result import result_table

_COLUMNS = (
    "model", "target", "precision", "figure", "value", "unit", "bound", "side", "passed", "engine", "stage", "batch",
    "tokens", "ran_as", "threads", "contended", "workers", "order", "tokenized", "longer_than", "outdated",
)  # fmt: skip
_RATES = {
    "texts_per_second": "1/s", "least_per_second": "1/s", "most_per_second": "1/s", "tokens_per_second": "1/s",
    "padding_ratio": "×",
}  # fmt: skip
_MOST_IN_COMMENT = 60_000  # a comment on GitHub has at most 65,536 characters

Figure = dict[str, object]


def as_json(evidence: Evidence) -> str:
    """All of the evidence as one object, with numbers in the units of their names."""
    return json_text(evidence, indent=2)


def as_csv(evidence: Evidence) -> str:
    """One line per figure, under headings; a cell is empty where it does not apply."""
    file = io.StringIO()
    writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for variant in evidence.variants:
        named = {"model": variant.model, "target": variant.target, "precision": variant.precision}
        named["outdated"] = str(bool(variant.outdated)).lower()
        writer.writerows(named | figure for figure in _figures(variant))
        writer.writerows(named | figure for figure in _chosen(evidence, variant))
    return file.getvalue()


def _figures(variant: VariantEvidence) -> Iterator[Figure]:
    row = variant.row
    if row.size_bytes is not None:
        yield {"figure": "size", "value": row.size_bytes, "unit": "bytes"}
    for check in variant.checks:
        bound = "" if check.bound is None else check.bound
        passed = "" if check.bound is None else str(check.passed).lower()
        yield {"figure": check.metric, "value": check.value, "bound": bound, "side": check.side, "passed": passed}
    for one in variant.measurements:
        where: Figure = {name: getattr(one, name) for name in ("engine", "stage", "batch", "threads")}
        where |= {"tokens": one.sequence, "contended": str(one.contended).lower()}
        where |= {"ran_as": one.ran_as.words} if one.ran_as is not None else {}
        for name, value in structs.asdict(one).items():
            if isinstance(value, float) and math.isfinite(value):
                figure, _, unit = name.rpartition("_")
                yield {"figure": figure if unit == "ms" else name, "value": value, "unit": _unit(unit)} | where
        for ratio in filter(_is_finite, one.ratios):
            yield {"figure": f"speed-up over {ratio.baseline}", "value": ratio.median, "unit": "×"} | where
    for through in variant.throughputs:
        yield from _rates(through)
    for name, unit in (("tokens_per_second", "1/s"), ("first_token_ms", "ms"), ("generation_speedup", "×")):
        if (value := getattr(row, name)) is not None:
            yield {"figure": f"generation: {name.removesuffix('_ms')}", "value": value, "unit": unit}


def _chosen(evidence: Evidence, variant: VariantEvidence) -> Iterator[Figure]:
    """Where the variant is the best one of its model: by which figure, and within which bounds."""
    for choice in evidence.choices:
        if (choice.model, choice.best) == (variant.model, variant.target):
            figures = next(one.figures for one in choice.candidates if one.target == choice.best)
            value = figures.get(choice.goal.rpartition(" ")[2])
            yield {"figure": f"best: {choice.goal}", "value": value, "bound": " and ".join(choice.subject_to)}


def _is_finite(ratio: Ratio) -> bool:
    return math.isfinite(ratio.median)


def _rates(one: Throughput) -> Iterator[Figure]:
    names = ("engine", "batch", "threads", "workers", "order", "tokenized", "longer_than")
    where: Figure = {name: getattr(one, name) for name in names}
    where |= {"stage": "throughput", "contended": str(one.contended).lower()}
    for name, unit in _RATES.items():
        yield {"figure": name, "value": getattr(one, name), "unit": unit} | where
    for ratio in one.ratios:
        yield {"figure": f"speed-up over {ratio.baseline}", "value": ratio.median, "unit": "×"} | where


def _unit(suffix: str) -> str:
    return {"ms": "ms", "second": "1/s"}.get(suffix, "")


def as_markdown(evidence: Evidence) -> str:
    """What fits into a comment on a pull request: the variants, and the other tables folded in."""
    notes = result_table.notes(variant.row for variant in evidence.variants)
    failures = [
        f"- **{escaped(step.id)}** {message(step.failure)}"
        for variant in evidence.variants
        for step in variant.steps
        if step.failure
    ]
    checks, latencies = check_table(evidence), latency_table(evidence)
    rates, sessions = throughput_table(evidence), session_table(evidence)
    packages, chosen = package_table(evidence), choice_table(evidence)
    parts = [
        f"<!-- a report of onnxbuild -->\n### {escaped(evidence.source)}",
        summary(evidence),
        "\n".join(f"- {message(line)}" for line in outdated_lines(evidence)),
        in_markdown(variant_table(evidence)) if evidence.variants else "",
        *(note.replace("*", "\\*", 1) for note in notes),
        choices_as_markdown(evidence.choices),
        in_markdown(packages) if packages.rows else "",
        "\n".join(dict.fromkeys(failures)),
        "\n".join(f"- {step.id} warning: {plain(text)}" for step in evidence.warned for text in step.warnings),
        _folded("Choice", in_markdown(chosen, first=4) if chosen.rows else ""),
        _folded("Validation", in_markdown(checks, first=2) if checks.rows else ""),
        _folded("Benchmarks", in_markdown(latencies, first=3) if latencies.rows else ""),
        _folded("Throughput", in_markdown(rates, first=2) if rates.rows else ""),
        _folded("Session settings", in_markdown(sessions, first=6) if sessions.rows else ""),
        _folded("Environment", "\n".join(f"- {line}" for line in environment(evidence))),
    ]
    whole: list[str] = []
    for part in filter(None, parts):
        if sum(map(len, whole)) + len(part) > _MOST_IN_COMMENT:
            whole.append("The other tables are too long for a comment: `onnxbuild report` writes them as a page.")
            break
        whole.append(part)
    return "\n\n".join(whole) + "\n"


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>" if "\n" in text else ""
