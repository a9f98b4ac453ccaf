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
from onnxbuild.protocol import plain
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
    keys, others = _with_others(dict(_keys(names, outcomes)), outcomes, store)
    fresh = list(keys) if again else store.traces.unshared(store.remote.identity, keys)
    results, sent = 0, 0
    for number, key in enumerate(fresh, 1):
        if not store.remote.usable or stop():
            break
        size = store.share(key, replaces=key in others)
        if size is not None:
            results, sent = results + 1, sent + size
        tell(number, len(fresh), sent)
    return Shared(results, sent, withheld, complete=results == len(fresh))


def _with_others(keys: Mapping[str, str], outcomes: Mapping[str, Outcome], store: Store) -> tuple[list[str], set[str]]:
    """The keys to share, none of a prepared variant; and those of them that are of machines without the compiler."""
    found: list[str] = []
    others: set[str] = set()
    for key, name in keys.items():
        facts = outcomes[name].facts
        if is_prepared(facts):
            continue
        found.append(key)
        if is_compiled(facts):
            others.update(_others(key, store))
    return [*found, *sorted(others)], others


def _others(key: str, store: Store) -> Iterator[str]:
    """The keys under which machines without the compiler look for a compiled result that was built here."""
    trace = store.traces.find(key)
    if trace is None:
        return
    for parts in without_compiler(msgspec.convert(trace.parts, KeyParts), all_kinds()):
        has = store.traces.find(parts.key)
        if has is None:
            continue  # the result was fetched, and who built it has shared it
        if dict(has.outputs) != dict(trace.outputs) and not store.readonly:
            store.record_again(parts.key, msgspec.structs.replace(trace, parts=plain(parts)))
        yield parts.key


def _keys(names: tuple[str, ...], outcomes: Mapping[str, Outcome]) -> Iterator[tuple[str, str]]:
    for name in names:
        key = outcomes[name].key
        assert key is not None, "BUG: a success has a key"
        yield key, name
