# ruff: noqa: INP001 - a script
"""Writes the generated parts of the reference, between `<!-- begin NAME -->` and `<!-- end NAME -->`, from the code.

`python docs/generate.py` rewrites them. With `--check` it names the stale pages; `tests/test_docs.py` runs the check.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

import msgspec

DOCS = Path(__file__).resolve().parent
PACKAGE = DOCS.parent / "onnxbuild"
sys.path.insert(0, str(DOCS.parent))

_MARKED = re.compile(r"(<!-- begin (\S+) -->\n)(.*?)(<!-- end \2 -->)", re.DOTALL)
_CODE = re.compile(r"OBE?\d{2,3}")
_HEAD_OF_TABLE = 2  # the rows of a table before its content


def blocks() -> str:
    """The blocks of the manifest language."""
    from onnxbuild.manifest import language

    names = _classes_from_the_last(PACKAGE / "manifest" / "language.py")
    return "\n".join(_struct(getattr(language, name), title=f"### {name}", rows=_step_rows(name)) for name in names)


def steps() -> str:
    """The step kinds with their params, their artifacts and the packages in their keys."""
    from onnxbuild.steps import KINDS

    return "\n".join(_kind(kind) for kind in KINDS.values() if not kind.package)


def packages() -> str:
    """The package kinds with their params, and what is in the keys of each and of its check."""
    from onnxbuild.steps import PACKAGES

    return "\n".join(_package(package) for package in PACKAGES)


def _package(package: Any) -> str:
    from onnxbuild.commands.doctor import declared_packages

    keys = {kind.name: ", ".join(f"`{name}`" for name in declared_packages(kind)) or "none" for kind in package.kinds}
    also = [f"Package versions in the key of `{name}`: {versions}." for name, versions in keys.items()]
    return _struct(package.params, title=f"## {package.name}", also=also)


def codes() -> str:
    """Every code with its page and the messages that the source gives it."""
    from onnxbuild.rules import ALL

    messages = _messages()
    return "\n".join(_code(code, ALL.get(code), messages.get(code, [])) for code in sorted({*ALL, *messages}))


def commands() -> str:
    """The commands with their arguments and options, read from the parser."""
    from onnxbuild.cli import parser

    return "\n".join(_command(name, command) for name, command in subcommands(parser()).items())


def subcommands(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    """The parsers of the commands by name."""
    action = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))  # noqa: SLF001 - no public way
    choices: Mapping[str, argparse.ArgumentParser] = action.choices
    return choices


def families() -> str:
    """The families that the tests build with optimum's exporter: how far each goes, and what loads it."""
    return _families("FAMILIES")


def families_5() -> str:
    """The families that the tests build with the exporter of transformers 5."""
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


def tasks() -> str:
    """The table of tasks, with the other names that a manifest may use."""
    from onnxbuild.tables.tasks import ALIASES, TASKS

    rows = ["| task | other names | input | family | bounds of |", "|---|---|---|---|---|"]
    for task in TASKS.values():
        others = ", ".join(f"`{alias}`" for alias, name in ALIASES.items() if name == task.name)
        modality = task.modality.replace("-", " ")
        rows.append(f"| `{task.name}` | {others} | {modality} | {task.family} | {task.thresholds} |")
    return "\n".join([*rows, ""])


def thresholds() -> str:
    """The default bounds: a row per group of tasks, a column per precision."""
    from onnxbuild.tables.thresholds import ACCURACY_DROP, THRESHOLDS

    head = ["| tasks |", *(f" {_PRECISIONS.get(name, name)} |" for name in ACCURACY_DROP)]
    rows = ["".join(head), "|---" * (len(ACCURACY_DROP) + 1) + "|"]
    for tasks_of_row, bounds in THRESHOLDS.items():
        rows.append(f"| {tasks_of_row} | {' | '.join(_bounds(bounds[name]) for name in ACCURACY_DROP)} |")
    with_labels = " | ".join(_bounds({"accuracy_drop": bound}) for bound in ACCURACY_DROP.values())
    return "\n".join([*rows, f"| a dataset with labels, also | {with_labels} |", ""])


def row_metrics() -> str:
    """Every metric over rows, with the package that computes it."""
    from onnxbuild.tables.bounds.row_metrics import ROW_METRICS

    rows = ["| metric | of the variant | worse is | computed by |", "|---|---|---|---|"]
    for name, metric in ROW_METRICS.items():
        worse = "smaller" if metric.side == "min" else "larger"
        beside = ", beside the reference's" if metric.both_sides else ""
        rows.append(f"| `{name}` | {metric.meaning.replace('|', chr(92) + '|')}{beside} | {worse} | {metric.library} |")
    return "\n".join([*rows, ""])


def row_bounds() -> str:
    """The default bounds over rows: a row per kind of model, a column per precision that has any."""
    from onnxbuild.tables.bounds.row_metrics import ROW_BOUNDS

    columns = list(dict.fromkeys(name for bounds in ROW_BOUNDS.values() for name in bounds))
    rows = ["| kind of model |" + "".join(f" {name} |" for name in columns), "|---" * (len(columns) + 1) + "|"]
    rows += [
        f"| {kind} | {' | '.join(_bounds(bounds.get(name, {})) for name in columns)} |"
        for kind, bounds in ROW_BOUNDS.items()
    ]
    return "\n".join([*rows, ""])


def own_rows() -> str:
    """How many rows come with onnxbuild, by kind and language."""
    from onnxbuild.workers.inputs.own_rows import counts

    languages = ("en", "de", "fr", "es", "zh")
    rows = ["| rows | English | German | French | Spanish | Chinese | all |", "|---|---:|---:|---:|---:|---:|---:|"]
    found = counts()
    for kind, by_language in found.items():
        numbers = [by_language[one] for one in languages]
        rows.append(f"| {kind} | {' | '.join(map(str, numbers))} | {sum(numbers)} |")
    totals = [sum(one[language] for one in found.values()) for language in languages]
    return "\n".join([*rows, f"| all | {' | '.join(map(str, totals))} | {sum(totals)} |", ""])


_PRECISIONS = {"fp32": "fp32 (also O1 to O3)", "q8": "8 bit", "q4": "4 bit", "bnb4": "NF4, FP4"}


def _bounds(bounds: Mapping[str, float]) -> str:
    return ", ".join(f"`{metric}` {bound:g}" for metric, bound in bounds.items())


GENERATORS: Mapping[str, Callable[[], str]] = {
    "families": families,
    "families-5": families_5,
    "tasks": tasks,
    "thresholds": thresholds,
    "row-metrics": row_metrics,
    "row-bounds": row_bounds,
    "own-rows": own_rows,
    "blocks": blocks,
    "steps": steps,
    "packages": packages,
    "codes": codes,
    "commands": commands,
}


def pages() -> Iterator[tuple[Path, str]]:
    """Each page with generated parts, and the text that it should have."""
    for path in sorted(DOCS.rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        if _MARKED.search(text):
            yield path, _MARKED.sub(lambda m: f"{m[1]}{GENERATORS[m[2]]()}{m[4]}", text)


def stale() -> list[str]:
    """The pages that differ from what would be generated."""
    return [str(path.relative_to(DOCS)) for path, text in pages() if path.read_text(encoding="utf-8") != text]


def _kind(kind: Any) -> str:
    from onnxbuild.commands.doctor import declared_packages

    packages = ", ".join(f"`{name}`" for name in declared_packages(kind)) or "none"
    artifacts = [
        f"Input: {_ports(kind.inputs) or 'a source outside of the store'}. Output: {_ports(kind.outputs)}.",
        f"Package versions in the key: {packages}." + (" The machine is in the key, too." if kind.measures else ""),
    ]
    if kind.backend:
        title = f"## {kind.name}"
        wanted = f"Written as `compile: {kind.backend}`, or `compile: {{backend: {kind.backend}, …}}`."
        needed = ", ".join(f"`{name}`" for name in kind.compiler(kind.params()))
        also = [wanted, *artifacts, f"Compiler, in the key too: {needed}."]
        return _struct(kind.params, title=title, about=f"{kind.summary}.", also=also)
    return _struct(kind.params, title=f"## {kind.name}", also=artifacts)


def _step_rows(block: str) -> list[str]:
    """A row per step kind whose block may be written in this block of the manifest."""
    from onnxbuild.manifest.json_schema import holders
    from onnxbuild.steps import KINDS

    rows = [
        f"| [`{kind.name}`](steps.md#{kind.name}) | step block | {'on' if kind.on_by_default else ''} |"
        f" {_first_sentence(kind.params)} |"
        for kind in KINDS.values()
        if block in holders(kind)
    ]
    meaning = "folders for clients of the model, made of its targets: a name, a list of names, or params by name"
    package = f"| [`package`](packages.md) | text or list of text or package blocks by name |  | {meaning} |"
    return [*rows, package] if block == "ModelBlock" else rows


def _first_sentence(struct: Any) -> str:
    sentence = " ".join((struct.__doc__ or "").split()).split(". ")[0].removesuffix(".")
    return _cell(sentence[:1].lower() + sentence[1:])


def _ports(ports: Mapping[str, str]) -> str:
    return ", ".join(f"`{port}` ({kind.replace('|', 'or')})" for port, kind in ports.items())


def _struct(struct: Any, *, title: str, about: str = "", also: Sequence[str] = (), rows: Sequence[str] = ()) -> str:
    """The section of a block or a step kind: `also` are paragraphs above its table, `rows` are added to the table.

    `about` is its first paragraph, by default the docstring of the struct.
    """
    hints = get_type_hints(struct, include_extras=True)
    derived = getattr(struct, "DERIVED", ())
    table = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for field in msgspec.structs.fields(struct):
        if field.name in derived or get_origin(hints[field.name]) is ClassVar:
            continue
        kind, meaning = _type(hints[field.name])
        table.append(f"| `{field.encode_name}` | {_cell(kind)} | {_default(field)} | {_cell(meaning)} |")
    table += rows
    shown = table if len(table) > _HEAD_OF_TABLE else ["No keys."]
    text = about or " ".join((struct.__doc__ or "").split())
    return "\n".join([title, "", text, "", *(line for part in also for line in (part, "")), *shown, ""])


def _type(hint: Any) -> tuple[str, str]:
    """A type in words, and its description; of nested descriptions the outermost."""
    if hasattr(hint, "__metadata__"):
        words, meaning = _type(hint.__origin__)
        descriptions = [text for mark in hint.__metadata__ if (text := getattr(mark, "description", None))]
        return words, next(iter(descriptions), meaning)
    arguments = [a for a in get_args(hint) if a not in (NoneType, msgspec.UnsetType, ...)]
    origin = get_origin(hint)
    if origin is None:
        return _WORDS.get(hint) or getattr(hint, "__name__", str(hint)), ""
    if origin is Literal:
        return " or ".join(f"`{a}`" for a in arguments), ""
    inner = [_type(a) for a in arguments]
    meaning = next((described for _, described in inner if described), "")
    if origin in (list, tuple):
        return f"list of {inner[0][0]}", meaning
    if origin in (Mapping, dict):
        return f"mapping to {inner[1][0]}", meaning
    return " or ".join(words for words, _ in inner), meaning


_WORDS = {str: "text", int: "integer", float: "number", bool: "boolean", Any: "any"}


def _default(field: Any) -> str:
    if field.required:
        return "required"
    value = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default
    if value in (None, "", (), {}, msgspec.UNSET) or value == []:
        return ""
    return f"`{msgspec.json.encode(value).decode()}`"


def _cell(text: str) -> str:
    """A text on one line of Markdown. Code shows entities as they are written, so only the prose gets them."""
    parts = text.replace("|", "\\|").replace("\n", " ").split("`")
    parts[::2] = [prose.replace("<", "&lt;") for prose in parts[::2]]
    return "`".join(parts)


def _classes_from_the_last(path: Path) -> list[str]:
    """The classes of a module; the last one, which uses the others, comes first."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    return list(reversed(names))


def _code(code: str, rule: Any, messages: Sequence[str]) -> str:
    title = f"## {code}" + (f" {rule.name}" if rule else "")
    lines = [title, ""]
    if rule:
        lines += [f"{rule.summary} ({rule.severity})", ""]
        lines += [
            line for label, text in (("Why", rule.why), ("Fix", rule.fix)) if text for line in (f"{label}: {text}", "")
        ]
        for label, example in (("Bad", rule.bad), ("Good", rule.good)):
            lines += [f"{label}:", "", f"```{_language(example)}", example.strip("\n"), "```", ""] if example else []
    lines += [*(f"- {_cell(message)}" for message in messages), ""] if messages else []
    return "\n".join(lines)


def _language(example: str) -> str:
    """What an example is written in: a command, a line of the user's configuration, or YAML."""
    if example.lstrip().startswith("onnxbuild "):
        return "sh"
    return "toml" if re.match(r"\s*\w+ = ", example) else "yaml"


def _messages() -> Mapping[str, Sequence[str]]:
    """The messages of each code that the source names, in alphabetical order: to move a file changes nothing."""
    messages: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                for code, message in _codes_of_call(node):
                    messages.setdefault(code, set()).add(message)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _CODE.fullmatch(node.value):
                messages.setdefault(node.value, set())
    return {code: sorted(texts - {""}) for code, texts in messages.items()}


def _codes_of_call(node: ast.Call) -> Iterator[tuple[str, str]]:
    named = {k.arg: k.value for k in node.keywords if k.arg}
    arguments = [named.get("code"), named.get("message")] if "code" in named else [*node.args]
    if isinstance(node.func, ast.Name) and node.func.id in {"described", "rule"}:
        return  # the page of a code, whose second argument is its name
    if isinstance(node.func, ast.Name) and node.func.id in {"Known", "Noticed"}:
        arguments = [node.args[0], node.args[2]]  # between them is the pattern that is searched for
    for at, argument in enumerate(arguments):
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str) and _CODE.fullmatch(argument.value):
            following = arguments[at + 1 : at + 2] or [named.get("message")]
            yield argument.value, _text(following[0])


def _text(node: ast.expr | None) -> str:
    """A string of the source; its variable parts are in angle brackets."""
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
    shown_rows = rows if len(rows) > _HEAD_OF_TABLE else ["No arguments."]
    return "\n".join([f"## {name}", "", parser.description or "", "", *shown_rows, ""])


def main(arguments: list[str]) -> int:
    """Rewrite the pages, or with `--check` name the stale ones."""
    if "--check" in arguments:
        names = stale()
        for name in names:
            print(f"{name} is stale: run `python docs/generate.py`")
        return 1 if names else 0
    for path, text in pages():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
