"""Writes docs/reference/breadth.md from the results: what the words mean, counts, and a row per type."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from builds import TRANSFORMERS_5, VARIANTS
from judging import LEAST_SHARES, RMS, ROUNDED_RMS, TRIES, VERDICTS, WORST
from model_lists import NOT_LISTED, OUTSIDE, Kind

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "breadth.md"
STEPS = 6  # as in greedy.py, which needs torch
NOT_RUN = "not run"
_INTRODUCTION = Path(__file__).with_name("introduction.md")
Row = Mapping[str, Any]


def write_page(rows: Sequence[Row], lists: Mapping[str, Sequence[Kind]]) -> None:
    """Write the page. `lists` has the types of each exporter, whether they were run or not; other rows are old."""
    names = {(exporter, kind.model_type) for exporter, listed in lists.items() for kind in listed}
    rows = [row for row in rows if (row["exporter"], row["type"]) in names]
    PAGE.write_text("\n".join([_introduction(), *_results(rows, lists)]), encoding="utf-8")


def _introduction() -> str:
    names = " and ".join(WORST)
    text = _INTRODUCTION.read_text(encoding="utf-8")
    return text.format(worst_names=names, worst=WORST["fp32"], steps=STEPS, rounded=ROUNDED_RMS, tries=TRIES, **RMS)


def _results(rows: Sequence[Row], lists: Mapping[str, Sequence[Kind]]) -> Iterator[str]:
    dates = sorted({row["date"] for row in rows}) or ["never"]
    yield f"Measured {' to '.join(dict.fromkeys((dates[0], dates[-1])))} on {sys.platform} with {_versions()}.\n"
    total = sum(map(len, lists.values())) * len(VARIANTS)
    if missing := total - len(rows):
        yield f"**Not complete:** {missing} of {total} variants have not been run yet.\n"
    yield from _counts(rows, lists)
    for exporter, listed in lists.items():
        yield from _table(exporter, listed, [row for row in rows if row["exporter"] == exporter])
    yield from _reasons(rows)


def _versions() -> str:
    names = ("onnxbuild", "optimum-onnx", "transformers", "torch", "onnx", "onnxruntime")
    ours = ", ".join(f"{name} {metadata.version(name)}" for name in names)
    return f"{ours}; for the exporter `transformers`: {', '.join(TRANSFORMERS_5[:5]).replace('==', ' ')}"


def _counts(rows: Sequence[Row], lists: Mapping[str, Sequence[Kind]]) -> Iterator[str]:
    yield "## Counts\n"
    words = (*VERDICTS, NOT_RUN)
    yield f"| exporter | variant | types | {' | '.join(words)} |"
    yield f"|---|---|---|{'---|' * len(words)}"
    for exporter, listed in lists.items():
        for variant in VARIANTS:
            found = Counter(row["verdict"] for row in rows if (row["exporter"], row["variant"]) == (exporter, variant))
            found[NOT_RUN] = len(listed) - found.total()
            yield f"| {exporter} | {variant} | {len(listed)} | {' | '.join(str(found[word]) for word in words)} |"
    shares = ", ".join(f"{share:.1%} of the types of {exporter}" for exporter, share in LEAST_SHARES.items())
    coded = sum(row["code"] == "OBE99" for row in rows)
    yield f"\nBounds: with `fp32`, at least {shares} are right, no variant is wrong, none is OBE99 ({coded} are).\n"
    yield f"The list of transformers 5 has the types with a head that optimum does not know. {OUTSIDE}\n"
    yield f"{NOT_LISTED} Where lint refuses a type with a past, its row is that of the task without one.\n"


def _table(exporter: str, listed: Sequence[Kind], rows: Sequence[Row]) -> Iterator[str]:
    cells = {(row["type"], row["variant"]): _cell(row) for row in rows}
    yield f"## By {'transformers 5' if exporter == 'transformers' else exporter}\n"
    yield f"| type | task | exporter | {' | '.join(VARIANTS)} |"
    yield f"|---|---|---|{'---|' * len(VARIANTS)}"
    for kind in listed:
        found = (cells.get((kind.model_type, variant), NOT_RUN) for variant in VARIANTS)
        yield f"| {kind.model_type} | {kind.task} | {exporter} | {' | '.join(found)} |"
    yield ""


def _cell(row: Row) -> str:
    return f"refused ({row['code']})" if row["verdict"] == "refused" else row["verdict"]


def _reasons(rows: Sequence[Row]) -> Iterator[str]:
    """The message of everything that is not right, and of right graphs that the users' loader does not take."""
    yield "## Reasons\n"
    yield "Everything that was run and is not right, and graphs that are right and that optimum's loader cannot run.\n"
    yield "| type | exporter | variant | result | message |"
    yield "|---|---|---|---|---|"
    for row in sorted(rows, key=lambda row: (row["exporter"], row["type"], list(VARIANTS).index(row["variant"]))):
        if row["verdict"] != "right" or " fails: " in row["message"]:
            yield (f"| {row['type']} | {row['exporter']} | {row['variant']} | {_cell(row)} | "
                   f"{_cut(row['message'])} |")  # fmt: skip
    yield ""


def _cut(text: str) -> str:
    """A message in a cell: at most 160 characters."""
    words = text.replace("|", "\\|").replace("<", "&lt;")
    return words[:160] + ("…" if len(words) > 160 else "")
