# ruff: noqa: INP001 - a script
"""Fills the generated parts of the reference, between `<!-- begin NAME -->` and `<!-- end NAME -->`, from the code.

`python docs/generate.py` rewrites them, `--check` says which are stale; `tests/test_docs.py` runs the check.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

import msgspec

DOCS = Path(__file__).resolve().parent
PACKAGE = DOCS.parent / "onnxbuild"
sys.path.insert(0, str(DOCS.parent))

_MARKED = re.compile(r"(<!-- begin (\S+) -->\n)(.*?)(<!-- end \2 -->)", re.DOTALL)
_CODE = re.compile(r"OBE?\d{2,3}")
_ARGUMENT_OF_CODE = 2


def blocks() -> str:
    """The blocks of the manifest language."""
    from onnxbuild.manifest import language

    found = (getattr(language, name) for name in _classes_in_order(PACKAGE / "manifest" / "language.py"))
    return "\n".join(_struct(struct, title=f"### {struct.__name__}") for struct in found)


def steps() -> str:
    """The step kinds: params, artifacts, packages in the key."""
    from onnxbuild.steps import KINDS

    return "\n".join(_kind(kind) for kind in KINDS.values())


def codes() -> str:
    """Every code: its page, and the messages that the source gives it."""
    from onnxbuild.rules import ALL

    messages = _messages()
    return "\n".join(_code(code, ALL.get(code), messages.get(code, [])) for code in sorted({*ALL, *messages}))


def commands() -> str:
    """The commands with their arguments and options, as the parser has them."""
    from onnxbuild.cli import parser

    return "\n".join(_command(name, command) for name, command in subcommands(parser()).items())


def subcommands(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    """The parsers of the commands by name."""
    action = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))  # noqa: SLF001 - no public way
    choices: Mapping[str, argparse.ArgumentParser] = action.choices
    return choices


def families() -> str:
    """The table of families that the tests walk with optimum's exporter: how far each goes, and what loads it."""
    return _families("FAMILIES")


def families_5() -> str:
    """The table that they walk with the exporter of transformers 5."""
    return _families("FAMILIES_5")


def _families(table: str) -> str:
    sys.path.insert(0, str(DOCS.parent / "tests" / "workers"))
    import family_table

    rows = ["| family | task | optimize | quantize | loaded with | exported twice |", "|---|---|---|---|---|---|"]
    for family in getattr(family_table, table):
        methods = ", ".join(family.quantize) or "not tested"
        again = f"differs: {', '.join(family.varies)}" if family.varies else "the same bytes"
        twice = again if family.twice else "not tested"
        task = f"{family.task} (`library: {family.library}`)" if family.library != "auto" else family.task
        loader = family_table.LOADERS[family.loader]
        level = f"to {family.optimize}" if family.optimize else "not tested"
        kind = "reranker, " if family.loader == "rerank" else ""
        rows.append(f"| {family.architecture} | {kind}{task} | {level} | {methods} | {loader} | {twice} |")
    return "\n".join([*rows, ""])


GENERATORS: Mapping[str, Callable[[], str]] = {
    "families": families,
    "families-5": families_5,
    "blocks": blocks,
    "steps": steps,
    "codes": codes,
    "commands": commands,
}


def pages() -> Iterator[tuple[Path, str]]:
    """Each page with generated parts, and its text as it should be."""
    for path in sorted(DOCS.rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        if _MARKED.search(text):
            yield path, _MARKED.sub(lambda m: f"{m[1]}{GENERATORS[m[2]]()}{m[4]}", text)


def stale() -> list[str]:
    """Pages that differ from what the code says."""
    return [str(path.relative_to(DOCS)) for path, text in pages() if path.read_text(encoding="utf-8") != text]


def _kind(kind: Any) -> str:
    from onnxbuild.commands.doctor import declared_packages

    packages = ", ".join(f"`{name}`" for name in declared_packages(kind)) or "none"
    artifacts = [
        f"Takes {_ports(kind.inputs) or 'what is outside'}; gives {_ports(kind.outputs)}.",
        f"Versions in the key: {packages}." + (" The machine is in the key too." if kind.measures else ""),
    ]
    return _struct(kind.params, title=f"## {kind.name}", also=artifacts)


def _ports(ports: Mapping[str, str]) -> str:
    return ", ".join(f"`{port}` ({kind.replace('|', 'or')})" for port, kind in ports.items())


def _struct(struct: Any, *, title: str, also: list[str] | None = None) -> str:
    hints = get_type_hints(struct, include_extras=True)
    derived = getattr(struct, "DERIVED", ())
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for field in msgspec.structs.fields(struct):
        if field.name in derived or get_origin(hints[field.name]) is ClassVar:
            continue
        kind, meaning = _type(hints[field.name])
        rows.append(f"| `{field.encode_name}` | {_cell(kind)} | {_default(field)} | {_cell(meaning)} |")
    shown = rows if len(rows) > _ARGUMENT_OF_CODE else ["No keys."]
    text = " ".join((struct.__doc__ or "").split())
    return "\n".join([title, "", text, "", *(line for part in also or [] for line in (part, "")), *shown, ""])


def _type(hint: Any) -> tuple[str, str]:
    """A type in words, and its description where it has one."""
    if hasattr(hint, "__metadata__"):
        words, meaning = _type(hint.__origin__)
        said = next((m.description for m in hint.__metadata__ if getattr(m, "description", None)), None)
        return words, said or meaning
    arguments = [a for a in get_args(hint) if a is not type(None) and a is not ...]
    origin = get_origin(hint)
    if str(origin) == "typing.Literal":
        return " or ".join(f"`{a}`" for a in arguments), ""
    inner = [_type(a)[0] for a in arguments]
    names = {str: "text", int: "integer", float: "number", bool: "boolean", Any: "any", type(None): "nothing"}
    if origin is None:
        return names.get(hint, getattr(hint, "__name__", str(hint))), ""
    if origin in (list, tuple):
        return f"list of {inner[0]}", ""
    if "Mapping" in str(origin):
        return f"mapping to {inner[1]}", ""
    return " or ".join(inner), ""


def _default(field: Any) -> str:
    if field.required:
        return "required"
    value = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default
    if value in (None, "", (), {}, msgspec.UNSET) or value == []:
        return ""
    return f"`{msgspec.json.encode(value).decode()}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _classes_in_order(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    return list(reversed(names))


def _code(code: str, rule: Any, found: list[tuple[str, str]]) -> str:
    title = f"## {code}" + (f" {rule.name}" if rule else "")
    lines = [title, ""]
    if rule:
        lines += [f"{rule.summary} ({rule.severity})", ""]
        lines += [
            line for label, text in (("Why", rule.why), ("Fix", rule.fix)) if text for line in (f"{label}: {text}", "")
        ]
        for label, example in (("Bad", rule.bad), ("Good", rule.good)):
            lines += [f"{label}:", "", "```yaml", example.strip("\n"), "```", ""] if example else []
    told = list(dict.fromkeys(message for message, _ in found if message))
    lines += [*(f"- {_cell(message)}" for message in told), ""] if told else []
    return "\n".join(lines)


def _messages() -> Mapping[str, list[tuple[str, str]]]:
    """Code → (message, module) of every call that names the code."""
    found: dict[str, list[tuple[str, str]]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE).with_suffix("").as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                for code, message in _codes_of_call(node):
                    found.setdefault(code, []).append((message, place))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _CODE.fullmatch(node.value):
                found.setdefault(node.value, []).append(("", place))
    return found


def _codes_of_call(node: ast.Call) -> Iterator[tuple[str, str]]:
    named = {k.arg: k.value for k in node.keywords if k.arg}
    arguments = [named.get("code"), named.get("message")] if "code" in named else [*node.args]
    if isinstance(node.func, ast.Name) and node.func.id in {"described", "rule"}:
        return  # the page of a code, whose second argument is its name
    if isinstance(node.func, ast.Name) and node.func.id in {"Known", "Noticed"}:
        arguments = [node.args[0], node.args[2]]  # between them stands the pattern that is searched for
    for at, argument in enumerate(arguments):
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str) and _CODE.fullmatch(argument.value):
            following = arguments[at + 1 : at + 2] or [named.get("message")]
            yield argument.value, _text(following[0])


def _text(node: ast.expr | None) -> str:
    """A string of the source with its variable parts in angle brackets."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = (_text(v) if isinstance(v, ast.Constant) else f"<{_name(v)}>" for v in node.values)
        return "".join(parts)
    return ""


def _name(node: ast.expr) -> str:
    inner = node.value if isinstance(node, ast.FormattedValue) else node
    if isinstance(inner, ast.Attribute):
        return inner.attr
    return inner.id if isinstance(inner, ast.Name) else "…"


def _command(name: str, parser: argparse.ArgumentParser) -> str:
    rows = ["| argument | meaning |", "|---|---|"]
    for action in parser._actions:  # noqa: SLF001 - no public way to list them
        if action.help == argparse.SUPPRESS or "--help" in action.option_strings:
            continue
        value = action.metavar or (action.dest.upper() if action.nargs != 0 else "")
        words = ", ".join(action.option_strings) or str(action.metavar or action.dest.upper())
        shown = f"{words} {value}".strip() if action.option_strings and action.nargs != 0 else words
        choices = f" ({', '.join(map(str, action.choices))})" if action.choices else ""
        meaning = ((action.help or "") + choices).strip()
        rows.append(f"| `{_cell(shown)}` | {_cell(meaning)} |")
    shown_rows = rows if len(rows) > _ARGUMENT_OF_CODE else ["No arguments."]
    return "\n".join([f"## {name}", "", parser.description or "", "", *shown_rows, ""])


def main(arguments: list[str]) -> int:
    """Rewrite, or with `--check` say what is stale."""
    if "--check" in arguments:
        for name in (old := stale()):
            print(f"{name} is stale: run `make docs`")
        return 1 if old else 0
    for path, text in pages():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
