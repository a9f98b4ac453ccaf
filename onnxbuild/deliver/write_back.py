"""Write-back: which results of a run may be shared, and how they get into the remote store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import msgspec
from msgspec import Struct

from onnxbuild.execute.events import SUCCEEDED, Outcome
from onnxbuild.execute.key import KeyParts
from onnxbuild.execute.sharing.compiled_elsewhere import is_compiled, is_prepared, without_compiler
from onnxbuild.planning.action_graph import ActionGraph, Variant
from onnxbuild.planning.packages.asked_uploads import uploads_in
from onnxbuild.steps import all_kinds
from onnxbuild.store.store import Store

Tell = Callable[[int, int, float], None]  # results done, results in all, bytes sent


class Shared(Struct, frozen=True):
    """What was shared of the results that the remote store lacked. `withheld`: results whose checks did not pass."""

    results: int
    bytes: int
    withheld: int
    complete: bool  # the remote store has everything that may be shared


def releasable(graph: ActionGraph, outcomes: Mapping[str, Outcome]) -> tuple[str, ...]:
    """Ids of the actions whose results may be shared, in the order of the graph.

    The steps of a variant may be shared, with its measurements, if the variant has checks and all of them passed. A
    step of several variants needs one such variant. Actions without a check are shared if nothing failed.
    """
    vouched: set[str] = set()
    checked: set[str] = set()
    for variant in graph.variants:
        members = set(variant.members)
        if variant.checks:
            checked |= members
            if _passed(variant, outcomes):
                vouched |= members
    if all(outcome.outcome in SUCCEEDED for outcome in outcomes.values()):
        vouched |= graph.actions.keys() - checked
    vouched -= uploads_in(graph)  # each user asks the destination
    return tuple(name for name in graph.actions if name in vouched and _succeeded(name, outcomes))


def _passed(variant: Variant, outcomes: Mapping[str, Outcome]) -> bool:
    return all(_succeeded(name, outcomes) for name in variant.needed)


def _succeeded(name: str, outcomes: Mapping[str, Outcome]) -> bool:
    return name in outcomes and outcomes[name].outcome in SUCCEEDED


def share(
    graph: ActionGraph,
    outcomes: Mapping[str, Outcome],
    store: Store,
    tell: Tell = lambda _done, _all, _bytes: None,
    *,
    again: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Shared | None:
    """Write the results that may be shared to the remote store; None if there is no remote store that can be written.

    Results that the remote store is known to have are skipped, unless `again` is set. `stop` is asked before each one.
    """
    if store.remote is None or store.remote.readonly:
        return None
    names = releasable(graph, outcomes)
    withheld = sum(outcome.outcome in SUCCEEDED for outcome in outcomes.values()) - len(names)
    keys = _with_others(dict(_keys(names, outcomes)), outcomes, store)
    fresh = list(keys) if again else store.traces.unshared(store.remote.identity, keys)
    results, sent = 0, 0
    for number, key in enumerate(fresh, 1):
        if not store.remote.usable or stop():
            break
        size = store.share(key)
        if size is not None:
            results, sent = results + 1, sent + size
        tell(number, len(fresh), sent)
    return Shared(results, sent, withheld, complete=results == len(fresh))


def _with_others(keys: Mapping[str, str], outcomes: Mapping[str, Outcome], store: Store) -> dict[str, str]:
    """The keys to share: none of a prepared variant, and a second one of a compiled variant."""
    found: dict[str, str] = {}
    for key, name in keys.items():
        facts = outcomes[name].facts
        if is_prepared(facts):
            continue
        found[key] = name
        trace = store.traces.find(key) if is_compiled(facts) else None
        others = without_compiler(msgspec.convert(trace.parts, KeyParts), all_kinds()) if trace is not None else None
        if others is not None:
            found[others.key] = name
    return found


def _keys(names: tuple[str, ...], outcomes: Mapping[str, Outcome]) -> Iterator[tuple[str, str]]:
    for name in names:
        key = outcomes[name].key
        assert key is not None, "BUG: a success has a key"
        yield key, name
