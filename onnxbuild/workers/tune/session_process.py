"""The process of one session: opens the graphs of a variant with some settings, and runs and times them when asked.

Each session has a process of its own, because some settings last as long as the process: the first session decides
whether its thread flushes denormals, and a session without an arena would use the memory that another one has kept.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np
import onnxruntime
from msgspec import Struct

from onnxbuild.workers.engines import timing
from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel


class Work(Struct, frozen=True, kw_only=True):
    """One stage at one shape, and the file with its feeds. `batch`: its samples."""

    stage: str
    batch: int
    sequence: int
    feeds: str


class Opening(Struct, frozen=True, kw_only=True):
    """What a process is to open, and what it will run."""

    folder: str
    options: Mapping[str, Any]
    entries: Mapping[str, str]
    works: tuple[Work, ...]


class Request(Struct, frozen=True, kw_only=True):
    """Time a work (by its number) with some calls, or warm it up; or write the outputs of all works to a file."""

    work: int = 0
    calls: int = 0
    warmup: int = 0
    outputs: str = ""


class Answer(Struct, frozen=True, kw_only=True):
    """What a process has done; `error`: why it could not."""

    error: str = ""
    series: timing.Series | None = None
    resident_bytes: int | None = None
    load_seconds: float = 0.0


def serve() -> None:
    """Open the session that the first line asks for, and answer each further line until the input ends."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print belongs to the log
    for answer in _answers(requests):
        answers.write(msgspec.json.encode(answer) + b"\n")
        answers.flush()


def _answers(requests: IO[bytes]) -> Iterator[Answer]:
    opening = msgspec.json.decode(requests.readline(), type=Opening)
    try:
        model = OnnxModel(Path(opening.folder), threads=0, options=session_options(opening.options, opening.entries))
        calls = [_call(model, work) for work in opening.works]
    except Exception as error:  # noqa: BLE001 - whatever ONNX Runtime raises, the setting is refused with the reason
        yield Answer(error=f"{type(error).__name__}: {error}")
        return
    yield Answer(load_seconds=model.load_seconds, resident_bytes=timing.resident_bytes())
    with timing.without_collector():
        yield from (_served(line, model, calls, opening.works) for line in requests)


def _served(line: bytes, model: OnnxModel, calls: list[Callable[[], Any]], works: tuple[Work, ...]) -> Answer:
    request = msgspec.json.decode(line, type=Request)
    try:
        return _done(request, model, calls, works)
    except Exception as error:  # noqa: BLE001 - as above
        return Answer(error=f"{type(error).__name__}: {error}")


def _done(request: Request, model: OnnxModel, calls: list[Callable[[], Any]], works: tuple[Work, ...]) -> Answer:
    if request.outputs:
        _write_outputs(Path(request.outputs), model, works)
        return Answer()
    call = calls[request.work]
    if request.warmup:
        return Answer(series=timing.Series(warmup=timing.warm_up(call, request.warmup)))
    series = timing.Series(warmup=timing.Warmup(first_ms=timing.time_call(call), calls=1, steady=True))
    timing.time_each(itertools.repeat(call, request.calls), series)
    return Answer(series=series, resident_bytes=timing.resident_bytes())


def _call(model: OnnxModel, work: Work) -> Callable[[], Any]:
    with np.load(work.feeds) as feeds:
        return model.prepare(work.stage, dict(feeds))


def _write_outputs(path: Path, model: OnnxModel, works: tuple[Work, ...]) -> None:
    arrays: dict[str, Any] = {}
    for number, work in enumerate(works):
        with np.load(work.feeds) as feeds:
            arrays |= {f"{number} {name}": value for name, value in model.run(work.stage, dict(feeds)).items()}
    np.savez(path, **arrays)


def session_options(options: Mapping[str, Any], entries: Mapping[str, str]) -> onnxruntime.SessionOptions:
    """ONNX Runtime's defaults with some values, as a server sets them."""
    session = onnxruntime.SessionOptions()
    for name, value in options.items():
        setattr(session, name, type(getattr(session, name))(value))
    for key, text in entries.items():
        session.add_session_config_entry(key, text)
    session.log_severity_level = 3
    session.add_session_config_entry("session.record_ep_graph_assignment_info", "1")  # to check the provider
    return session
