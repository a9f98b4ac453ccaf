"""`python benchmarks/breadth.py`: which model types come out right, which are refused, and whether any is wrong.

A small checkpoint of every type that optimum-onnx and transformers 5 know is built by an ordinary manifest, and
compared with PyTorch by a script that shares nothing with onnxbuild's own validation. Results are kept in
benchmarks/breadth/measured.jsonl, so a run can be stopped and continued. The exit code is 1 if a bound is missed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import platformdirs

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent / "breadth"))

from breadth_page import write_page
from builds import VARIANTS, Places
from judging import missed_bounds
from model_lists import Kind, kinds
from results_file import MEASURED, keep, results
from steps_of_batch import rows
from toolchain import python_for

EXPORTERS = ("optimum", "transformers")


def main() -> int:
    """Build what was chosen, then judge all that is known."""
    options = arguments()
    (options.work / "checkpoints").mkdir(parents=True, exist_ok=True)
    chosen = {exporter: _chosen(exporter, options) for exporter in options.exporter}
    for exporter, listed in chosen.items():
        if listed and not options.no_build:
            _run(listed, exporter, options)
    known = results(options.results)
    if options.write:
        write_page(known, {exporter: kinds(exporter) for exporter in EXPORTERS})
    names = {(exporter, kind.model_type) for exporter, listed in chosen.items() for kind in listed}
    judged = [row for row in known if (row["exporter"], row["type"]) in names]
    missed = [*_not_run(chosen, options.variant, judged), *missed_bounds(judged, _totals(chosen))]
    print("\n".join(missed) or "all bounds are met")
    return 1 if missed else 0


def _totals(chosen: Mapping[str, list[Kind]]) -> dict[str, int]:
    return {exporter: len(listed) for exporter, listed in chosen.items()}


def _not_run(chosen: Mapping[str, list[Kind]], variants: list[str], rows: list[dict[str, Any]]) -> Iterator[str]:
    """What was chosen and has no result: a bound on results says nothing about it."""
    found = {(row["exporter"], row["type"], row["variant"]) for row in rows}
    for exporter, listed in chosen.items():
        for variant in variants:
            if missing := sum((exporter, kind.model_type, variant) not in found for kind in listed):
                yield f"{exporter}: {missing} of {len(listed)} types have no result for {variant}"


def _run(chosen: list[Kind], exporter: str, options: argparse.Namespace) -> None:
    python, places = python_for(exporter, options.store), Places(options.work, options.store, options.force)
    done = {(row["type"], row["variant"]) for row in results(options.results) if row["exporter"] == exporter}
    for variants in [options.variant] if options.together else [[variant] for variant in options.variant]:
        wanted = [kind for kind in chosen if not (options.resume and _is_done(kind, variants, done))]
        for start in range(0, len(wanted), options.batch):
            batch = wanted[start : start + options.batch]
            for row in rows(batch, variants, python=python, places=places, jobs=options.jobs):
                keep([row], options.results)
                _show(row)


def _is_done(kind: Kind, variants: list[str], done: set[tuple[str, str]]) -> bool:
    return all((kind.model_type, variant) in done for variant in variants)


def _show(row: dict[str, Any]) -> None:
    print(f"{row['exporter']:13}{row['type']:28}{row['variant']:6}{row['verdict']:14}{row['code']:7}"
          f"{row['message'].splitlines()[0] if row['message'] else ''}"[:230], flush=True)  # fmt: skip


def _chosen(exporter: str, options: argparse.Namespace) -> list[Kind]:
    number, parts = options.part
    named = (kind for kind in kinds(exporter) if not options.type or kind.model_type in options.type)
    return list(_every(named, number, parts))


def _every(named: Iterator[Kind], number: int, parts: int) -> Iterator[Kind]:
    return (kind for place, kind in enumerate(named) if place % parts == number - 1)


def _part(text: str) -> tuple[int, int]:
    number, _, parts = text.partition("/")
    if not 1 <= int(number) <= int(parts):
        raise ValueError(text)
    return int(number), int(parts)


def arguments() -> argparse.Namespace:
    """The command line."""
    cache = platformdirs.user_cache_path("onnxbuild-breadth", appauthor=False)
    parser = argparse.ArgumentParser(description="Build a small model of every type, and compare each with PyTorch.")
    parser.add_argument("--type", nargs="*", default=[], metavar="TYPE", help="only these model types")
    parser.add_argument("--exporter", nargs="*", default=list(EXPORTERS), choices=EXPORTERS)
    parser.add_argument("--variant", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--part", type=_part, default=(1, 1), metavar="K/N", help="every Nth type, from the Kth on")
    parser.add_argument("--continue", dest="resume", action="store_true", help="skip what has a result already")
    parser.add_argument("--force", action="store_true", help="build again what the store has, as after a change here")
    parser.add_argument("--together", action="store_true", help="all variants of a type before the next type")
    parser.add_argument("--no-build", action="store_true", help="only judge, and write, what is known")
    parser.add_argument("--write", action="store_true", help="write docs/reference/breadth.md")
    parser.add_argument("--batch", type=int, default=8, metavar="N", help="types per manifest")
    parser.add_argument("-j", "--jobs", type=int, default=1, metavar="N", help="actions at once")
    parser.add_argument("--work", type=Path, default=cache / "work", help="checkpoints and manifests")
    parser.add_argument("--results", type=Path, default=MEASURED, metavar="FILE", help="where results are kept")
    parser.add_argument("--store", type=Path, default=cache / "store", help="the store of the builds")
    options = parser.parse_args()
    known = {kind.model_type for exporter in options.exporter for kind in kinds(exporter)}
    if unknown := sorted(set(options.type) - known):  # else nothing is judged, and all bounds are met
        parser.error(f"no such model type: {', '.join(unknown)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
