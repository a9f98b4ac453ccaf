"""What tuning found about variants: the file of session settings in a folder, and a line for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from onnxbuild.execute.events import SUCCEEDED, Outcome
from onnxbuild.planning.action_graph import ActionGraph, Variant
from onnxbuild.printable import printable
from onnxbuild.steps.checks.tune import TUNE
from onnxbuild.store.content import Tree
from onnxbuild.store.store import Store


def with_session(content: Tree, variant: Variant, outcomes: Mapping[str, Outcome], store: Store) -> Tree:
    """The files of a variant and its session settings. A model's own file of the same name stays."""
    names = {file.name for file in content.files}
    outputs = [outcome.outputs["settings"] for outcome in _tunings(variant, outcomes) if outcome.outcome in SUCCEEDED]
    added = [file for digest in outputs for file in store.tree(digest).files if file.name not in names]
    return Tree(tuple(sorted((*content.files, *added), key=lambda file: file.name))) if added else content


def tuned_lines(graph: ActionGraph, outcomes: Mapping[str, Outcome]) -> Iterator[str]:
    """`tuned minilm/int8: threads 1: 1.40 times better in latency.p50 (1.35 to 1.44)` for each tuned variant."""
    for variant in graph.variants:
        for outcome in _tunings(variant, outcomes):
            if outcome.outcome in SUCCEEDED and outcome.facts:
                yield f"tuned {variant.name}: {in_words(outcome.facts)}"


def in_words(facts: Mapping[str, Any]) -> str:
    """What a tuning found, and whether other programs disturbed it."""
    # Facts may come from a remote store that somebody else fills.
    found = printable(" ".join(str(facts.get("because", "")).split()))
    if not facts.get("settings"):
        found = f"the defaults are best ({found})"
    return f"{found}; measured while other programs used the cores" if facts.get("contended") else found


def _tunings(variant: Variant, outcomes: Mapping[str, Outcome]) -> Iterator[Outcome]:
    return (outcomes[name] for name in variant.measures if name in outcomes and outcomes[name].kind == TUNE.name)
