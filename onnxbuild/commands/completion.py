"""`onnxbuild completion SHELL`: a script that completes commands, options, manifests, and the names in them."""

from __future__ import annotations

import argparse

from onnxbuild.diagnostics import DiagnosticError

_MANIFESTS = ("*.yaml", "*.yml")

# The names in the manifest on the command line, or in the manifest that was run last.
_SELECTORS = {
    "bash": "_onnxbuild_selectors",
    "zsh": "_onnxbuild_selectors",
    "fish": "(_onnxbuild_selectors)",
}
_PREAMBLE = {
    "bash": """
COMP_WORDBREAKS=${COMP_WORDBREAKS//:}  # an id has a colon, at which bash would split it
# Not `compgen -W`: it would run a command that stands in the name of a model.
_onnxbuild_names() {
  local name
  onnxbuild completion --list "$1" --prefix="$2" 2>/dev/null | while IFS= read -r name; do
    [[ "$name" == "$2"* ]] && printf '%s\\n' "$name"
  done
}
_onnxbuild_selectors() {
  local word
  for word in "${COMP_WORDS[@]:2}"; do
    case "$word" in
      *.yaml|*.yml) _onnxbuild_names "${word//\\\\/}" "$1"; return ;;
    esac
  done
  _onnxbuild_names "" "$1"
}
""",
    "zsh": """
_onnxbuild_names() {
  compadd -- ${(f)"$(onnxbuild completion --list "$1" --prefix="$PREFIX" 2>/dev/null)"}
}
_onnxbuild_selectors() {
  local word
  for word in $words[2,-1]; do
    case $word in
      *.yaml|*.yml) _onnxbuild_names ${(Q)word}; return ;;
    esac
  done
  _onnxbuild_names ""
}
""",
    "fish": """
function _onnxbuild_selectors
  for word in (commandline -opc)
    if string match -qr '\\\\.ya?ml$' -- $word
      onnxbuild completion --list $word --prefix=(commandline -ct) 2>/dev/null
      return
    end
  end
  onnxbuild completion --list "" --prefix=(commandline -ct) 2>/dev/null
end
""",
}


def print_script(parser: argparse.ArgumentParser, shell: str) -> int:
    """Print the script for a shell; return the exit code."""
    import shtab

    _mark(parser, manifest=shtab.glob(*_MANIFESTS), folder=shtab.DIRECTORY, file=shtab.FILE)
    print(shtab.complete(parser, shell=shell, preamble=_PREAMBLE[shell]))
    return 0


def list_names(manifest: str, prefix: str = "") -> int:
    """Print what may follow a prefix, one per line; nothing where the manifest cannot be read. The exit code.

    Models and variants; with a colon in the prefix, the actions. An empty name of a manifest stands for the one that
    was run last: what names none may also be a code.
    """
    if not manifest and prefix.startswith("OB"):
        from onnxbuild.rules import ALL

        print("\n".join(ALL))
    try:
        names = _actions(manifest) if ":" in prefix else _models_and_variants(manifest)
    except DiagnosticError:
        return 1
    print("\n".join(name for name in names if name.isprintable()))  # shells cannot complete the others
    return 0


def _models_and_variants(manifest: str) -> list[str]:
    from onnxbuild.commands.parsing.last_run import last_run
    from onnxbuild.manifest.load import read_manifest
    from onnxbuild.steps import all_kinds

    read, _ = read_manifest(manifest or last_run("completion").manifest, kinds=all_kinds())
    return [
        name for model in read.models for name in (model.name, *(f"{model.name}/{one.name}" for one in model.targets))
    ]


def _actions(manifest: str) -> list[str]:
    """The ids of a plan, also those under which a target shares an action."""
    from onnxbuild.commands.parsing.last_run import last_run
    from onnxbuild.commands.parsing.options import Asked
    from onnxbuild.commands.workspace import planned

    asked = Asked(manifest or last_run("completion").manifest, offline=True)
    graph = planned(asked, write_lock=False)[1].graph
    return [*graph.actions, *graph.aliases]


def _mark(parser: argparse.ArgumentParser, **completions: object) -> None:
    """Tell shtab how each argument completes, by its name."""
    by_metavar = {
        "MANIFEST": completions["manifest"],
        "DIR": completions["folder"],
        "FILE": completions["file"],
        "SELECTOR": _SELECTORS,
        "ID": _SELECTORS,
        "ID|CODE": _SELECTORS,
    }
    for action in parser._actions:  # noqa: SLF001 - argparse has no public way to list them
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - same
            for command in action.choices.values():
                _mark(command, **completions)
        elif action.metavar in by_metavar:
            action.complete = by_metavar[action.metavar]  # type: ignore[attr-defined]
