"""The argument parsers: one per command, and the one that holds them all."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from onnxbuild.commands.parsing.arguments import COMMANDS

_WRONG = 2
_PROGRAM = "onnxbuild"
_DESCRIPTION = "Build, check and measure the ONNX models that a YAML manifest names."


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of a command line; exits with code 2 where it is wrong.

    argparse takes no positional argument after an option that follows others, so manifests and selectors that stand
    there are taken from the arguments that it did not recognize.
    """
    top = parser(arguments[0] if arguments and arguments[0] in COMMANDS else None)
    if not arguments:
        top.exit(_WRONG, top.format_help())
    options, rest = top.parse_known_args(arguments)
    rest = _without_manifest(options, rest)
    if options.name == "lock" and options.manifest is None:
        _take_manifest(options, top)
    several = next((name for name in ("selectors", "manifests") if hasattr(options, name)), None)
    if (rest and several is None) or any(text.startswith("-") for text in rest):
        subcommand(top, options.name).error(f"unrecognized arguments: {' '.join(rest)}")
    if rest and getattr(options, "manifest", "") is None:  # `cache push --remote URL MANIFEST`
        options.manifest = rest.pop(0)
    if rest:
        setattr(options, several or "", [*getattr(options, several or ""), *rest])
    return options


def _without_manifest(options: argparse.Namespace, rest: list[str]) -> list[str]:
    """What is left of the arguments once `explain m.yaml ID` or `explain ID m.yaml` has become `explain ID -m m.yaml`.

    Other commands take the manifest first, so people write it here, too.
    """
    if len(rest) != 1 or not hasattr(options, "subject") or options.manifest or rest[0].startswith("-"):
        return rest
    files = [one for one in (options.subject, rest[0]) if one.endswith((".yaml", ".yml")) or os.path.isfile(one)]
    if len(files) != 1:
        return rest
    options.manifest = files[0]
    options.subject = rest[0] if files[0] == options.subject else options.subject
    return []


def _take_manifest(options: argparse.Namespace, top: argparse.ArgumentParser) -> None:
    """`lock --upgrade NAME MANIFEST`: argparse takes every word after the option as a name."""
    names = options.upgrade or []
    files = [one for one in names if one.endswith((".yaml", ".yml")) or os.path.isfile(one)]
    if len(files) != 1:
        subcommand(top, "lock").error("the following arguments are required: MANIFEST")
    options.manifest = files[0]
    options.upgrade = [one for one in names if one != files[0]]


def parser(only: str | None = None) -> argparse.ArgumentParser:
    """The parser of every command, or of one alone: building all of them takes longer than a run with nothing to do."""
    top = _Parser(prog=_PROGRAM, description=_DESCRIPTION, epilog=f"example: {_PROGRAM} run MANIFEST")
    top.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = top.add_subparsers(dest="name", metavar="COMMAND", required=True, prog=_PROGRAM, parser_class=_Parser)
    for name in [only] if only else COMMANDS:
        command = COMMANDS[name]
        added = commands.add_parser(
            name,
            help=command.summary,
            description=f"{command.summary[0].upper()}{command.summary[1:]}.",
            epilog=f"example: {_PROGRAM} {command.example}",
        )
        command.add_arguments(added)
    return top


class _Formatter(argparse.HelpFormatter):
    """argparse makes a formatter per argument, and imports `shutil` for its width: 3 ms that only help needs."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)


def _columns() -> int:
    """The width of the terminal, or what COLUMNS says, or 80."""
    if (columns := os.environ.get("COLUMNS", "")).isdecimal() and int(columns):
        return int(columns)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except (AttributeError, ValueError, OSError):
        return 80


# What people take for commands: steps of a manifest, which `run` selects, and what other build tools call `run`.
_MEANT = {
    "publish": f"`{_PROGRAM} run MANIFEST --publish` uploads the packages",
    "package": f"`{_PROGRAM} run MANIFEST ':package-*'` makes the packages",
    "compile": f"`{_PROGRAM} run MANIFEST ':compile-*'` compiles the targets",
    **{
        step: f"`{_PROGRAM} run MANIFEST :{step}` runs these steps of a manifest"
        for step in ("fetch", "export", "optimize", "quantize", "validate", "benchmark", "generate", "tune")
    },
    **dict.fromkeys(("build", "make"), f"`{_PROGRAM} run MANIFEST` builds what is not up to date"),
}


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options: Any) -> None:
        # An abbreviation would be taken for an option that a typo may not have meant: `--forc` for `--force`.
        super().__init__(formatter_class=_Formatter, allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Exit with one line that names the fault, and one that says where help is."""
        if unknown := re.match(r"argument COMMAND: invalid choice: '([^']*)'", message):
            from onnxbuild.diagnostics import did_you_mean

            hint = _MEANT.get(unknown[1]) or did_you_mean(unknown[1], COMMANDS) or f"{self.prog} --help"
            self.exit(_WRONG, f"{self.prog}: unknown command `{unknown[1]}`\n  = hint: {hint}\n")
        # argparse names SELECTOR among the missing arguments, although it may be absent.
        hint = _near_option(message, self) or _near_choice(message, self) or f"{self.prog} --help"
        lines = [f"{self.prog}: {message.removesuffix(', SELECTOR')}", f"  = hint: {hint}"]
        if "required" in message:
            lines[1:1] = [self.format_usage().rstrip(), self.epilog or ""]
        self.exit(_WRONG, "\n".join(lines) + "\n")


def _near_option(message: str, of: argparse.ArgumentParser) -> str | None:
    """The option that an unknown one was probably meant as, be it one of another command."""
    from onnxbuild.diagnostics import nearest

    unknown = re.match(r"unrecognized arguments: .*?(?<!\S)(--?[^\s=]+)", message)
    if unknown is None:
        return None
    everything = parser()
    commands = {name: list(subcommand(everything, name)._option_string_actions) for name in COMMANDS}  # noqa: SLF001 - argparse has no public way
    known = [option for options in commands.values() for option in options if option.startswith("--")]
    near = nearest(unknown[1], dict.fromkeys(known)) if unknown[1].startswith("--") else None
    owners = [f"`{_PROGRAM} {name}`" for name, options in commands.items() if near in options]
    if near is None or near in of._option_string_actions:  # noqa: SLF001
        return None if near is None else f"did you mean `{near}`?"
    return f"`{near}` is an option of {', '.join(owners)}"


def _near_choice(message: str, of: argparse.ArgumentParser) -> str | None:
    """The choice that a wrong one was probably meant as."""
    from onnxbuild.diagnostics import did_you_mean

    wrong = re.match(r"argument (\S+): invalid choice: '([^']*)'", message)
    if wrong is None:
        return None
    names = {name: one for one in of._actions for name in (one.dest, one.metavar, "/".join(one.option_strings))}  # noqa: SLF001
    found = names.get(wrong[1])
    return did_you_mean(wrong[2], map(str, found.choices)) if found is not None and found.choices else None


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_ignored: object) -> None:
        """Print the version."""
        from onnxbuild.version import __version__

        print(f"{_PROGRAM} {__version__}")  # `exit` would write to stderr
        parser.exit()


def subcommand(top: argparse.ArgumentParser, name: str) -> argparse.ArgumentParser:
    """The parser of one command."""
    groups = (action for action in top._actions if isinstance(action, argparse._SubParsersAction))  # noqa: SLF001 - argparse has no public way
    found: Any = next(groups).choices[name]
    command: argparse.ArgumentParser = found
    return command
