"""Which results of earlier runs count: what was uploaded from elsewhere, and what `--revalidate` does not trust."""

from __future__ import annotations

from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.planning.packages.asked_uploads import uploads_in


def own_actions(graph: ActionGraph, *, revalidate: bool = True) -> frozenset[str]:
    """Ids of the actions whose results count only if they were made on this machine.

    Uploads always: that somebody else has published is no proof that it is there, or that this user may do so.
    """
    return uploads_in(graph) | (_revalidated(graph) if revalidate else frozenset())


def _revalidated(graph: ActionGraph) -> frozenset[str]:
    """What `run --revalidate` does not take from a remote store.

    Checks, because they are the proof. Sources, because models are compared with them. Everything that no check depends
    on, because nothing would notice if it were wrong. The rest, such as an export, is taken and then checked.
    """
    checks = frozenset(name for variant in graph.variants for name in (*variant.proofs, *variant.checks))
    proven = frozenset(graph.with_needs(checks)) - checks
    return frozenset(name for name, action in graph.actions.items() if name not in proven or action.kind == "fetch")
