"""The command line: arguments become one call into `commands/`, and every error an exit code.

Nothing but argparse is imported before a command is known: a run with nothing to do spends its time on imports.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from onnxbuild.commands.parsing.options import asked_for, permissions_of, run_options
from onnxbuild.commands.parsing.parsers import parse, parser, subcommand

__all__ = ["main", "parser", "run_command"]

# 0 done, 1 an action or a check failed, 2 the manifest or the command line is wrong, 3 our fault, 130 interrupted.
_FAILED, _OUR_FAULT, _INTERRUPTED = 1, 3, 130
_STDERR = 2


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit with its code; no exception reaches the terminal as a traceback."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal in ASCII shows `?` for `→`, rather than an error
    code = run_command(sys.argv[1:] if arguments is None else arguments)
    sys.exit(code or _lost_output())


def _open_closed_streams() -> None:
    """Give a process that was started without stdout or stderr (`>&-`) the null device in their place.

    A closed stream is None in Python, and its descriptor would go to the next file that is opened: to the store's.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open to the end
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def _is_of_a_stream(error: Exception) -> bool:
    """Whether an error may come from what was printed: it names no file."""
    return isinstance(error, OSError) and error.filename is None


def _lost_output(probe: str = "") -> int:
    """1 where stdout takes nothing more, such as on a full disk; 0 where it does, or where its reader has gone."""
    try:
        sys.stdout.write(probe)
        sys.stdout.flush()
    except OSError as error:
        # Python would try again at exit, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            print(f"onnxbuild: cannot write to stdout: {error.strerror}", file=sys.stderr)
            return _FAILED
    return 0


def run_command(arguments: Sequence[str]) -> int:
    """Parse and run; return the exit code."""
    options = parse(arguments)
    try:
        return _checked(options)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        return 0
    except Exception as error:  # noqa: BLE001 - a bug of ours: a log to attach, and exit code 3
        return (_is_of_a_stream(error) and _lost_output("\n")) or _bug(error)


def _checked(options: argparse.Namespace) -> int:
    try:
        return _COMMANDS[options.name](options)
    except Exception as error:
        # Imported only now: in the usual case there is no error, and the receipt of a run needs no msgspec.
        from onnxbuild.diagnostics import DiagnosticError

        if not isinstance(error, DiagnosticError):
            raise
        from onnxbuild.commands.parsing.mistakes import with_advice
        from onnxbuild.report.render_diagnostics import show

        show(with_advice(error.diagnostics, options), sys.stderr)
        return error.exit_code


def _bug(error: Exception) -> int:
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="onnxbuild-", suffix=".log", delete=False) as log:
        log.write(f"command: {sys.argv}\n")
        traceback.print_exception(error, file=log)
    print(f"onnxbuild: internal error: {type(error).__name__}: {error}", file=sys.stderr)
    print(f"  = log: {log.name}\n  = hint: please report it with this log", file=sys.stderr)
    return _OUR_FAULT


# -- the commands -----------------------------------------------------------------------------------------------------


def _run(options: argparse.Namespace) -> int:
    from onnxbuild.commands.run import run

    return run(run_options(options))


def _plan(options: argparse.Namespace) -> int:
    from onnxbuild.commands.plan import show_plan

    return show_plan(asked_for(options), as_json=options.json)


def _status(options: argparse.Namespace) -> int:
    from onnxbuild.commands.parsing.last_run import follow_last_run
    from onnxbuild.commands.status import show_status

    follow_last_run(options)
    return show_status(asked_for(options), options.format)


def _lint(options: argparse.Namespace) -> int:
    from onnxbuild.commands.lint import run_lint

    return run_lint(
        options.manifests,
        format=options.format,
        strict=options.strict,
        defines=dict(options.define),
        permissions=permissions_of(options),
    )


def _explain(options: argparse.Namespace) -> int:
    from onnxbuild.commands.explain import explain, is_code

    if is_code(options.subject):
        options.manifest = ""
    else:
        from onnxbuild.commands.parsing.last_run import follow_last_run

        follow_last_run(options)
    return explain(options.subject, asked_for(options))


def _logs(options: argparse.Namespace) -> int:
    from onnxbuild.commands.logs import show_log
    from onnxbuild.commands.parsing.last_run import follow_last_run

    follow_last_run(options)
    return show_log(options.subject, asked_for(options))


def _graph(options: argparse.Namespace) -> int:
    from onnxbuild.commands.graph import format_for, show_graph

    try:
        format_ = format_for(options.format, options.output)
    except ValueError as error:
        subcommand(parser("graph"), "graph").error(str(error))
    return show_graph(asked_for(options), format_, output=options.output)


def _schema(options: argparse.Namespace) -> int:
    from onnxbuild.commands.schema import run_schema

    return run_schema(output=options.output)


def _lock(options: argparse.Namespace) -> int:
    from onnxbuild.commands.lock import run_lock

    return run_lock(
        options.manifest,
        upgrade=options.upgrade,
        defines=dict(options.define),
        permissions=permissions_of(options),
    )


def _gc(options: argparse.Namespace) -> int:
    from onnxbuild.commands.gc import gc
    from onnxbuild.store.collect import Limits

    age = None if options.keep_days is None else options.keep_days * 86_400.0
    limits = Limits(age_seconds=age, budget_bytes=options.budget)
    return gc(asked_for(options), limits, dry_run=options.dry_run)


def _cache(options: argparse.Namespace) -> int:
    if options.what == "keygen":
        from onnxbuild.commands.sharing.keygen import keygen

        return keygen(options.output)
    if options.manifest is None:
        subcommand(parser("cache"), "cache").error("the following arguments are required: MANIFEST")
    from onnxbuild.commands.cache import cache

    return cache(options.what, asked_for(options), as_json=options.json)


def _doctor(options: argparse.Namespace) -> int:
    from pathlib import Path

    from onnxbuild.commands.doctor import as_json, as_text, doctor

    report = doctor(Path(options.store or os.environ.get("ONNXBUILD_STORE") or ".onnxbuild/store"))
    print(as_json(report) if options.format == "json" else as_text(report))
    return report.exit_code


def _completion(options: argparse.Namespace) -> int:
    from onnxbuild.commands.completion import list_names, print_script

    if options.listed is not None:
        return list_names(options.listed, options.prefix)
    return print_script(parser(), options.shell)


def _help(options: argparse.Namespace) -> int:
    top = parser()
    (top if options.topic is None else subcommand(top, options.topic)).print_help()
    return 0


_COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "run": _run,
    "plan": _plan,
    "status": _status,
    "lint": _lint,
    "explain": _explain,
    "logs": _logs,
    "graph": _graph,
    "schema": _schema,
    "lock": _lock,
    "gc": _gc,
    "cache": _cache,
    "doctor": _doctor,
    "completion": _completion,
    "help": _help,
}
