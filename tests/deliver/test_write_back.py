"""Which results may be shared, and what sharing tells and counts. `tests/store` has the remote store itself."""

import pytest
from toys import graph_of, step

from onnxbuild.deliver.write_back import Shared, releasable, share
from onnxbuild.execute.events import Outcome
from onnxbuild.planning.action_graph import ActionGraph, OutputRef, Variant


def variant(target, *steps, checks=(), measures=()):
    return Variant(
        model="m", target=target, output=OutputRef(steps[-1], "out"), precision="fp32", steps=steps, checks=checks,
        measures=measures,
    )  # fmt: skip


def world(*variants, **ended):
    """A graph of the actions that are named, in this order, and how each ended."""
    outcomes = {
        name: Outcome(id=name, kind="cat", outcome=outcome, key=f"key of {name}") for name, outcome in ended.items()
    }
    return ActionGraph(graph_of(*map(step, ended)).actions, variants), outcomes


CHECKED = variant("t", "fetch", "export", checks=("validate",), measures=("benchmark",))
DONE = {"fetch": "hit", "export": "built", "validate": "unchanged", "benchmark": "built"}
EVERYTHING = ("fetch", "export", "validate", "benchmark")

RELEASED = {
    "all passed": ({}, EVERYTHING),
    "the check failed": ({"validate": "failed"}, ()),
    "the check was blocked": ({"validate": "blocked"}, ()),
    "the check was skipped": ({"validate": "skipped"}, ()),
    "a step failed": ({"export": "failed"}, ()),
    "a measurement failed": ({"benchmark": "failed"}, ("fetch", "export", "validate")),
}


@pytest.mark.parametrize("what", RELEASED)
def test_a_checked_variant_is_released_once_its_steps_and_checks_have_passed(what):
    changes, expected = RELEASED[what]
    assert releasable(*world(CHECKED, **{**DONE, **changes})) == expected


@pytest.mark.parametrize("missing", ["fetch", "export", "validate"])
def test_an_action_without_an_outcome_has_not_passed(missing):
    graph, outcomes = world(CHECKED, **DONE)
    del outcomes[missing]
    assert releasable(graph, outcomes) == ()


def test_a_step_of_two_variants_needs_one_that_passed():
    two = (variant("t", "fetch", "one", checks=("check1",)), variant("u", "fetch", "two", checks=("check2",)))
    ended = {"fetch": "hit", "one": "built", "two": "built", "check1": "failed", "check2": "built"}
    assert releasable(*world(*two, **ended)) == ("fetch", "two", "check2")


@pytest.mark.parametrize(("other", "expected"), [("built", ("fetch", "export", "other")), ("failed", ())])
def test_a_variant_without_checks_is_released_if_nothing_failed(other, expected):
    assert releasable(*world(variant("t", "fetch", "export"), fetch="hit", export="built", other=other)) == expected


def test_an_unchecked_action_is_withheld_while_a_checked_variant_fails():
    graph, outcomes = world(CHECKED, variant("u", "lone"), **{**DONE, "validate": "failed"}, lone="built")
    assert releasable(graph, outcomes) == ()


# -- sharing ----------------------------------------------------------------------------------------------------------


class Remote:
    """A remote store that is usable for as many results as the test says."""

    identity = "the remote store"

    def __init__(self, *, readonly=False, usable_for=99):
        self.readonly, self.left = readonly, usable_for

    @property
    def usable(self):
        self.left -= 1
        return self.left >= 0


class Store:
    """A store with this remote store, which has some keys already and refuses others."""

    def __init__(self, remote, *, shared=(), refused=()):
        self.remote, self.known, self.refused, self.pushed = remote, shared, refused, []
        self.traces = self

    def unshared(self, identity, keys):
        assert identity == Remote.identity
        return [key for key in keys if key not in self.known]

    def share(self, key, *, replaces):
        assert not replaces
        if key in self.refused:
            return None
        self.pushed.append(key)
        return 100


@pytest.mark.parametrize("remote", [None, Remote(readonly=True)])
def test_nothing_is_shared_without_a_remote_store_that_can_be_written(remote):
    store = Store(remote)
    assert share(*world(CHECKED, **DONE), store) is None
    assert store.pushed == []


def keys(*names):
    return [f"key of {name}" for name in names]


def shared(store, *, ended=DONE, **more):
    """What sharing returns, and what it tells."""
    told = []
    result = share(*world(CHECKED, **ended), store, lambda *progress: told.append(progress), **more)
    return result, told


def test_every_result_is_shared_in_the_order_of_the_graph():
    store = Store(Remote())
    assert shared(store) == (Shared(4, 400, 0, complete=True), [(1, 4, 100), (2, 4, 200), (3, 4, 300), (4, 4, 400)])
    assert store.pushed == keys(*EVERYTHING)


@pytest.mark.parametrize("again", [False, True])
def test_what_the_remote_store_is_known_to_have_is_shared_only_again(again):
    store = Store(Remote(), shared=keys("fetch", "benchmark"))
    count = 4 if again else 2
    assert shared(store, again=again)[0] == Shared(count, 100 * count, 0, complete=True)
    assert store.pushed == keys(*(EVERYTHING if again else ("export", "validate")))


def test_results_whose_checks_did_not_pass_are_counted_as_withheld():
    store = Store(Remote())
    assert shared(store, ended={**DONE, "validate": "failed"}) == (Shared(0, 0, 3, complete=True), [])


def test_a_result_that_cannot_be_sent_leaves_the_remote_store_incomplete():
    result, told = shared(Store(Remote(), refused=keys("export")))
    assert result == Shared(3, 300, 0, complete=False)
    assert told == [(1, 4, 100), (2, 4, 100), (3, 4, 200), (4, 4, 300)]


def test_sharing_ends_when_the_remote_store_fails():
    store = Store(Remote(usable_for=2))
    assert shared(store) == (Shared(2, 200, 0, complete=False), [(1, 4, 100), (2, 4, 200)])


def test_sharing_ends_when_it_is_told_to_stop():
    store = Store(Remote())
    result, _told = shared(store, stop=lambda: len(store.pushed) == 1)
    assert result == Shared(1, 100, 0, complete=False)
    assert store.pushed == keys("fetch")


def test_sharing_can_be_silent():
    assert share(*world(CHECKED, **DONE), Store(Remote())) == Shared(4, 400, 0, complete=True)
