"""What a worker writes is bounded and checked: a wrong answer is one typed failure, however it is wrong."""

from __future__ import annotations

import contextlib
import io
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plugin.world import PLUGIN, World

from onnxbuild.protocol import Failure, Message, Progress, Request, Response
from onnxbuild.runners import log_watch, messages
from onnxbuild.runners.local import LocalRunner
from onnxbuild.runners.messages import LINE_BYTES, Pace, Unreadable


def read(data: bytes) -> list[Message]:
    return list(messages.messages(io.BytesIO(data)))


def line(**fields: Any) -> bytes:
    return msgspec.json.encode({"type": "response", "id": "a", **fields}) + b"\n"


def test_messages_are_read_in_order_and_other_lines_are_passed_over() -> None:
    sent = [Progress(id="a", text="half", done=1, total=2), Response(id="a", facts={"x": 1}, seconds=2.5)]
    noise = [b"a library prints\n", b"[1, 2]\n", b"\xff\xfe\n", b"\n", b"[" * 100_000 + b"\n"]
    data = b"".join([noise[0], msgspec.json.encode(sent[0]) + b"\n", *noise, msgspec.json.encode(sent[1]) + b"\n"])
    assert read(data) == sent


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (line(facts=3), "the worker's answer cannot be read: Expected `object`, got `int` - at `$.facts`"),
        (line(seconds=-1.0), "the worker's answer has impossible numbers"),
        (line(peak_bytes=-1), "the worker's answer has impossible numbers"),
        (line(peak_bytes=1 << 62), "the worker's answer has impossible numbers"),
        (line(facts={"x": deep(64)}), "the worker's answer is nested deeper than 64 levels"),
        (line(failure={"code": "OBE01", "message": "", "facts": {"x": deep(64)}}),
         "the worker's answer is nested deeper than 64 levels"),
        (line(failure={"code": "\u001b[2J", "message": ""}), "the worker's answer names an unknown code: \u001b[2J"),
        (b'{"type":"response","id":"a","facts":' + b"[" * 100_000 + b"\n", None),
        (b'{"type":"response","id":"a","facts":{"x":"\xff"}}\n', None),
        (b'{"type":"response","id":"a","seconds":1e999}\n', None),
        (b'{"type":"response","id":"a"\n', None),
        (b"x" * (LINE_BYTES + 1), "the worker wrote a line of more than 8 MB"),
        (b'{"type":"progress","id":"a","text":"' + b"x" * LINE_BYTES, "the worker wrote a line of more than 8 MB"),
    ],
)  # fmt: skip
def test_a_wrong_answer_is_a_failure(data: bytes, message: str | None) -> None:
    with pytest.raises(Unreadable) as caught:
        read(data)
    assert caught.value.failure.code == "OBE72"
    assert dict(caught.value.failure.notes).keys() == {"hint"}
    assert caught.value.failure.message.startswith(message or "the worker's answer cannot be read")


def test_facts_just_within_the_bounds_are_taken() -> None:
    facts = {"x": deep(62)}
    assert read(line(facts=facts, peak_bytes=(1 << 62) - 1)) == [
        Response(id="a", facts=facts, peak_bytes=(1 << 62) - 1)
    ]
    long = line(facts={"x": "y" * (LINE_BYTES - 100)})
    assert len(long) < LINE_BYTES
    assert len(read(long)) == 1


def test_a_line_cut_off_by_the_end_of_the_worker_is_no_answer() -> None:
    assert read(b'{"type":"response","id":"a","fac') == []


@pytest.mark.parametrize("piece", [b"[],", b"{},", b'"",', b"1.5,"])
def test_the_memory_for_an_answer_is_bounded(piece: bytes) -> None:
    start = b'{"type":"response","id":"a","facts":{"x":['
    data = start + piece * ((LINE_BYTES - len(start) - 100) // len(piece)) + b"0]}}\n"
    tracemalloc.start()
    try:
        assert len(read(data)) == 1
        assert tracemalloc.get_traced_memory()[1] < 300 << 20
    finally:
        tracemalloc.stop()


def test_the_text_of_progress_is_bounded() -> None:
    (progress,) = read(msgspec.json.encode(Progress(id="a", text="x" * 100_000)) + b"\n")
    assert isinstance(progress, Progress)
    assert progress.text == "x" * 1000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
FIELDS = ("type", "id", "facts", "failure", "seconds", "peak_bytes", "retire", "text", "done", "total", "code", "notes")
OBJECTS = st.dictionaries(
    st.sampled_from(FIELDS), JSON | st.sampled_from(["response", "progress", "OBE01"]), max_size=8
)


@settings(max_examples=300, deadline=None)
@given(st.lists(OBJECTS.map(msgspec.json.encode) | st.binary(max_size=200) | JSON.map(msgspec.json.encode), max_size=5))
def test_whatever_a_worker_writes_is_a_message_a_failure_or_nothing(lines: list[bytes]) -> None:
    data = b"\n".join(b'{"type":"response",' + one[1:] if one.startswith(b"{") else one for one in lines) + b"\n"
    for given_data in (data, b"\n".join(lines)):
        with contextlib.suppress(Unreadable):
            # What is taken can be written into events, traces and receipts.
            for one in read(given_data):
                assert msgspec.json.decode(msgspec.json.encode(one), type=Message) == one


def test_progress_without_end_is_thinned_out() -> None:
    now = [0.0]
    pace = Pace(lambda: now[0])
    assert sum(pace.allows() for _ in range(10_000)) == 500
    now[0] = 1.0
    assert sum(pace.allows() for _ in range(10_000)) == 100
    now[0] = 1000.0
    assert sum(pace.allows() for _ in range(10_000)) == 500


# -- in real processes -------------------------------------------------------------------------------------------------

PIPE = """
import os
pipe = max(n for n in map(int, os.listdir("/proc/self/fd"))
           if os.path.exists(f"/proc/self/fd/{n}") and os.readlink(f"/proc/self/fd/{n}").startswith("pipe:"))
"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize("kind", ["friend", "stranger"])
@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("data = b'x' * (1 << 20)\nwhile True: os.write(pipe, data)", "the worker wrote a line of more than 8 MB"),
        ("""os.write(pipe, b'{"type":"response","id":"m/a:KIND","facts":3}\\n'); import time; time.sleep(60)""",
         "the worker's answer cannot be read: Expected `object`, got `int` - at `$.facts`"),
    ],
)  # fmt: skip
def test_a_worker_that_writes_nonsense_is_ended(world: World, kind: str, code: str, message: str) -> None:
    world.manifest({"a": [{"code": PIPE + code.replace("KIND", kind)}]}, kind=kind)
    ended = world.run("--json")
    assert ended.code == 1, ended
    found = ended.actions()[f"m/a:{kind}"]["failure"]
    assert (found["code"], found["message"]) == ("OBE72", message)
    assert world.wait_for_silence() == []


def test_a_worker_that_reports_progress_without_end_is_heard_in_part(world: World) -> None:
    code = (
        PIPE
        + """
for number in range(20_000):
    os.write(pipe, b'{"type":"progress","id":"m/a:friend","text":"again"}\\n')
"""
    )
    world.manifest({"a": [{"code": code}]}, kind="friend")
    ended = world.run("--json")
    assert ended.code == 0, ended
    heard = sum(one["event"] == "progress" and one["text"] == "again" for one in ended.lines())
    assert 500 <= heard < 5000


class Talker:
    """A worker with a log, for the watch."""

    def __init__(self, log: str) -> None:
        self.log, self.why = log, None

    def kill(self, why: Failure) -> None:
        self.why = why


def test_an_action_that_prints_without_end_is_ended(tmp_path: Path) -> None:
    sizes = {"small": log_watch.LOG_BYTES, "large": log_watch.LOG_BYTES + 1}
    for name, size in sizes.items():
        with open(tmp_path / name, "wb") as file:
            file.truncate(size)
    workers = [Talker(str(tmp_path / name)) for name in ("small", "large", "missing")] + [Talker("")]
    log_watch.end_talkative(workers)
    assert [one.why and one.why.code for one in workers] == [None, "OBE74", None, None]
    assert workers[1].why is not None
    assert (
        workers[1].why.message == f"the action printed more than {log_watch.LOG_BYTES // 1_048_576} MB and was stopped"
    )


def test_a_log_that_grows_without_end_is_noticed_while_the_action_runs(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(log_watch, "_SECONDS", 0.01)
    killed = threading.Event()
    talker = Talker(str(tmp_path / "log"))
    monkeypatch.setattr(talker, "kill", lambda _why: killed.set())
    watch = log_watch.LogWatch(lambda: [talker])
    watch.start()
    with open(talker.log, "wb") as file:
        file.truncate(log_watch.LOG_BYTES + 1)
    assert killed.wait(10)
    watch.start()  # again: there is one thread
    assert sum(thread.name == "logs" for thread in threading.enumerate()) == 1
    watch.stop()
    assert not any(thread.name == "logs" for thread in threading.enumerate())


def test_a_runner_ends_an_action_that_prints_without_end(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(log_watch, "_SECONDS", 0.01)
    monkeypatch.setattr(log_watch, "LOG_BYTES", 1000)
    monkeypatch.setenv("PYTHONPATH", str(PLUGIN))
    code = "import time; print('x' * 2000, flush=True); time.sleep(600)"
    request = Request(id="a", worker="toy_steps.stranger:run", params={"code": code}, inputs={}, outputs={},
                      log=str(tmp_path / "log"))  # fmt: skip
    runner = LocalRunner()
    try:
        response = runner.submit("current", request, lambda _progress: None).result(30)
    finally:
        runner.close()
    assert response.failure is not None
    assert response.failure.code == "OBE74"
    assert not any(thread.name == "logs" for thread in threading.enumerate())
