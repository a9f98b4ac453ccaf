"""`onnxbuild convert-js`: a model as a package for Transformers.js, by a manifest that the command writes and runs."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct, structs

from onnxbuild.commands.lint import lint
from onnxbuild.commands.parsing.options import Asked, RunOptions
from onnxbuild.commands.run import answer_or_build
from onnxbuild.diagnostics import Diagnostic, DiagnosticError, fault, nearest
from onnxbuild.machine import this_machine
from onnxbuild.permissions import is_below
from onnxbuild.report.render_diagnostics import show
from onnxbuild.report.wording import path_from_here
from onnxbuild.steps import all_kinds
from onnxbuild.store.files import write_atomically

# Dtype → the block of its target. Browsers round signed int8 weights, and 4-bit products in int8, otherwise than the
# machine that validates (OB777). `int8` and `uint8` are the target of `q8` under other names.
TARGETS: Mapping[str, str] = {
    "fp32": "{}",
    "fp16": "{precision: fp16}",
    "q8": "{quantize: {method: dynamic, preset: avx2}}",
    "int8": "{quantize: {method: dynamic, preset: avx2}}",
    "uint8": "{quantize: {method: dynamic, preset: avx2}}",
    "q4": "{quantize: {method: weight-only, bits: 4, symmetric: true, accuracy_level: 0}}",
    "q4f16": "{quantize: {method: weight-only, bits: 4, symmetric: true, accuracy_level: 0}, precision: fp16}",
    "bnb4": "{quantize: {method: weight-only, algorithm: nf4}}",
}
AS_Q8 = ("int8", "uint8")
_DEFAULTS = ("fp32", "q8")  # without both, a package has to name the dtype that pages load by default

_MANIFESTS = (".yaml", ".yml")
_REPOSITORY = re.compile(r"(hub:)?[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")


class Conversion(Struct, frozen=True, kw_only=True):
    """What the command line asks for."""

    model: str  # a folder, or a repository of the Hub
    dtypes: Sequence[str]
    clients: Sequence[str]
    output: str | None
    task: str | None
    halves: str | None = None  # `beside` the whole model, or these `only`
    word_timestamps: bool = False
    dry_run: bool = False
    jobs: int | None = None


def convert_js(conversion: Conversion, asked: Asked) -> int:
    """Write the manifest, show it, and run it; return the exit code of the run. Errors: DiagnosticError OB776."""
    source, name, reach = _source(conversion.model)
    folder = _out_folder(conversion, name, reach)
    text = manifest_text(conversion, source, name, reach)
    print(text, file=sys.stderr)
    path = folder / f"{name}.yaml"
    _check_kept(path, text, _again(str(path), str(folder), reach))
    if conversion.dry_run and source.startswith("hub:"):
        print("not linted: what the repository has is known once a run has asked the Hub", file=sys.stderr)
        return 0
    if conversion.dry_run:
        return _lint(text, path, asked._replace(allow_paths=(*asked.allow_paths, *reach)))
    changed = asked._replace(manifest=str(path), allow_paths=(*asked.allow_paths, *reach), out=str(folder))
    return _run(path, text, RunOptions(asked=changed, out=str(folder), jobs=conversion.jobs))


def _run(path: Path, text: str, options: RunOptions) -> int:
    """Write the manifest and run it. One that has faults is removed again: it would be in the way of a correct one."""
    is_new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.encode())
    try:
        return answer_or_build(options)
    except DiagnosticError:
        if is_new:
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # a folder with other files stays
                path.parent.rmdir()
        raise


def _out_folder(conversion: Conversion, name: str, sources: Sequence[str]) -> Path:
    """Where the manifest and the outputs go: beside the model if this would be inside of it.

    Errors: DiagnosticError OB776 for a folder that the user names and that would write into the model.
    """
    wanted = Path(conversion.output or f"{name}-js").absolute()
    source = next((Path(one) for one in sources if _writes_into(wanted, name, one)), None)
    if source is None:
        return wanted
    beside = Path(os.path.realpath(source)).parent / f"{name}-js"
    if conversion.output is None and not _writes_into(beside, name, str(source)):
        print(f"outputs go beside the model, to `{beside}`", file=sys.stderr)
        return beside
    message = f"the output folder `{wanted}` would put outputs into the model's folder, `{source}`"
    raise _unusable(message, f"name another folder, such as `--output {shlex.quote(str(beside))}`")


def _writes_into(out: Path, name: str, source: str) -> bool:
    """Whether outputs go into a source, or replace the folder that it is in: each model has a folder of its name."""
    real, written = os.path.realpath(source), os.path.realpath(out / name)
    return is_below(os.path.realpath(out), real) or is_below(written, real) or is_below(real, written)


def _lint(text: str, path: Path, asked: Asked) -> int:
    """Print the faults that the manifest would have at a path where it is not written; return the exit code."""
    kinds = all_kinds()
    with tempfile.TemporaryDirectory(prefix="onnxbuild-") as folder:
        draft = Path(folder) / path.name
        draft.write_text(text, encoding="utf-8")
        permissions = asked.permissions()
        defines = dict(asked.defines)
        faults = lint(str(draft), this_machine(), kinds=kinds, defines=defines, permissions=permissions, asked=asked)
    show([_at(path, one) for one in faults], sys.stderr)
    return 2 if any(one.severity == "error" for one in faults) else 0


def _at(path: Path, one: Diagnostic) -> Diagnostic:
    """The fault with another path of its text."""
    if one.span is None:
        return one
    source = structs.replace(one.span.source, path=path_from_here(path))
    return structs.replace(one, span=structs.replace(one.span, source=source))


def _source(model: str) -> tuple[str, str, tuple[str, ...]]:
    """The source of the manifest, a name for the model, and the paths that the manifest must be let read."""
    folder = Path(model).absolute()
    _check_path(model, folder)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            message = f"the folder `{model}` is not a checkpoint: it has no config.json"
            raise _unusable(message, "name the folder that `save_pretrained` wrote")
        return f"local:{folder}", _name(folder.name), (str(folder),)
    if model.startswith("package:"):
        return model, _name(model.removeprefix("package:").partition("/")[0]), ()
    if _REPOSITORY.fullmatch(model):
        if not model.startswith("hub:"):
            print(f"there is no folder `{model}`, so it is taken for a repository of the Hub", file=sys.stderr)
        repository = model.removeprefix("hub:")
        return f"hub:{repository}", _name(repository.partition("@")[0].partition("/")[2]), ()
    message = f"`{model}` is neither a folder nor a repository of the Hub"
    raise _unusable(message, _similar(model) or "name a folder with a config.json, or a repository such as `org/name`")


def _check_path(model: str, folder: Path) -> None:
    """Refuse a path that was probably mistyped, before it is taken for a repository. Errors: DiagnosticError OB776."""
    if not str(folder).isprintable():  # the manifest has the path in a comment, which a line break would end
        message = f"the path of the folder has a character that cannot be printed: {str(folder)!r}"
        raise _unusable(message, "rename the folder")
    if folder.suffix in _MANIFESTS and not folder.is_dir():
        message = f"`{model}` is a manifest, and this command takes a model"
        raise _unusable(message, f"build it with `onnxbuild run {shlex.quote(model)}`")
    if folder.is_file():
        raise _unusable(f"`{model}` is a file, and a model is a folder", _instead_of_file(model))
    if not folder.exists() and "/" in model and _REPOSITORY.fullmatch(model) and folder.parent.is_dir():
        message = f"`{Path(model).parent}` has no folder `{Path(model).name}`"
        similar = _similar(model)
        hub = f"for the repository of the Hub, write `hub:{model}`"
        raise _unusable(message, f"{similar} {hub}" if similar else hub)


def _instead_of_file(model: str) -> str:
    folder = Path(model).parent
    if (folder / "config.json").is_file():
        return f"name its folder: `{folder}`"
    return "name the folder that `save_pretrained` wrote, which has a config.json"


def _similar(model: str) -> str | None:
    """A question with the path of a similar folder, for one that does not exist."""
    folder = Path(model)
    if not folder.parent.is_dir():
        return None
    near = nearest(folder.name, [path.name for path in folder.parent.iterdir() if path.is_dir()])
    return f"did you mean `{folder.with_name(near)}`?" if near else None


def _name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-_").lower() or "model"


def manifest_text(conversion: Conversion, source: str, name: str, reach: Sequence[str] = ()) -> str:
    """The manifest, as a person would write it; `reach` has the paths outside its folder that it needs."""
    dtypes = list(dict.fromkeys(conversion.dtypes))
    targets = {dtype: "q8" if dtype in AS_Q8 else dtype for dtype in dtypes}
    has_defaults = all(dtype in dtypes for dtype in _DEFAULTS)
    lines = [
        "# Written by `onnxbuild convert-js`. After a change, this command builds it again in this folder:",
        f"#     {_again(f'{name}.yaml', '.', reach)}",
        "onnxbuild: 1",
        "",
        "targets:",
        *(f"  {target}: {TARGETS[target]}" for target in dict.fromkeys(targets.values())),
        "",
        "models:",
        f"  {name}:",
        f"    source: {_quoted(source)}",
        *([f"    task: {conversion.task}"] if conversion.task else []),
        f"    targets: [{', '.join(dict.fromkeys(targets.values()))}]",
        "    package:",
        "      transformers.js:",
        f"        dtypes: {_mapping(targets.items())}",
        *([] if has_defaults or len(dtypes) == 1 else [f"        default_dtype: {dtypes[0]}"]),
        *([f"        halves: {conversion.halves}"] if conversion.halves else []),
        *(["        word_timestamps: true"] if conversion.word_timestamps else []),
        f"        {'clients' if conversion.clients else 'client'}: {_clients(conversion.clients)}",
    ]
    return "\n".join(lines) + "\n"


def _again(manifest: str, out: str, reach: Sequence[str]) -> str:
    """The command that runs a written manifest."""
    permitted = [word for path in reach for word in ("--allow-path", path)]
    return shlex.join(["onnxbuild", "run", manifest, "--out", out, *permitted])


def _clients(clients: Sequence[str]) -> str:
    return f"[{', '.join(clients)}]" if clients else "false"


def _mapping(pairs: Iterable[tuple[str, str]]) -> str:
    return f"{{{', '.join(f'{key}: {value}' for key, value in pairs)}}}"


def _quoted(text: str) -> str:
    """A text in YAML, whose `${` is no reference."""
    escaped = text.replace("${", "$${").replace("'", "''")
    return f"'{escaped}'"


def _check_kept(path: Path, text: str, again: str) -> None:
    """Refuse to replace a manifest with other content; `again` is the command that runs it.

    Errors: DiagnosticError OB776.
    """
    if path.exists() and path.read_text(encoding="utf-8", errors="replace") != text:
        message = f"`{path}` exists, and is not what this command would write"
        raise _unusable(message, f"run it: `{again}`; or delete it, or name another `--output`")


def _unusable(message: str, hint: str) -> DiagnosticError:
    return DiagnosticError([fault("OB776", message, hint=hint)])
