"""Exit code 3 is for our bugs: whatever is on the command line or wrong with the system, a command says so and ends."""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ended_command import ended_in
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from plugin.world import ROOT, Ended, World, _heed_hangups

from onnxbuild.commands.parsing.arguments import COMMANDS
from onnxbuild.commands.parsing.parsers import parser, subcommand
from onnxbuild.commands.parsing.refused import as_diagnostics

MANIFEST = """\
onnxbuild: 1
vars: {a: x}
models: {m: {source: "onnx:model", validate: false, load: false, targets: [t]}}
targets: {t: {steps: []}}
"""


# -- errors -----------------------------------------------------------------------------------------------------------


def _encoding_error() -> UnicodeError:
    try:
        os.fsdecode(b"caf\xe9\x1b").encode()
    except UnicodeEncodeError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize(
    ("error", "code", "message", "exit_code"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), "OB085", "No such file or directory", 1),
        (PermissionError(errno.EACCES, "Permission denied", "/a"), "OB085", "`/a`: Permission denied", 1),
        (OSError(errno.ENOSPC, "No space left on device", b"/a"), "OB085", "`/a`: No space left on device", 1),
        (OSError(errno.ENAMETOOLONG, "File name too long", "/a"), "OB085", "`/a`: File name too long", 2),
        (OSError("no number"), "OB085", "no number", 1),
        (ValueError("embedded null byte"), "OB085", "a path contains the character NUL", 2),
        (sqlite3.OperationalError("disk I/O error"), "OB085", "the database of the store: disk I/O error", 1),
        (sqlite3.DatabaseError("malformed"), "OB085", "the database of the store: malformed", 1),
        (_encoding_error(), "OB086", r"`caf\xe9\x1b` is not UTF-8", 2),
        (RecursionError("x"), "OB087", "something in the input is nested too deeply", 2),
        (MemoryError(), "OB088", "memory ran out", 1),
        (ImportError("x.so: cannot allocate memory in static TLS block"), "OB088", "memory ran out", 1),
        (
            RuntimeError("can't start new thread"),
            "OB088",
            "the system allows no more threads, or has no memory for one",
            1,
        ),
    ],
)
def test_what_the_input_or_the_system_caused_is_a_diagnostic(
    error: Exception, code: str, message: str, exit_code: int
) -> None:
    known = as_diagnostics(error)
    assert known is not None
    (one,) = known.diagnostics
    assert (one.code, one.message, known.exit_code) == (code, message, exit_code)


@pytest.mark.parametrize(
    "error",
    [KeyError("x"), ValueError("x"), TypeError("x"), AssertionError("BUG: x"), sqlite3.ProgrammingError("x"),
     RuntimeError("x"), ImportError("x")],
)  # fmt: skip
def test_a_bug_of_ours_is_none(error: Exception) -> None:
    assert as_diagnostics(error) is None


_FEW_THREADS = """
import sys, threading
left, begin = int(sys.argv.pop(1)), threading.Thread.start
def start(self):
    global left
    if left <= 0:
        raise RuntimeError("can't start new thread")
    left -= 1
    begin(self)
threading.Thread.start = start
from onnxbuild.cli import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize("threads", range(7))
def test_a_run_that_gets_few_threads_ends_with_a_message_and_leaves_nothing(world: World, threads: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _FEW_THREADS, str(threads), "run", "manifest.yaml", "-j", "2"],
        cwd=world.root, env=world.environment, text=True, capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert ended.returncode in ({1} if threads < 3 else {0, 1}), ended
    said = ended.stdout + ended.stderr
    assert not [word for word in ("BUG", "Traceback", "internal error", "cannot join") if word in said], said
    assert ended.returncode == 0 or "the system allows no more threads" in said
    assert world.wait_for_silence() == []
    assert world.run().code == 0


_NO_MEMORY = """
import sys
from onnxbuild import cli
def broken(options):
    class Refuses:
        def find_spec(self, name, path=None, target=None):
            raise MemoryError
    sys.meta_path.insert(0, Refuses())
    raise KeyError("a bug that cannot be explained")
cli._COMMANDS["doctor"] = broken
cli.main(["doctor"])
"""


def test_an_error_that_cannot_be_explained_for_lack_of_memory_has_a_message() -> None:
    ended = subprocess.run([sys.executable, "-c", _NO_MEMORY], text=True, capture_output=True, check=False, timeout=60)
    assert (ended.returncode, ended.stderr) == (1, "OB088 memory ran out (KeyError)\n")


# -- the world around a command ---------------------------------------------------------------------------------------


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path / "world")
    made.manifest({"t": [{"text": "1"}]})
    return made


READING = ("plan", "lint", "status", "graph", "run")


@pytest.mark.parametrize("verb", READING)
def test_a_folder_that_is_gone_is_no_bug(world: World, verb: str) -> None:
    code = f"import os, shutil; shutil.rmtree(os.getcwd()); os.execv({sys.executable!r}, {[sys.executable, '-m', 'onnxbuild', verb, 'manifest.yaml']!r})"  # noqa: E501
    folder = world.root / "gone"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=world.environment, text=True, capture_output=True, check=False,
        timeout=60,
    )  # fmt: skip
    assert done.returncode in {1, 2}, done
    assert "OB0" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", READING)
@pytest.mark.parametrize("name", [b"caf\xe9.yaml", b"caf\xe9/m.yaml"])
def test_a_manifest_whose_path_is_not_utf_8_ends_with_a_message(world: World, verb: str, name: bytes) -> None:
    path = Path(os.fsdecode(os.path.join(os.fsencode(world.root), name)))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes((world.root / "manifest.yaml").read_bytes())
    (path.parent / "model").mkdir(exist_ok=True)
    for file in (world.root / "model").iterdir():
        (path.parent / "model" / file.name).write_bytes(file.read_bytes())
    done = world.run(verb=verb, name=os.fsdecode(name))
    assert done.code in {0, 1, 2}, done
    assert done.code == 0 or "is not UTF-8" in done.err + done.out
    assert "Traceback" not in done.err


def test_a_model_file_whose_name_is_not_utf_8_ends_with_a_message(world: World) -> None:
    Path(os.fsdecode(os.path.join(os.fsencode(world.root), b"model/caf\xe9\x1b[2J"))).write_text("x")
    for verb in READING:
        done = world.run(verb=verb)
        assert done.code in {0, 1, 2}, done
        assert "Traceback" not in done.err
        assert "\x1b" not in done.err + done.out


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_every_encoding_of_the_terminal_works(world: World, encoding: str) -> None:
    world.environment |= {"PYTHONIOENCODING": encoding, "LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0"}
    done = world.run("--json")
    assert done.code == 0, done
    assert world.run("-D", "naïve→=名").code == 2


# -- signals ----------------------------------------------------------------------------------------------------------

HEEDING: dict[str, Any] = {"preexec_fn": _heed_hangups}
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
_STUCK = """
import sys, time
import onnxbuild.commands.{module} as command
def stuck(*_, **__):
    print("here", flush=True)
    time.sleep(60)
command.{function} = stuck
from onnxbuild.cli import main
main()
"""


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize(
    ("module", "function", "arguments"),
    [
        ("plan", "session", ["plan", "manifest.yaml"]),
        ("lint", "lint", ["lint", "manifest.yaml"]),
        ("building.build", "session", ["run", "manifest.yaml"]),
        ("building.build", "leave_receipt", ["run", "manifest.yaml"]),
        ("schema", "schema_text", ["schema"]),
    ],
)
def test_a_signal_at_any_moment_is_130(
    world: World, module: str, function: str, arguments: list[str], number: int
) -> None:
    code = _STUCK.format(module=module, function=function)
    if function == "leave_receipt":
        code = code.replace("from onnxbuild.cli", "command._PHASES = (stuck,)\nfrom onnxbuild.cli")
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=world.root, env=world.environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **HEEDING,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "interrupted"
    assert world.wait_for_silence() == []


_KILL = "os.kill(os.getpid(), {number})"
_MOMENTS = {
    # Python 3.11 makes a RuntimeError of what is raised here.
    "a class is made in an import": """
open("slow.py", "w").write("import os\\nclass A:\\n def __set_name__(*_): {kill}\\nclass B:\\n a = A()\\n")
sys.path.insert(0, os.getcwd())
command.session = lambda *_, **__: __import__("slow")
""",
    # What is raised here is printed as a traceback and lost.
    "an import ends": """
class Lock:
    def __del__(self): {kill}
def loses():
    lock = Lock()
exec(compile("def lose(f): f()", "<frozen importlib._bootstrap>", "exec"))
command.session = lambda *_, **__: lose(loses)
""",
    "the output is written": """
cli._without_lost_output = lambda code, _: {kill} or code
""",
}


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("moment", _MOMENTS)
def test_a_signal_where_an_exception_would_be_lost_is_130(world: World, moment: str, number: int) -> None:
    done = _with_changes(world, _MOMENTS[moment].format(kill=_KILL.format(number=number)))
    assert done.code == 130, done
    assert "Traceback" not in done.err


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_after_the_end_of_a_command_does_not_change_its_exit_code(world: World, number: int) -> None:
    done = _with_changes(world, f"import atexit\natexit.register(os.kill, os.getpid(), {number})")
    assert (done.code, "would run" in done.out) == (0, True), done


_FINDER = """
import os, runpy, signal, sys
hasattr(signal, "SIGHUP") and signal.signal(signal.SIGHUP, signal.SIG_DFL)
class Finder:
    def find_spec(self, name, *_):
        if name == "onnxbuild.cli":
            os.kill(os.getpid(), {number})
sys.meta_path.insert(0, Finder())
runpy.run_module("onnxbuild", run_name="__main__")
"""


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_before_the_command_line_is_imported_is_130(world: World, number: int) -> None:
    done = world.run_arguments([sys.executable, "-c", _FINDER.format(number=int(number)), "help"])
    assert (done.code, done.out, done.err) == (130, "", "")


def _with_changes(world: World, changes: str) -> Ended:
    """Plan, after some code has changed the command."""
    imports = "import os, signal, sys\nimport onnxbuild.commands.plan as command\nfrom onnxbuild import cli\n"
    # A test run under `nohup` ignores SIGHUP.
    heed = "hasattr(signal, 'SIGHUP') and signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
    return world.run_arguments([sys.executable, "-c", f"{imports}{heed}{changes}\ncli.main()", "plan", "manifest.yaml"])


def test_a_hangup_that_is_ignored_stays_ignored(world: World) -> None:
    world.manifest({"t": [{"do": "hang", "seconds": 1.0}]})
    process = world.start("--json", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert process.stdout is not None
    while '"started"' not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_leaves_the_cursor_visible(world: World, number: int) -> None:
    import pty

    world.manifest({"t": [{"do": "hang", "seconds": 60.0}]})
    world.environment |= {"TERM": "xterm-256color", "CI": ""}
    master, slave = pty.openpty()
    process = subprocess.Popen(
        world.command(), cwd=world.root, env=world.environment, stdin=subprocess.DEVNULL, stdout=slave, stderr=slave,
        start_new_session=True, **HEEDING,
    )  # fmt: skip
    os.close(slave)
    shown = b""
    while b"\x1b[?25l" not in shown or b"1 running" not in shown:
        shown += os.read(master, 4096)
    process.send_signal(number)
    for part in _rest(master):
        shown += part
    os.close(master)
    assert process.wait(timeout=30) == 130
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l")
    assert b"Traceback" not in shown


def _rest(descriptor: int) -> Iterator[bytes]:
    try:
        while part := os.read(descriptor, 4096):
            yield part
    except OSError:  # the other side of the terminal is closed
        return


# -- the command line -------------------------------------------------------------------------------------------------

_NUMBERS = (
    "inf",
    "-inf",
    "nan",
    "1e999",
    "-1",
    "0",
    "9" * 30,
    "9" * 5000,
    "1e308",
    "٣",
    "0x10",
    "infGB",
    "nanGB",
    "-5GB",
)
_PATHS = (
    "m.yaml", "", ".", "..", "missing.yaml", "model", "/proc/version", "/dev/null", "/dev/full", "x" * 300, "y/" * 3000,
    os.fsdecode(b"caf\xe9"), os.fsdecode(b"caf\xe9.yaml"), "a\x1b[2Jb", "m.yaml/x", "link", "loop", "~", "bad.yaml",
)  # fmt: skip
_NAMES = ("m", "m/t", "m:fetch", ":fetch", "m+", "+", "*", "[", "[!", "OB001", "obe9", "a=b", "a=", "=", "a", "nosuch://x",
          "://", "file://", "memory://x?y=z#w", "fetch", "json", "svg", "stats", "bash")  # fmt: skip
_JUNK = st.text(st.characters(codec=None, exclude_characters="\x00/"), max_size=12)


def _options(command: str) -> list[str]:
    found = subcommand(parser(command), command)
    return sorted({name for action in found._actions for name in action.option_strings})


@st.composite
def _lines(draw: st.DrawFn) -> list[str]:
    """A command with any options and words; `run` only plans, and nothing is asked of a server."""
    command = draw(st.sampled_from([name for name in COMMANDS if name not in {"doctor", "lock"}]))
    word = st.one_of(
        st.just("m.yaml"), st.sampled_from(_options(command)), st.sampled_from(_PATHS), st.sampled_from(_NAMES),
        st.sampled_from(_NUMBERS), _JUNK,
    )  # fmt: skip
    words = draw(st.lists(word, max_size=6))
    return [command, *(["-n"] if command == "run" else []), *words]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("argv") / "a" / "b" / "c"
    (made / "model").mkdir(parents=True)
    (made / "m.yaml").write_text(MANIFEST)
    (made / "bad.yaml").write_bytes(b"\xff\xfe\x00 {{{")
    (made / "model" / "model.onnx").write_bytes(b"x" * 2000)
    (made / "model" / "config.json").write_text("{}")
    (made / "link").symlink_to("m.yaml")
    (made / "loop").symlink_to("loop")
    return made


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(_lines())
@example(["run", "-n", "m.yaml", "--timeout", "inf"])
@example(["run", "-n", "m.yaml", "--jobs", "9" * 5000])
@example(["gc", "m.yaml", "--budget", "infGB"])
@example(["gc", "m.yaml", "--keep-days", "1e308"])
@example(["graph", "m.yaml", "--output", "y/" * 3000 + "g.svg"])
@example(["plan", os.fsdecode(b"caf\xe9")])
@example(["status", ""])
@example(["explain", "m", "-m", ""])
@example(["explain", os.fsdecode(b"caf\xe9"), "-m", "m.yaml"])
@example(["plan", "m.yaml", "--store", os.fsdecode(b"caf\xe9")])
@example(["plan", "m.yaml", "-D", os.fsdecode(b"a=caf\xe9")])
@example(["plan", "m.yaml", "--store", "loop"])
def test_no_command_line_is_our_fault(folder: Path, line: list[str]) -> None:
    code, printed = ended_in(folder, line)
    assert code in {0, 1, 2}, printed
    assert "internal error" not in printed
    assert "Traceback" not in printed
    assert not {*printed} & {"\x1b", "\x9b", "\r"}


def test_the_module_can_be_started(world: World) -> None:
    done = subprocess.run([sys.executable, "-m", "onnxbuild", "--version"], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0
