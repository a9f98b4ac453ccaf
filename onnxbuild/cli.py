"""The command line: arguments become one call into `commands/`, and every error an exit code.

Nothing but argparse is imported before a command is known: a run with nothing to do spends its time on imports.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import NoReturn

try:
    import _signal as signal  # type: ignore[import-not-found]  # `signal` makes enums of it, in 0.5 ms
except ImportError:  # another Python than CPython
    import signal

from onnxbuild.commands.parsing.options import asked_for, permissions_of, run_options
from onnxbuild.commands.parsing.parsers import parse, parser, subcommand
from onnxbuild.report.outlet import Outlet, open_streams

__all__ = ["main", "parser", "run_command"]

# 0 done, 1 an action or a check failed, 2 the manifest or the command line is wrong, 3 our fault, 130 interrupted.
_FAILED, _OUR_FAULT, _INTERRUPTED = 1, 3, 130
# Where stdout is the only result: without it, the command has done nothing.
_PRINTS_A_DOCUMENT = frozenset({"graph", "schema", "completion", "provenance"})


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit with its code; no exception reaches the terminal as a traceback."""
    arguments = sys.argv[1:] if arguments is None else arguments
    # The interpreter restores the default handlers as it ends: a late signal would then change the earned exit code.
    atexit.register(_heed_signals, signal.SIG_IGN)
    _heed_signals(_interrupt)
    try:
        code = _ended(arguments)
        _heed_signals(_exit_at_once)
    except KeyboardInterrupt:
        code = _INTERRUPTED
    sys.exit(code)


def _ended(arguments: Sequence[str]) -> int:
    """Run a command and write out what it printed; return the exit code."""
    open_streams()
    try:
        code = run_command(arguments)
    except SystemExit as stop:  # of argparse
        code = stop.code if isinstance(stop.code, int) else 0
    return _without_lost_output(code, arguments)


# -- signals ----------------------------------------------------------------------------------------------------------


def _heed_signals(handler: Callable[[int, FrameType | None], object] | int) -> None:
    """Handle the signals that ask a program to end; one that was ignored from the start (`nohup`) stays ignored."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """Act as for Ctrl-C: a build handles signals itself while it runs, and everything else ends with code 130.

    No exception is raised inside an import, which may lose it, wrap it in another one, or crash (msgspec's classes).
    """
    if _is_importing(frame):
        _exit_at_once(number, frame)
    _heed_signals(_exit_at_once)
    raise KeyboardInterrupt


def _exit_at_once(_number: int, _frame: FrameType | None) -> NoReturn:
    with contextlib.suppress(OSError):
        os.write(2, b"interrupted\n")
    os._exit(_INTERRUPTED)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None


# -- streams ----------------------------------------------------------------------------------------------------------


def _without_lost_output(code: int, arguments: Sequence[str]) -> int:
    """The exit code of a command: 1 where the command succeeded and its result could not be written.

    A reader that goes away (`| head`) has read enough. A closed stream was closed on purpose, unless it is the result.
    A build has another result than what it prints.
    """
    out = sys.stdout
    out.flush()
    command = next(iter(arguments), "")
    if not isinstance(out, Outlet) or out.lost is None or out.reader_left:
        return code
    if out.closed_at_start and command not in _PRINTS_A_DOCUMENT:
        return code
    print(f"onnxbuild: cannot write to stdout: {out.lost}", file=sys.stderr)
    builds = command == "run" and not {"-n", "--dry-run", "-h", "--help"} & {*arguments}
    return code if builds else code or _FAILED


# -- errors -----------------------------------------------------------------------------------------------------------


def run_command(arguments: Sequence[str]) -> int:
    """Parse and run; return the exit code."""
    options = None
    try:
        options = parse(arguments)
        return _COMMANDS[options.name](options)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return _INTERRUPTED
    except Exception as error:  # noqa: BLE001 - what is no diagnostic is a bug of ours: a log to attach, and exit code 3
        try:
            return _explained(error, options)
        except (MemoryError, ImportError):  # what explains it needs memory, too
            sys.stderr.write(f"OB088 memory ran out ({type(error).__name__})\n")
            return _FAILED


def _explained(error: Exception, options: argparse.Namespace | None) -> int:
    """Print what went wrong; return the exit code."""
    # Imported only now: in the usual case there is no error, and the receipt of a run needs no msgspec.
    from onnxbuild.commands.parsing.mistakes import with_advice
    from onnxbuild.commands.parsing.refused import as_diagnostics
    from onnxbuild.report.render_diagnostics import show

    known = as_diagnostics(error)
    if known is None:
        return _bug(error)
    show(with_advice(known.diagnostics, options) if options else known.diagnostics, sys.stderr)
    return known.exit_code


def _bug(error: Exception) -> int:
    import tempfile
    import traceback

    from onnxbuild.secrets import redacted, shown_command

    text = f"command: {shown_command(sys.argv)}\n{''.join(traceback.format_exception(error))}"
    print(f"onnxbuild: internal error: {type(error).__name__}: {error}", file=sys.stderr)
    try:
        with tempfile.NamedTemporaryFile("wb", prefix="onnxbuild-", suffix=".log", delete=False) as log:
            log.write(redacted(text).encode(errors="backslashreplace"))
    except OSError:  # no folder can be written to
        print(redacted(text), file=sys.stderr)
    else:
        print(f"  = log: {log.name}\n  = hint: please report it with this log", file=sys.stderr)
    return _OUR_FAULT


# -- the commands -----------------------------------------------------------------------------------------------------


def _run(options: argparse.Namespace) -> int:
    from onnxbuild.commands.run import run

    unfit = next((name for name in ("against", "profile") if getattr(options, name)), None)
    if options.dry_run and unfit is not None:
        subcommand(parser("run"), "run").error(f"`--dry-run` runs nothing, so it takes no `--{unfit}`")
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

    options.manifest = ""  # `run_lint` completes it, once for each manifest
    return run_lint(
        options.manifests,
        format=options.format,
        strict=options.strict,
        defines=dict(options.define),
        permissions=permissions_of(options),
        asked=asked_for(options),
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
    from onnxbuild.commands.parsing.last_run import with_last_store

    try:
        format_ = format_for(options.format, options.output)
    except ValueError as error:
        subcommand(parser("graph"), "graph").error(str(error))
    return show_graph(with_last_store(asked_for(options)), format_, output=options.output)


def _report(options: argparse.Namespace) -> int:
    from onnxbuild.commands.parsing.last_run import with_last_store
    from onnxbuild.commands.reporting.report import ReportOptions, format_for, report

    if options.compare:
        return _compare(options)
    if not options.manifest:
        subcommand(parser("report"), "report").error("the following arguments are required: MANIFEST, or --compare A B")
    if options.format == "text":
        subcommand(parser("report"), "report").error("`--format text` is for `--compare`: `onnxbuild status` prints it")
    try:
        format_ = format_for(options.format, options.output)
    except ValueError as error:
        subcommand(parser("report"), "report").error(str(error))
    if options.show and format_ != "html":
        subcommand(parser("report"), "report").error("`--open` shows the page: it needs `--format html`")
    chosen = ReportOptions(format=format_, output=options.output, plots=options.plots, show=options.show)
    return report(with_last_store(asked_for(options)), chosen)


def _compare(options: argparse.Namespace) -> int:
    from onnxbuild.commands.reporting.compared_builds import compare_builds, comparison_format

    wrong = next((name for name in ("plots", "show") if getattr(options, name)), None)
    if wrong or options.format in {"html", "csv"}:
        unfit = {"plots": "--plots", "show": "--open"}.get(wrong or "", f"--format {options.format}")
        subcommand(parser("report"), "report").error(f"`--compare` is text, Markdown or JSON: it takes no `{unfit}`")
    try:
        format_ = comparison_format(options.format, options.output)
    except ValueError as error:
        subcommand(parser("report"), "report").error(str(error))
    first, second = options.compare
    return compare_builds(asked_for(options), (first, second), format_, options.output)


def _card(options: argparse.Namespace) -> int:
    from onnxbuild.commands.parsing.last_run import with_last_store
    from onnxbuild.commands.reporting.cards import CardOptions, write_cards

    return write_cards(with_last_store(asked_for(options)), CardOptions(output=options.output, plots=options.plots))


def _view(options: argparse.Namespace) -> int:
    from onnxbuild.commands.reporting.view import ViewOptions, view

    chosen = ViewOptions(out=options.out, graph=options.graph, port=options.port, browser=options.browser)
    return view(asked_for(options), chosen)


def _serve(options: argparse.Namespace) -> int:
    from onnxbuild.commands.serving.serve import serve
    from onnxbuild.commands.serving.server_options import server_options

    return serve(asked_for(options), options.out, server_options(options), options.api_keys)


def _verify(options: argparse.Namespace) -> int:
    from onnxbuild.commands.proving.verify import VerifyOptions, verify

    if options.source and not options.revalidate:
        subcommand(parser("verify"), "verify").error("`--source` is for `--revalidate`")
    chosen = VerifyOptions(
        folders=tuple(options.folders),
        trust=tuple(options.trust),
        require_signature=options.require_signature,
        allow=tuple(options.allow),
        revalidate=options.revalidate,
        places=tuple(options.source),
        offline=options.offline,
        as_json=options.json,
    )
    return verify(chosen)


def _sign(options: argparse.Namespace) -> int:
    from onnxbuild.commands.proving.sign import sign

    return sign(options.folders, options.key, options.allow)


def _provenance(options: argparse.Namespace) -> int:
    from onnxbuild.commands.proving.prove import ProofOptions, prove

    if options.builder is not None and options.format != "slsa":
        subcommand(parser("provenance"), "provenance").error("`--builder` is for `--format slsa`")
    chosen = ProofOptions(
        folder=options.folder,
        format=options.format,
        output=options.output,
        builder=options.builder,
        allow=tuple(options.allow),
    )
    return prove(chosen)


def _convert_js(options: argparse.Namespace) -> int:
    from onnxbuild.commands.converting.convert_js import Conversion, convert_js

    options.manifest = None
    conversion = Conversion(
        model=options.model,
        dtypes=options.dtypes,
        clients=options.clients,
        output=options.output,
        task=options.task,
        halves=options.halves,
        word_timestamps=options.word_timestamps,
        dry_run=options.dry_run,
        jobs=options.jobs,
    )
    return convert_js(conversion, asked_for(options))


def _compare_exporters(options: argparse.Namespace) -> int:
    from onnxbuild.commands.comparing.compare_exporters import compare_exporters

    if len(options.selectors) > 1:
        message = f"one model at a time: {', '.join(options.selectors)}"
        subcommand(parser("compare-exporters"), "compare-exporters").error(message)
    return compare_exporters(asked_for(options), out=options.out, as_json_text=options.json, jobs=options.jobs)


def _blame(options: argparse.Namespace) -> int:
    from onnxbuild.commands.blaming.blame import blame

    return blame(asked_for(options), as_json_text=options.json, jobs=options.jobs)


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
    if options.what in {"keygen", "public-key"}:
        return _keys(options)
    if options.manifest is None:
        subcommand(parser("cache"), "cache").error("the following arguments are required: MANIFEST")
    from onnxbuild.commands.cache import cache

    return cache(options.what, asked_for(options), as_json=options.json)


def _keys(options: argparse.Namespace) -> int:
    from onnxbuild.commands.sharing.keygen import keygen, public_of

    files, wanted = [*filter(None, [options.manifest]), *options.selectors], int(options.what == "public-key")
    if len(files) < wanted:
        subcommand(parser("cache"), "cache").error("the following arguments are required: FILE")
    if len(files) > wanted:
        subcommand(parser("cache"), "cache").error(f"unrecognized arguments: {' '.join(files[wanted:])}")
    return public_of(files[0]) if wanted else keygen(options.output)


def _doctor(options: argparse.Namespace) -> int:
    from pathlib import Path

    from onnxbuild.commands.doctor import as_json, as_text, doctor
    from onnxbuild.report.terminal import width_of

    report = doctor(Path(options.store or os.environ.get("ONNXBUILD_STORE") or ".onnxbuild/store"))
    print(as_json(report) if options.format == "json" else as_text(report, width_of(sys.stdout)))
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
    "report": _report,
    "card": _card,
    "view": _view,
    "serve": _serve,
    "verify": _verify,
    "sign": _sign,
    "provenance": _provenance,
    "compare-exporters": _compare_exporters,
    "convert-js": _convert_js,
    "blame": _blame,
    "schema": _schema,
    "lock": _lock,
    "gc": _gc,
    "cache": _cache,
    "doctor": _doctor,
    "completion": _completion,
    "help": _help,
}
