"""The worker process: reads requests, runs them one after the other, writes progress and responses.

It is started by path with the interpreter of a toolchain, which need not have onnxbuild installed: the package is
registered from its own folder, without adding the folder that contains it (often the `site-packages` of another
interpreter) to the path. What an action prints goes to its log; standard output belongs to the protocol.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import queue
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnxbuild.protocol import Failure, Progress, Request, Response
    from onnxbuild.workers.confined import Confinement

_LOG_TAIL_BYTES = 20_000  # searched for the cause of a failure
_LOG_BYTES = 1 << 20  # searched for warnings


def _register_package() -> None:
    """Make `import onnxbuild` find the package that this file belongs to."""
    root = Path(__file__).resolve().parent.parent
    spec = importlib.util.spec_from_file_location(
        "onnxbuild", root / "__init__.py", submodule_search_locations=[str(root)]
    )
    assert spec is not None, "BUG: the package has an __init__.py"
    assert spec.loader is not None, "BUG: a file has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules["onnxbuild"] = module
    spec.loader.exec_module(module)


def main() -> None:
    """Serve requests until the input ends."""
    _register_package()
    from onnxbuild.workers.process_tree import die_with_parent, end_group

    die_with_parent(int(sys.argv[1]))
    sys.path[:0] = sys.argv[2:]
    lines = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    first = lines.readline()  # not in the other thread: confinement covers only threads that start later
    if not first:
        end_group()
    _serve_all(first, lines, answers)


def _serve_all(first: bytes, lines: IO[bytes], answers: IO[bytes]) -> None:
    import msgspec

    from onnxbuild.protocol import Request
    from onnxbuild.workers.confined import Confinement
    from onnxbuild.workers.supervisor import continue_in_child

    request = msgspec.json.decode(first, type=Request)
    if request.confined:
        continue_in_child()
    confinement = Confinement(request)
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    requests.put(first)
    threading.Thread(target=_read, args=(lines, requests), daemon=True).start()
    while line := requests.get():
        _serve(line, answers, confinement)


def _read(lines: IO[bytes], requests: queue.SimpleQueue[bytes]) -> None:
    """Pass requests on. The input ends when the command is gone or has no more work: then end the whole group."""
    from onnxbuild.workers.process_tree import end_group

    for line in lines:
        requests.put(line)
    end_group()


class _Answers:
    """The stream that progress and the response go to, one JSON object per line."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def send(self, message: Progress | Response) -> None:
        """Write one message."""
        import msgspec

        with self._lock:
            self._stream.write(msgspec.json.encode(message) + b"\n")
            self._stream.flush()


def _serve(line: bytes, stream: IO[bytes], confinement: Confinement) -> None:
    import msgspec

    from onnxbuild.machine import peak_resident_bytes
    from onnxbuild.protocol import Progress, Request
    from onnxbuild.workers.process_tree import end_orphans

    request = msgspec.json.decode(line, type=Request)
    answers = _Answers(stream)

    def tell(text: str, done: float | None = None, total: float | None = None) -> None:
        answers.send(Progress(id=request.id, text=text, done=done, total=total))

    began = time.monotonic()
    response = _respond(request, tell, confinement)
    # Before the response: the store then takes what was written, and nothing may write into it any more.
    # A confined process cannot search for them: its parent does.
    retire = request.confined or end_orphans()
    seconds = time.monotonic() - began
    measured = {"seconds": seconds, "peak_bytes": peak_resident_bytes(), "retire": retire}
    answers.send(msgspec.structs.replace(response, **measured))


def _respond(request: Request, tell: Any, confinement: Confinement) -> Response:
    from onnxbuild.protocol import Response
    from onnxbuild.workers.action_context import logged, working_in

    if confinement.failure is not None:
        return Response(id=request.id, failure=confinement.failure)
    try:
        with logged(request.log), working_in(request.scratch):
            return _run(request, tell, confinement)
    except OSError as error:  # the log or the working folder cannot be used
        return Response(id=request.id, failure=_of_the_system(error, request.log))


def _of_the_system(error: OSError, log: str) -> Failure:
    """What is known about an error, such as that the disk is full; else what the system says."""
    from onnxbuild.protocol import Failure
    from onnxbuild.workers.failures.exceptions import explain_exception

    known = explain_exception(error, "")
    if known.code != "OBE99":
        return known
    return Failure(code="OBE54", message=f"{error.strerror}: {error.filename or log}")


def _run(request: Request, tell: Any, confinement: Confinement) -> Response:
    from onnxbuild.protocol import CheckFailed, Response

    try:
        facts = _call(request, tell)
    except CheckFailed as failed:
        print(failed)
        failure = confinement.explain(failed) or failed.failure
        return Response(id=request.id, failure=failure, facts=failed.failure.facts)
    except BaseException as error:  # noqa: BLE001 - whatever a framework raises is one failed action
        traceback.print_exc()
        return Response(id=request.id, failure=confinement.explain(error) or _explain(error, request.log))
    facts = _with_warnings(facts, request.log)
    return Response(id=request.id, facts={**facts, "confined_by": confinement.in_force} if request.confined else facts)


def _call(request: Request, tell: Any) -> Any:
    import typing

    import msgspec

    from onnxbuild.workers.libraries.absent_sklearn import sklearn_hidden

    module, _, function = request.worker.partition(":")
    with sklearn_hidden():
        run = getattr(importlib.import_module(module), function)
    params_type = typing.get_type_hints(run)["params"]
    params = msgspec.convert(request.params, params_type)
    inputs = {port: Path(path) for port, path in request.inputs.items()}
    outputs = {port: Path(path) for port, path in request.outputs.items()}
    facts = run(params, inputs, outputs, tell)
    # A response must be plain JSON; numpy scalars and the like are the worker's mistake, and show up here.
    return msgspec.json.decode(msgspec.json.encode(facts))


def _explain(error: BaseException, log: str) -> Failure:
    from onnxbuild.workers.action_context import end_of_log
    from onnxbuild.workers.failures.exceptions import explain_exception

    return explain_exception(error, end_of_log(log, _LOG_TAIL_BYTES))


def _with_warnings(facts: Any, log: str) -> Any:
    """The facts of a step that succeeded, with the warnings that its log contains added to its `warnings`."""
    from onnxbuild.workers.action_context import end_of_log

    text = end_of_log(log, _LOG_BYTES)
    if not text:  # most steps print nothing
        return facts
    from onnxbuild.workers.failures.exceptions import noticed

    warnings = noticed(text)
    return {**facts, "warnings": [*facts.get("warnings", ()), *warnings]} if warnings else facts


if __name__ == "__main__":
    main()
