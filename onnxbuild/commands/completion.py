"""`onnxbuild completion SHELL`: a script that completes commands, options, manifests, models and targets."""

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
_onnxbuild_selectors() {
  local word
  for word in "${COMP_WORDS[@]:2}"; do
    case "$word" in
      *.yaml|*.yml) compgen -W "$(onnxbuild completion --list "$word" 2>/dev/null)" -- "$1"; return ;;
    esac
  done
  compgen -W "$(onnxbuild completion --list "" 2>/dev/null)" -- "$1"
}
""",
    "zsh": """
_onnxbuild_selectors() {
  local word
  for word in $words[2,-1]; do
    case $word in
      *.yaml|*.yml) compadd -- ${(f)"$(onnxbuild completion --list $word 2>/dev/null)"}; return ;;
    esac
  done
  compadd -- ${(f)"$(onnxbuild completion --list "" 2>/dev/null)"}
}
""",
    "fish": """
function _onnxbuild_selectors
  for word in (commandline -opc)
    if string match -qr '\\\\.ya?ml$' -- $word
      onnxbuild completion --list $word 2>/dev/null
      return
    end
  end
  onnxbuild completion --list "" 2>/dev/null
end
""",
}


def print_script(parser: argparse.ArgumentParser, shell: str) -> int:
    """Print the script for a shell; return the exit code."""
    import shtab

    _mark(parser, manifest=shtab.glob(*_MANIFESTS), folder=shtab.DIRECTORY, file=shtab.FILE)
    print(shtab.complete(parser, shell=shell, preamble=_PREAMBLE[shell]))
    return 0


def list_names(manifest: str) -> int:
    """Print the models and the variants of a manifest, one per line; nothing where it cannot be read. The exit code.

    An empty name stands for the manifest that was run last.
    """
    from onnxbuild.commands.parsing.last_run import last_run
    from onnxbuild.manifest.load import read_manifest
    from onnxbuild.steps import all_kinds

    try:
        read, _ = read_manifest(manifest or last_run("completion").manifest, kinds=all_kinds())
    except DiagnosticError:
        return 1
    for model in read.models:
        print("\n".join([model.name, *(f"{model.name}/{target.name}" for target in model.targets)]))
    return 0


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
