"""The parts of the server that need none of its packages."""

import asyncio
from types import SimpleNamespace

import pytest

from onnxbuild.serve.inference.buckets import buckets
from onnxbuild.serve.running.waiting import Request, Waiting
from onnxbuild.serve.web.api_keys import is_allowed, keys_in
from onnxbuild.serve.web.entity_groups import shown_entities
from onnxbuild.serve.wire import Entity, Item, Row


def test_items_of_similar_length_run_together():
    assert list(buckets([5, 200, 6, 5, 190, 26])) == [[0, 3, 2, 5], [4, 1]]
    assert list(buckets([100, 100, 100], most=200)) == [[0, 1], [2]]
    assert list(buckets([])) == []
    assert list(buckets([50_000])) == [[0]]


@pytest.mark.parametrize("lengths", [[1, 1000] * 20, list(range(1, 300)), [7] * 100, [512] * 70])
def test_every_item_runs_once_with_bounded_padding(lengths):
    runs = list(buckets(lengths))
    assert sorted(number for run in runs for number in run) == list(range(len(lengths)))
    for run in runs:
        longest = max(lengths[number] for number in run)
        assert longest * len(run) - sum(lengths[number] for number in run) <= 64
        assert longest * len(run) <= 16_384


def requests(*sizes, ability="embed"):
    loop = asyncio.new_event_loop()
    made = [Request(ability, [Item("x")] * size, loop.create_future()) for size in sizes]
    loop.close()
    return made


def test_a_batch_takes_items_of_several_requests_and_parts_of_one():
    waiting, (first, second) = Waiting(), requests(3, 4)
    waiting.add(first)
    waiting.add(second)
    assert waiting.take(5) == [(first, 0), (first, 1), (first, 2), (second, 0), (second, 1)]
    assert waiting.take(5) == [(second, 2), (second, 3)]
    assert waiting.take(5) == []


def test_a_batch_has_one_ability():
    waiting, (first,), (second,) = Waiting(), requests(1), requests(1, ability="classify")
    waiting.add(first)
    waiting.add(second)
    assert waiting.take(8) == [(first, 0)]
    assert waiting.take(8) == [(second, 0)]


def test_what_nobody_waits_for_is_not_taken():
    waiting, (first, second, third) = Waiting(), requests(2, 2, 2)
    for one in (first, second, third):
        waiting.add(one)
    waiting.forget(first)
    second.answered.cancel()
    assert len(waiting) == 4
    assert waiting.take(8) == [(third, 0), (third, 1)]


def test_a_request_is_answered_in_the_order_of_its_items():
    (request,) = requests(3)
    for number in (2, 0, 1):
        assert not request.answered.done()
        request.fill(number, Row(number))
    assert request.answered.result() == [Row(0), Row(1), Row(2)]


def test_keys_of_a_text():
    assert keys_in("# comment\n one \n\ntwo\n") == ("one", "two")


@pytest.mark.parametrize(("header", "allowed"), [
    (b"Bearer two", True), (b"bearer one", True), (b"Bearer on", False), (b"Bearer oneone", False), (b"one", False),
    (b"Bearer ", False), (b"", False), ("Bearer ö".encode(), False),
])  # fmt: skip
def test_a_key_is_allowed_as_a_bearer_token(header, allowed):
    assert is_allowed([(b"host", b"h"), (b"authorization", header)], ("one", "two")) is allowed
    assert not is_allowed([(b"host", b"h")], ("one", "two"))


def test_keys_are_compared_in_constant_time_and_each_of_them(monkeypatch):
    compared = []
    monkeypatch.setattr(
        "onnxbuild.serve.web.api_keys.hmac.compare_digest", lambda one, other: compared.append(other) or one == other
    )
    assert is_allowed([(b"authorization", b"Bearer one")], ("one", "two", "three"))
    assert compared == [b"one", b"two", b"three"], "a match must not end the comparison"


def test_tokens_of_one_entity_become_one():
    text = "Ada Lovelace met Bo in Bergen"
    tokens = [
        Entity("B-PER", 0.9, 0, 3),
        Entity("I-PER", 0.7, 4, 12),
        Entity("O", 1.0, 13, 16),
        Entity("B-PER", 0.8, 17, 19),
        Entity("O", 1.0, 20, 22),
        Entity("LOC", 0.5, 23, 26),
        Entity("LOC", 0.7, 26, 29),
    ]
    shown = shown_entities(text, tokens, "simple")
    assert [(one["entity"], one["text"], round(one["score"], 3)) for one in shown] == [
        ("PER", "Ada Lovelace", 0.8), ("PER", "Bo", 0.8), ("LOC", "Bergen", 0.6),
    ]  # fmt: skip
    assert [one["entity"] for one in shown_entities(text, tokens, "none")] == ["B-PER", "I-PER", "B-PER", "LOC", "LOC"]


@pytest.mark.parametrize(("is_ready", "status", "body"), [
    (True, 200, b'{"status":"ready"}'), (False, 503, b'{"status":"not ready"}'),
])  # fmt: skip
def test_the_probe_says_whether_every_model_is_ready(is_ready, status, body):
    fastapi = pytest.importorskip("fastapi")
    from onnxbuild.serve.web.application import _add_probes

    app = fastapi.FastAPI()
    _add_probes(app, SimpleNamespace(are_ready=is_ready), None)
    probe = next(route.endpoint for route in app.routes if route.path == "/readyz")
    answer = asyncio.run(probe())
    assert (answer.status_code, answer.body) == (status, body)
