"""The command line: arguments become one call into `commands/`, and every error an exit code.

Nothing but argparse is imported before a command is known: a run with nothing to do spends its time on imports.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

# 0 done, 1 an action or a check failed, 2 the manifest or the command line is wrong, 3 our fault, 130 interrupted.
_OUR_FAULT, _WRONG, _INTERRUPTED = 3, 2, 130

COMMANDS = ("run", "plan", "lint", "explain", "graph", "schema", "lock", "gc", "cache", "doctor")

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit with its code; never a traceback on the terminal."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal in ASCII shows `?` for `→`, rather than an error
    code = run_command(sys.argv[1:] if arguments is None else arguments)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def run_command(arguments: Sequence[str]) -> int:
    """Parse and run; the exit code."""
    options = parse(arguments)
    try:
        return _checked(options)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        return 0
    except Exception as error:  # noqa: BLE001 - a bug of ours: a log to attach, and exit code 3
        return _bug(error)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of a command line; one that is wrong exits with code 2.

    argparse takes no positional argument after an option that follows others: selectors that stand there are
    found among what it did not know.
    """
    top = parser()
    options, rest = top.parse_known_args(arguments)
    if (rest and not hasattr(options, "selectors")) or any(text.startswith("-") for text in rest):
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.selectors = [*options.selectors, *rest]
    return options


def _checked(options: argparse.Namespace) -> int:
    try:
        code: int = options.command(options)
    except Exception as error:
        # Imported only now: in the usual case there is no error, and the receipt of a run needs no msgspec.
        from onnxbuild.diagnostics import DiagnosticError

        if not isinstance(error, DiagnosticError):
            raise
        from onnxbuild.report.render_diagnostics import show

        show(error.diagnostics, sys.stderr)
        return error.exit_code
    return code


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

    return run(vars(options))


def _plan(options: argparse.Namespace) -> int:
    from onnxbuild.commands.build import asked_for, show_plan

    return show_plan(asked_for(vars(options)), as_json=options.json)


def _lint(options: argparse.Namespace) -> int:
    from onnxbuild.commands.lint import run_lint

    return run_lint(options.manifests, format=options.format, strict=options.strict, defines=_defines(options))


def _explain(options: argparse.Namespace) -> int:
    from onnxbuild.commands.build import asked_for
    from onnxbuild.commands.explain import explain, is_code, manifest_in_reach

    values = vars(options)
    values["manifest"] = options.manifest or ("" if is_code(options.subject) else manifest_in_reach())
    return explain(options.subject, asked_for(values))


def _graph(options: argparse.Namespace) -> int:
    from onnxbuild.commands.build import asked_for
    from onnxbuild.commands.graph import show_graph

    return show_graph(asked_for(vars(options)), options.format, output=options.output)


def _schema(options: argparse.Namespace) -> int:
    del options
    from onnxbuild.commands.schema import run_schema

    return run_schema()


def _lock(options: argparse.Namespace) -> int:
    from onnxbuild.commands.lock import run_lock

    return run_lock(options.manifest, upgrade=options.upgrade, defines=_defines(options))


def _gc(options: argparse.Namespace) -> int:
    from onnxbuild.commands.build import asked_for
    from onnxbuild.commands.gc import gc
    from onnxbuild.store.collect import Limits

    age = None if options.keep_days is None else options.keep_days * 86_400.0
    limits = Limits(age_seconds=age, budget_bytes=options.budget)
    return gc(asked_for(vars(options)), limits, dry_run=options.dry_run)


def _cache(options: argparse.Namespace) -> int:
    from onnxbuild.commands.build import asked_for
    from onnxbuild.commands.cache import cache

    return cache(options.what, asked_for(vars(options)), as_json=options.json)


def _doctor(options: argparse.Namespace) -> int:
    from pathlib import Path

    from onnxbuild.commands.doctor import as_json, as_text, doctor

    report = doctor(Path(options.store or os.environ.get("ONNXBUILD_STORE") or ".onnxbuild/store"))
    print(as_json(report) if options.format == "json" else as_text(report))
    return report.exit_code


def _defines(options: argparse.Namespace) -> Any:
    return dict(options.define)


# -- their arguments --------------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line, and where help is."""
        if unknown := re.match(r"argument COMMAND: invalid choice: '([^']*)'", message):
            from onnxbuild.diagnostics import did_you_mean

            near = did_you_mean(unknown[1], COMMANDS)
            self.exit(
                _WRONG, f"{self.prog}: unknown command `{unknown[1]}`\n  = hint: {near or f'{self.prog} --help'}\n"
            )
        self.exit(_WRONG, f"{self.prog}: {message}\n  = hint: {self.prog} --help\n")


def parser() -> argparse.ArgumentParser:
    """The argument parser of every command."""
    top = _Parser(prog="onnxbuild", description="Builds what a YAML manifest names: ONNX models, checked and measured.")
    top.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = top.add_subparsers(dest="name", metavar="COMMAND", required=True, parser_class=_Parser)
    _add_run(commands)
    plan = _add(commands, "plan", _plan, "the actions, what would run, and why")
    _about_manifest(plan, selectors=True)
    plan.add_argument("--json", action="store_true", help="one JSON object a line")
    _add_lint(commands)
    _add_explain(commands)
    graph = _add(commands, "graph", _graph, "the actions as a drawing")
    _about_manifest(graph, selectors=True)
    graph.add_argument("--format", choices=("mermaid", "dot", "json", "svg"), default="mermaid")
    graph.add_argument("--output", metavar="FILE", help="write the drawing there instead of to standard output")
    _add(commands, "schema", _schema, "the JSON Schema of the manifest")
    lock = _add(commands, "lock", _lock, "resolve and pin what comes from a Hub")
    _about_manifest(lock, selectors=False)
    lock.add_argument(
        "--upgrade", nargs="*", metavar="NAME", help="pin anew, all sources or those of the models and datasets named"
    )
    _add_gc(commands)
    _add_cache(commands)
    doctor = _add(commands, "doctor", _doctor, "what this machine can do")
    doctor.add_argument("--format", choices=("text", "json"), default="text")
    doctor.add_argument("--store", metavar="DIR", help="the store whose free space is shown")
    return top


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_ignored: object) -> None:
        """Print the version."""
        from onnxbuild import __version__

        parser.exit(0, f"onnxbuild {__version__}\n")


def _add(commands: Any, name: str, command: Command, words: str) -> argparse.ArgumentParser:
    added: argparse.ArgumentParser = commands.add_parser(
        name, help=words, description=f"{words[0].upper()}{words[1:]}."
    )
    added.set_defaults(command=command)
    return added


def _about_manifest(to: argparse.ArgumentParser, *, selectors: bool) -> None:
    to.add_argument("manifest", metavar="MANIFEST", help="the YAML file")
    if selectors:
        to.add_argument(
            "selectors", nargs="*", metavar="SELECTOR", help="model, model/target, model/target:kind, :kind, x+, globs"
        )
    _common(to)


def _common(to: argparse.ArgumentParser) -> None:
    to.add_argument(
        "-D", dest="define", action="append", type=_define, default=[], metavar="NAME=VALUE", help="set ${vars.NAME}"
    )
    to.add_argument("--store", metavar="DIR", help="where results are kept (also ONNXBUILD_STORE)")
    to.add_argument("--remote", metavar="URL", help="store shared with other machines (also ONNXBUILD_REMOTE)")
    to.add_argument("--remote-readonly", action="store_true", help="take from the remote store, write nothing to it")
    to.add_argument("--offline", action="store_true", help="ask no network for anything")


def _add_run(commands: Any) -> None:
    run = _add(commands, "run", _run, "build what is not up to date")
    _about_manifest(run, selectors=True)
    run.add_argument("-n", "--dry-run", action="store_true", help="only say what would run and why")
    run.add_argument("-j", "--jobs", type=_positive, metavar="N", help="actions at once (default: cores, at most 4)")
    run.add_argument(
        "-k", "--keep-going", action="store_true", help="build all that does not need what failed (the default)"
    )
    run.add_argument("--fail-fast", action="store_true", help="begin nothing more after the first failure")
    run.add_argument("--force", action="store_true", help="run every selected action whatever is stored")
    run.add_argument("--json", action="store_true", help="events as one JSON object a line")
    run.add_argument("--out", metavar="DIR", help="where finished models are laid out (default: out/ by the manifest)")
    run.add_argument("--timeout", type=_seconds, metavar="SECONDS", help="stop any action that takes longer")
    run.add_argument("--profile", metavar="FILE", help="write where the time went, as a Chrome trace")
    run.add_argument("--executor", choices=("local",), default="local", help="where actions run")


def _add_lint(commands: Any) -> None:
    lint = _add(commands, "lint", _lint, "every fault of a manifest at once")
    lint.add_argument("manifests", nargs="+", metavar="MANIFEST")
    lint.add_argument("--format", choices=("text", "json", "sarif", "github"), default="text")
    lint.add_argument("--strict", action="store_true", help="a warning fails too")
    _common(lint)


def _add_explain(commands: Any) -> None:
    explain = _add(commands, "explain", _explain, "why an action was built or a hit; what a code means")
    explain.add_argument("subject", metavar="ID|CODE", help="an action such as minilm/int8:quantize, or a code")
    explain.add_argument(
        "-m", "--manifest", metavar="MANIFEST", help="the action's manifest (default: the last one run)"
    )
    _common(explain)


def _add_gc(commands: Any) -> None:
    gc = _add(commands, "gc", _gc, "free what no manifest's latest results reach")
    _about_manifest(gc, selectors=False)
    gc.add_argument("-n", "--dry-run", action="store_true", help="only say what it would free")
    gc.add_argument("--keep-days", type=_days, metavar="DAYS", help="keep all results younger than this")
    gc.add_argument(
        "--budget", type=_size, metavar="SIZE", help="free the oldest until the store is this small, such as 20GB"
    )


def _add_cache(commands: Any) -> None:
    cache = _add(commands, "cache", _cache, "what the store holds; mend it; exchange it with the remote store")
    cache.add_argument("what", choices=("stats", "verify", "push", "pull"), help="what to do")
    _about_manifest(cache, selectors=True)
    cache.add_argument("--json", action="store_true", help="stats as one JSON object")


def _define(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, found `{text}`")
    return name, value


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1, found `{text}`")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise argparse.ArgumentTypeError(f"expected a number of seconds, found `{text}`")
    return seconds


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not days >= 0:
        raise argparse.ArgumentTypeError(f"expected a number of days, found `{text}`")
    return days


def _size(text: str) -> int:
    units = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "": 1}
    number = text.rstrip("BKMGTbkmgt")
    unit = text[len(number) :].upper()
    try:
        return int(float(number) * units[unit])
    except (KeyError, ValueError):
        raise argparse.ArgumentTypeError(f"expected a size such as 20GB, found `{text}`") from None
