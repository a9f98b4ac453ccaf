"""What a worker answers to a request, and what surrounds an action: its log, its folder, the processes that it left."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from onnxbuild.protocol import CheckFailed, Failure, Message, Progress, Request, Response, Tell
from onnxbuild.version import __version__
from onnxbuild.workers import __main__ as serving
from onnxbuild.workers import process_tree
from onnxbuild.workers.action_context import end_of_log, open_log, working_in


class Params(Struct):
    """`raises` is what the action ends with."""

    number: int = 0
    raises: str = ""


ERRORS = {
    "check": CheckFailed("OBE04", "too different", facts={"agreement": 0.5}),
    "unknown": ZeroDivisionError("a surprise"),
    "exit": SystemExit(3),
}


def act(params: Params, inputs: dict[str, Path], outputs: dict[str, Path], progress: Tell) -> dict[str, Any]:
    if params.raises:
        raise ERRORS[params.raises]
    progress("half", 1, 2)
    progress("done")
    return {"number": params.number, "in": str(inputs["model"] / "x"), "out": str(outputs["model"] / "y"), "t": (1, 2)}


FACTS = {"number": 7, "in": "/in/x", "out": "/out/y", "t": [1, 2]}
FREE = SimpleNamespace(failure=None, in_force="", explain=lambda _error: None)


@pytest.fixture(autouse=True)
def module(monkeypatch) -> None:
    made = ModuleType("toy_act")
    made.act, made.broken = act, lambda: None
    monkeypatch.setitem(sys.modules, "toy_act", made)


def request(log: Path | str = "", worker: str = "toy_act:act", **more: Any) -> Request:
    params = {"number": 7} | more.pop("params", {})
    return Request(
        id="a", worker=worker, params=params, inputs={"model": "/in"}, outputs={"model": "/out"}, log=str(log), **more
    )


def run(asked: Request, confinement: Any = FREE) -> Response:
    return serving._run(asked, lambda *_said: None, confinement)


def test_the_facts_of_an_action_are_plain_json() -> None:
    assert run(request()) == Response(id="a", facts=FACTS)


def test_what_a_person_should_know_is_taken_from_the_log(tmp_path: Path) -> None:
    line = "The generation config is invalid and will not be saved : `temperature` is set"
    (tmp_path / "log").write_text(f"loading\n{line}\n")
    (warning,) = run(request(tmp_path / "log")).facts["warnings"]
    assert warning.startswith("OBE19 ")
    assert warning.endswith(line)
    more = serving._with_warnings({"warnings": ["first"]}, str(tmp_path / "log"))
    assert more == {"warnings": ["first", warning]}
    (tmp_path / "log").write_text("loading\n")
    assert run(request(tmp_path / "log")).facts == FACTS


def test_only_the_end_of_a_long_log_is_searched_for_warnings(tmp_path: Path) -> None:
    line = "The generation config is invalid and will not be saved : x\n"
    (tmp_path / "log").write_text(line + "x" * (1 << 20))
    assert "warnings" not in run(request(tmp_path / "log")).facts
    (tmp_path / "log").write_text(line + "x" * ((1 << 20) - len(line)))
    assert "warnings" in run(request(tmp_path / "log")).facts


def test_a_failed_check_keeps_its_facts_and_stands_in_the_log(capsys) -> None:
    failure = ERRORS["check"].failure
    assert run(request(params={"raises": "check"})) == Response(id="a", failure=failure, facts={"agreement": 0.5})
    assert capsys.readouterr().out == "OBE04 too different\n"


@pytest.mark.parametrize("raises", ["unknown", "exit"])
def test_whatever_an_action_raises_is_its_failure(capsys, raises: str) -> None:
    response = run(request(params={"raises": raises}))
    assert (response.id, response.failure.code) == ("a", "OBE99")
    assert "Traceback" in capsys.readouterr().err


def test_the_cause_of_a_failure_is_looked_for_at_the_end_of_the_log(tmp_path: Path) -> None:
    memory = "DefaultCPUAllocator: can't allocate memory: 9 bytes"
    (tmp_path / "log").write_text(memory + "x" * (20_000 - len(memory)))
    asked = request(tmp_path / "log", params={"raises": "unknown"})
    assert run(asked).failure.code == "OBE05"
    (tmp_path / "log").write_text(memory + "x" * 20_000)
    assert run(asked).failure.code == "OBE99"


@pytest.mark.parametrize("raises", ["check", "unknown"])
def test_what_confinement_refused_is_explained_first(raises: str) -> None:
    refused = Failure(code="OBE73", message="refused")
    confinement = SimpleNamespace(failure=None, in_force="x", explain=lambda error: error is ERRORS[raises] and refused)
    assert run(request(params={"raises": raises}), confinement).failure == refused


def test_facts_say_what_confined_an_action() -> None:
    confinement = SimpleNamespace(failure=None, in_force="Landlock 6", explain=lambda _error: None)
    assert run(request(confined=True), confinement).facts == {**FACTS, "confined_by": "Landlock 6"}
    assert run(request(confined=False), confinement).facts == FACTS


def test_params_of_another_form_are_a_failure_of_the_action() -> None:
    assert run(request(params={"number": "text"})).failure.message.startswith("ValidationError: Expected `int`")
    assert run(request(worker="toy_act:missing")).failure.message.startswith("AttributeError: ")
    assert run(request(worker="toy_missing:act")).failure is not None


# -- what surrounds it -------------------------------------------------------------------------------------------------


def respond(asked: Request, confinement: Any = FREE) -> Response:
    return serving._respond(asked, lambda *_said: None, confinement)


def test_an_action_that_cannot_be_confined_does_not_run() -> None:
    failure = Failure(code="OBE75", message="cannot")
    confinement = SimpleNamespace(failure=failure)
    assert respond(request(), confinement) == Response(id="a", failure=failure)


@pytest.mark.parametrize(("place", "named"), [("log", "missing/log"), ("scratch", "missing/scratch")])
def test_a_log_or_a_folder_that_cannot_be_used_is_a_failure(tmp_path: Path, place: str, named: str) -> None:
    before = tempfile.tempdir
    response = respond(msgspec.structs.replace(request(), **{place: str(tmp_path / named)}))
    assert tempfile.tempdir == before
    message = f"No such file or directory: {tmp_path / named}"
    assert response == Response(id="a", failure=Failure(code="OBE54", message=message))


@pytest.mark.parametrize(
    ("confined", "orphans", "retire"), [(False, False, False), (False, True, True), (True, False, True)]
)
def test_progress_and_the_answer_are_lines_of_json(monkeypatch, *, confined: bool, orphans: bool, retire: bool) -> None:
    searched: list[None] = []
    monkeypatch.setattr(process_tree, "end_orphans", lambda: searched.append(None) or orphans)
    stream = io.BytesIO()
    serving._serve(msgspec.json.encode(request(confined=confined)), stream, FREE)
    *progress, response = [msgspec.json.decode(line, type=Message) for line in stream.getvalue().splitlines()]
    assert progress == [Progress(id="a", text="half", done=1, total=2), Progress(id="a", text="done")]
    assert (response.id, response.retire, response.facts["number"]) == ("a", retire, 7)
    assert 0 <= response.seconds < 60
    assert response.peak_bytes > 1 << 20
    assert len(searched) == (not confined)  # a confined process cannot search for them


def test_an_action_works_in_its_own_folder(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", "/before")
    with working_in(""):
        assert (Path.cwd(), tempfile.tempdir) == (tmp_path, "/before")
    folder = tmp_path / "scratch"
    folder.mkdir()
    with contextlib.suppress(ZeroDivisionError), working_in(str(folder)):
        assert (Path.cwd(), tempfile.tempdir) == (folder, str(folder))
        raise ZeroDivisionError
    assert (str(Path.cwd()), tempfile.tempdir) == ("/", "/before")


@pytest.mark.parametrize(("most", "text"), [(3, "�x"), (4, "éx"), (100, "abéx")])
def test_the_end_of_a_log(tmp_path: Path, most: int, text: str) -> None:
    (tmp_path / "log").write_bytes(b"ab\xc3\xa9x")
    assert end_of_log(str(tmp_path / "log"), most - 1) == text
    assert end_of_log(str(tmp_path / "missing"), most) == ""


def test_a_log_may_be_read_as_the_user_permits(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        os.close(open_log(str(tmp_path / "log")))
    finally:
        os.umask(before)
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o640


LOGGED = """
import os, sys
from onnxbuild.workers.action_context import logged
def speak(text):
    print(text + "1")
    sys.stderr.write(text + "2\\n")
    sys.stderr.flush()
    sys.stdout.flush()
    os.system(f"echo {text}3")
with logged(""):
    speak("free")
try:
    with logged(sys.argv[1]):
        speak("log")
        print("unflushed", end="")
        raise ZeroDivisionError
except ZeroDivisionError:
    speak("nowhere")
"""


def test_all_output_goes_to_the_log_and_nowhere_after_it(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("what an older action printed, and much more than the new one prints")
    done = subprocess.run(
        [sys.executable, "-c", LOGGED, str(tmp_path / "log")],
        capture_output=True,
        text=True,
        check=True,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
    )
    assert (done.stdout, done.stderr) == ("free1\nfree3\n", "free2\n")
    log = (tmp_path / "log").read_text()
    assert sorted(log.split()) == ["log1", "log2", "log3", "unflushed"]


def test_an_action_may_close_its_output(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom onnxbuild.workers.action_context import logged\n"
        "with logged(sys.argv[1]):\n    print('said')\n    sys.stdout.close()\n    sys.stderr.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "log")], capture_output=True, check=False)
    assert (done.returncode, (tmp_path / "log").read_text()) == (0, "said\n")


# -- the processes around it -------------------------------------------------------------------------------------------

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

ORPHANS = """
import os, subprocess, sys
from onnxbuild.workers.process_tree import die_with_parent, end_orphans
die_with_parent(os.getppid())
assert not end_orphans()
subprocess.Popen([sys.executable, "-I", "-S", "-c", "pass"]).wait()
assert not end_orphans()
ended = subprocess.Popen([sys.executable, "-I", "-S", "-c", "pass"])
os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
assert not end_orphans()  # a zombie was no running process
reading, writing = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:  # abandoned: becomes a child of the adopter
        os.write(writing, b"%d" % os.getpid())
        os.execvp("sleep", ["sleep", "600"])
    os._exit(0)
abandoned = int(os.read(reading, 20))
direct = subprocess.Popen(["sh", "-c", "sleep 600 & echo $!; wait"], stdout=subprocess.PIPE, text=True)
below = int(direct.stdout.readline())
assert end_orphans()
for process in (abandoned, direct.pid, below):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        continue
    raise SystemExit(f"{process} is still there")
assert not end_orphans()
print("done")
"""


@linux
def test_what_an_action_left_running_is_ended_wherever_it_went() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ORPHANS], capture_output=True, text=True, check=False, timeout=60, start_new_session=True
    )
    assert (done.stdout, done.stderr) == ("done\n", "")


def test_the_processes_below_one_are_those_of_all_its_children(monkeypatch) -> None:
    monkeypatch.setattr(process_tree, "_children_by_parent", lambda: {1: [2, 3], 2: [4, 6], 3: [5], 5: [7], 9: [8]})
    assert sorted(process_tree._descendants(1)) == [2, 3, 4, 5, 6, 7]
    assert process_tree._descendants(3) == [5, 7]
    assert process_tree._descendants(8) == []


@linux
def test_a_worker_whose_command_has_ended_does_not_begin() -> None:
    code = "from onnxbuild.workers.process_tree import die_with_parent\ndie_with_parent(1)\nprint('began')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
def test_the_end_of_a_worker_is_that_of_its_group() -> None:
    code = (
        "import subprocess\nfrom onnxbuild.workers.process_tree import end_group\n"
        "child = subprocess.Popen(['sleep', '600'])\nprint(child.pid, flush=True)\nend_group()"
    )
    done = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
    child = int(done.communicate(timeout=60)[0])  # ends when the child does, which holds the pipe
    assert done.returncode in {0, -15}
    assert child > 0


@linux
@pytest.mark.parametrize(("how", "status"), [("os._exit(7)", 7), ("os.kill(os.getpid(), 9)", -9),
                                             ("os.kill(os.getpid(), 15)", -15), ("os._exit(0)", 0)])  # fmt: skip
def test_a_worker_ends_as_its_child_did(how: str, status: int) -> None:
    code = (
        "import os, signal\nfrom onnxbuild.workers.supervisor import continue_in_child\n"
        f"signal.signal(15, signal.SIG_IGN)\nbefore = os.getpid()\ncontinue_in_child()\n"
        f"assert os.getppid() == before\nsignal.signal(15, signal.SIG_DFL)\n{how}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (status, b"")


# -- the process itself ------------------------------------------------------------------------------------------------

TOY = """
import os, sys
import onnxbuild
from msgspec import Struct
from onnxbuild.protocol import Tell
class Params(Struct):
    number: int
def act(params: Params, inputs, outputs, tell: Tell):
    print("to stdout", flush=True)
    os.write(1, b"to the pipe?")
    tell("half", 1, 2)
    place = {"pid": os.getpid(), "path": sys.path[0], "version": onnxbuild.__version__}
    return {"number": params.number, "input": sys.stdin.read(), **place}
"""


@pytest.fixture
def started(tmp_path: Path):
    """Starts the worker as the command does, with this process as the command."""
    (tmp_path / "toy_alone.py").write_text(TOY)
    options = ["-P", "-u", serving.__file__, str(os.getpid()), str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, *options], start_new_session=True, **pipes) as process:
        yield process
        process.kill()


def test_a_worker_answers_requests_until_its_input_ends(started: subprocess.Popen[bytes], tmp_path: Path) -> None:
    assert started.stdin is not None
    assert started.stdout is not None
    for number in (1, 2):
        asked = request(worker="toy_alone:act", params={"number": number})
        started.stdin.write(msgspec.json.encode(asked) + b"\n")
        started.stdin.flush()
        progress, response = (msgspec.json.decode(started.stdout.readline(), type=Message) for _ in range(2))
        assert progress == Progress(id="a", text="half", done=1, total=2)
        place = {"pid": started.pid, "path": str(tmp_path), "version": __version__}
        assert response.facts == {"number": number, "input": "", **place}
    started.stdin.close()
    assert started.stdout.read() == b""
    assert started.wait(60) in {0, -15}


def test_a_worker_that_is_asked_nothing_ends(started: subprocess.Popen[bytes]) -> None:
    output, _ = started.communicate(timeout=60)
    assert output == b""
    assert started.returncode in {0, -15}
