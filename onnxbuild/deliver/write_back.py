"""Write-back: which results of a run other machines may have, and their way into the remote store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from msgspec import Struct

from onnxbuild.execute.events import SUCCEEDED, Outcome
from onnxbuild.planning.action_graph import ActionGraph, Variant
from onnxbuild.store.store import Store

Tell = Callable[[int, int, float], None]  # results done, results in all, bytes sent


class Shared(Struct, frozen=True):
    """What became of the results that a remote store lacked. `withheld`: their checks have not passed."""

    results: int
    bytes: int
    withheld: int
    complete: bool  # all that may be shared is there


def releasable(graph: ActionGraph, outcomes: Mapping[str, Outcome]) -> tuple[str, ...]:
    """Ids of the actions whose results may be shared, in the order of the graph.

    A variant vouches for its steps when it has checks and all of them have passed; what it measured then goes with it.
    Steps that variants share need one that vouches. What no check hangs on is shared when nothing has failed at all.
    """
    vouched: set[str] = set()
    checked: set[str] = set()
    for variant in graph.variants:
        members = {*variant.steps, *variant.checks, *variant.measures}
        if variant.checks:
            checked |= members
            if _passed(variant, outcomes):
                vouched |= members
    if all(outcome.outcome in SUCCEEDED for outcome in outcomes.values()):
        vouched |= graph.actions.keys() - checked
    return tuple(name for name in graph.actions if name in vouched and _succeeded(name, outcomes))


def _passed(variant: Variant, outcomes: Mapping[str, Outcome]) -> bool:
    return all(_succeeded(name, outcomes) for name in (*variant.steps, *variant.checks))


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
    """Write what may be shared, and is not known to be there, to the remote store; None where there is none to write.

    `again`: ask it for everything, whatever is known. `stop` is asked before each result.
    """
    if store.remote is None or store.remote.readonly:
        return None
    keys = dict(_keys(releasable(graph, outcomes), outcomes))
    withheld = sum(outcome.outcome in SUCCEEDED for outcome in outcomes.values()) - len(keys)
    fresh = list(keys) if again else store.traces.unshared(store.remote.address.shown, keys)
    results, sent = 0, 0
    for number, key in enumerate(fresh, 1):
        if not store.remote.usable or stop():
            break
        size = store.share(key)
        if size is not None:
            results, sent = results + 1, sent + size
        tell(number, len(fresh), sent)
    return Shared(results, sent, withheld, complete=results == len(fresh))


def _keys(names: tuple[str, ...], outcomes: Mapping[str, Outcome]) -> Iterator[tuple[str, str]]:
    for name in names:
        key = outcomes[name].key
        assert key is not None, "BUG: a success has a key"
        yield key, name
