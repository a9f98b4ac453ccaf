"""What `run --revalidate` takes from a remote store: only what a check on this machine then proves."""

from __future__ import annotations

from onnxbuild.planning.action_graph import ActionGraph


def own_actions(graph: ActionGraph) -> frozenset[str]:
    """Ids of the actions whose results count only if they were made on this machine.

    Checks, because they are the proof. Sources, because models are compared with them. Everything that no check depends
    on, because nothing would notice if it were wrong. The rest, such as an export, is taken and then checked.
    """
    checks = frozenset(name for variant in graph.variants for name in (*variant.proofs, *variant.checks))
    proven = frozenset(graph.with_needs(checks)) - checks
    return frozenset(name for name, action in graph.actions.items() if name not in proven or action.kind == "fetch")
