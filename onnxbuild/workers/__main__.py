"""The worker process: reads requests, runs them one after the other, writes progress and responses.

It is started by path with the interpreter of a toolchain, which need not have onnxbuild installed: the package is
registered from its own folder, without putting the folder that holds it (often the `site-packages` of another
interpreter) on the path. What an action prints goes to its log; standard output belongs to the protocol.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import queue
import resource
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnxbuild.protocol import Failure, Request, Response

_LOG_TAIL_BYTES = 20_000  # in which a failure is looked for
_LOG_BYTES = 1 << 20  # in which warnings are


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


def _die_with_parent(parent: int) -> None:
    """Have the kernel end this process when the command dies, so that no writer is left behind."""
    with contextlib.suppress(Exception):
        import ctypes

        prctl = ctypes.CDLL(None).prctl
        prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        # PR_SET_CHILD_SUBREAPER: what an action starts and abandons becomes our child again; `_end_orphans` finds it.
        prctl(36, 1)
    if os.getppid() != parent:
        os._exit(1)


def main() -> None:
    """Serve requests until the input ends."""
    _die_with_parent(int(sys.argv[1]))
    _register_package()
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    lines = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    threading.Thread(target=_read, args=(lines, requests), daemon=True).start()
    while line := requests.get():
        _serve(line, answers)


def _read(lines: IO[bytes], requests: queue.SimpleQueue[bytes]) -> None:
    """Pass requests on. The end of input means that the command is gone or has no more work: end the whole group."""
    for line in lines:
        requests.put(line)
    with contextlib.suppress(OSError):
        os.killpg(os.getpgid(0), signal.SIGTERM)
    os._exit(0)


def _serve(line: bytes, answers: IO[bytes]) -> None:
    import msgspec

    from onnxbuild.protocol import Progress, Request

    request = msgspec.json.decode(line, type=Request)
    lock = threading.Lock()

    def send(message: Progress | Response) -> None:
        with lock:
            answers.write(msgspec.json.encode(message) + b"\n")
            answers.flush()

    def tell(text: str, done: float | None = None, total: float | None = None) -> None:
        send(Progress(id=request.id, text=text, done=done, total=total))

    began = time.monotonic()
    try:
        with _logged(request.log), _inside(request.scratch):
            response = _run(request, tell)
    except OSError as error:
        response = _cannot_begin(request, error)
    # Before the response: what is sent back is taken into the store, and nobody must write into it any more.
    retire = _end_orphans()
    seconds = time.monotonic() - began
    send(msgspec.structs.replace(response, seconds=seconds, peak_bytes=_peak_bytes(), retire=retire))


def _cannot_begin(request: Request, error: OSError) -> Response:
    from onnxbuild.protocol import Failure, Response

    return Response(
        id=request.id, failure=Failure(code="OBE54", message=f"{error.strerror}: {error.filename or request.log}")
    )


def _end_orphans() -> bool:
    """Kill what the action has started and left running; whether there was any.

    A library may still count on a process that was killed (torch.compile keeps a pool), so this worker then retires.
    """
    found = False
    while os.path.isdir("/proc") and _has_children():
        running = _descendants(os.getpid())
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        found = found or bool(running)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, 0)
    return found


def _has_children() -> bool:
    """Whether there is a child, running or ended: one system call, since it is asked after every action."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _descendants(process: int) -> list[int]:
    """The processes below one, nearest first; those that have ended are left out."""
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                state, parent = file.read().rpartition(b")")[2].split()[:2]
                if state not in {b"Z", b"X"}:
                    parents.setdefault(int(parent), []).append(int(name))
    found, waiting = [], [process]
    while waiting:
        below = parents.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def _run(request: Request, tell: Any) -> Response:
    from onnxbuild.protocol import CheckFailed, Response

    try:
        facts = _call(request, tell)
    except CheckFailed as failed:
        print(failed, flush=True)
        return Response(id=request.id, failure=failed.failure, facts=failed.failure.facts)
    except BaseException as error:  # noqa: BLE001 - whatever a framework raises is one failed action
        traceback.print_exc()
        return Response(id=request.id, failure=_explain(error, request.log))
    return Response(id=request.id, facts=_with_warnings(facts, request.log))


def _call(request: Request, tell: Any) -> Any:
    import typing

    import msgspec

    module, _, function = request.worker.partition(":")
    run = getattr(importlib.import_module(module), function)
    params_type = typing.get_type_hints(run)["params"]
    params = msgspec.convert(request.params, params_type)
    inputs = {port: Path(path) for port, path in request.inputs.items()}
    outputs = {port: Path(path) for port, path in request.outputs.items()}
    facts = run(params, inputs, outputs, tell)
    # What a response holds must be plain; numpy scalars and the like are the worker's mistake, found here.
    return msgspec.json.decode(msgspec.json.encode(facts))


def _explain(error: BaseException, log: str) -> Failure:
    from onnxbuild.workers.failures.exceptions import explain_exception

    return explain_exception(error, _end_of(log, _LOG_TAIL_BYTES))


def _with_warnings(facts: Any, log: str) -> Any:
    """The facts of a step that succeeded, with what its log says and someone should know added to its `warnings`."""
    text = _end_of(log, _LOG_BYTES)
    if not text:  # most steps print nothing
        return facts
    from onnxbuild.workers.failures.exceptions import noticed

    found = noticed(text)
    return {**facts, "warnings": [*facts.get("warnings", ()), *found]} if found else facts


def _end_of(log: str, most_bytes: int) -> str:
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.suppress(OSError), open(log, "rb") as file:
        file.seek(max(0, os.path.getsize(log) - most_bytes))
        return file.read().decode(errors="replace")
    return ""


@contextlib.contextmanager
def _logged(path: str) -> Any:
    """Send all that this process and its children print to a file."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os.close(null)


@contextlib.contextmanager
def _inside(folder: str) -> Any:
    """Work in a folder of the action's own: libraries leave files where they stand, and gigabytes in /tmp."""
    import tempfile

    if not folder:
        yield
        return
    before = tempfile.tempdir
    tempfile.tempdir = folder
    os.chdir(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before
        os.chdir("/")


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
