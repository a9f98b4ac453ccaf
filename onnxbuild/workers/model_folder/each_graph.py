"""What optimize, quantize and precision share: they change every graph of a model folder, and complete the folder.

A step passes the function that changes one file. This module does the rest: it merges decoders again, copies the
companions, runs every result once, and counts bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from onnxbuild.protocol import Tell
from onnxbuild.workers.engines.smoke_run import check_still_runs
from onnxbuild.workers.folders.configs import read_config
from onnxbuild.workers.folders.model_files import carry_along, onnx_names
from onnxbuild.workers.folders.model_graphs import data_below, size_bytes
from onnxbuild.workers.libraries.quiet import quiet
from onnxbuild.workers.model_folder.counted_steps import CountedSteps
from onnxbuild.workers.model_folder.decoders import graphs_to_change, merge, merged_name

# Writes the changed file to the second path and returns its facts; the name is that of the file below both folders. It
# may add the steps that it knows to the progress.
Change = Callable[[str, Path, Path, CountedSteps], dict[str, Any]]
Check = Callable[[Mapping[str, Any]], None]


def change_each_graph(
    source: Path,
    destination: Path,
    change: Change,
    progress: Tell,
    *,
    doing: str,
    check: Check | None = None,
    runs: bool = True,
) -> dict[str, Any]:
    """Write `destination` from `source` with every graph changed, and call `check` on the facts before the first run.

    `doing` is the progress text, with `{name}` for the file. Facts: `files`, by file; `bytes_before` and `bytes`, of
    all graphs of both folders, merged decoders included; `ran`: whether every result also ran, rather than only
    loaded (False where `runs` is False).
    """
    names = graphs_to_change(source)
    merges = merged_name(source) is not None
    steps = CountedSteps(progress, len(names) + merges + runs * (len(names) + merges))
    files: dict[str, Any] = {}
    for name in names:
        steps.begin(doing.format(name=name))
        files[name] = change(name, source / name, destination / name, steps)
    files |= _merge_again(source, destination, steps)
    carry_along(source, destination, besides=data_below(source))
    facts = {"files": files, "bytes_before": total_bytes(source), "bytes": total_bytes(destination)}
    if check is not None:
        check(facts)
    return {**facts, "ran": runs and _run_each(source, destination, steps)}


def total_bytes(folder: Path) -> int:
    """Bytes of all graphs of a folder with their external data."""
    return sum(size_bytes(folder / name) for name in onnx_names(folder))


def _merge_again(source: Path, destination: Path, steps: CountedSteps) -> dict[str, Any]:
    """The merged decoder of the changed parts, if the source has one; its facts by file name."""
    name = merged_name(source)
    if name is None:
        return {}
    steps.begin(f"merging {name}")
    with quiet():
        return {name: merge(destination, name)}


def _run_each(source: Path, destination: Path, steps: CountedSteps) -> bool:
    config = read_config(source)
    ran = []
    for name in onnx_names(destination):
        steps.begin(f"running {name} once")
        ran.append(check_still_runs(source / name, destination / name, config))
    return all(ran)
