"""`onnxbuild serve`: an HTTP server for delivered models. Nothing is built."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from onnxbuild.commands.parsing.options import Asked
from onnxbuild.commands.serving.chosen_folders import Chosen, folders_of_manifest, plain_folders
from onnxbuild.diagnostics import Diagnostic, DiagnosticError, fault
from onnxbuild.regular_files import read_regular
from onnxbuild.report.render_diagnostics import show
from onnxbuild.report.wording import path_from_here
from onnxbuild.serve.limits_of_server import ServedFolder, ServerOptions
from onnxbuild.serve.unusable_folder import UnusableFolderError
from onnxbuild.serve.web.api_keys import keys_in

KEYS = "ONNXBUILD_API_KEYS"
_FAILED = 1
_LARGEST = 1 << 20  # bytes of a file of keys
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def serve(asked: Asked, out: str | None, options: ServerOptions, keys_file: str | None) -> int:
    """Serve models until a signal ends the server; return the exit code.

    Errors: DiagnosticError OB740 to OB743 for what cannot be served, OB745 for an address that cannot be used, OB746 if
    the extra `serve` is missing, OB748 for keys.
    """
    server = _server()
    warnings: list[Diagnostic] = []
    if Path(asked.manifest).is_dir():
        chosen = plain_folders([asked.manifest, *asked.selectors])
    else:
        chosen, warnings = folders_of_manifest(asked, out)
    keys = _keys(keys_file)
    if not keys and options.host not in _LOOPBACK:
        hint = f"`--api-keys FILE`, or the variable {KEYS}"
        message = f"whoever reaches {options.host} can use the models: there are no API keys"
        warnings.append(fault("OB747", message, hint=hint, severity="warning"))
    show([*warnings, *_unchecked(chosen)], sys.stderr)
    return _run(server, _named(chosen), ServerOptions(**{**_fields(options), "keys": keys}))


def _fields(options: ServerOptions) -> Mapping[str, Any]:
    return {name: getattr(options, name) for name in options.__struct_fields__}


def _server() -> Any:
    """The module of the server. Errors: DiagnosticError OB746 if a package is missing."""
    try:
        for name in ("onnxruntime", "tokenizers", "jinja2"):  # of the processes of the models
            import_module(name)
        return import_module("onnxbuild.serve.server_process")
    except ImportError as error:
        message = f"`serve` needs a package that cannot be imported: {error}"
        raise DiagnosticError(fault("OB746", message, hint="`pip install 'onnxbuild[serve]'`")) from None


def _run(server: Any, folders: tuple[ServedFolder, ...], options: ServerOptions) -> int:
    try:
        code: int = server.run_server(folders, options)
    except UnusableFolderError as error:
        wrong = fault("OB743", f"{path_from_here(error.folder)} cannot be served: {error}", hint=error.hint)
        raise DiagnosticError(wrong, exit_code=_FAILED) from None
    except (OSError, OverflowError) as error:
        message = f"the server cannot listen on {options.host}, port {options.port}: {error}"
        wrong = fault("OB745", message, hint="name another port with `--port N`, or 0 for any free one")
        raise DiagnosticError(wrong, exit_code=_FAILED) from None
    return code


def _named(chosen: Sequence[Chosen]) -> tuple[ServedFolder, ...]:
    """Each folder as `model/target`, and as `model` where this is the only target of the model that is served."""
    models = [one.model for one in chosen]
    return tuple(
        ServedFolder(one.folder, (one.name, *([one.model] if models.count(one.model) == 1 else []))) for one in chosen
    )


def _unchecked(chosen: Sequence[Chosen]) -> list[Diagnostic]:
    """A warning for each model that its build did not validate."""
    hint = "remove `validate: false` from the model or the target, and build it again"
    return [
        fault("OB749", f"`{one.name}` was never compared with its source", hint=hint, severity="warning")
        for one in chosen
        if not one.is_validated
    ]


def _keys(path: str | None) -> tuple[str, ...]:
    """The API keys of a file, or else of the environment. Errors: DiagnosticError OB748."""
    if path is None:
        return keys_in(os.environ.get(KEYS, ""))
    try:
        keys = keys_in(read_regular(path, _LARGEST).decode())
    except OSError as error:
        raise DiagnosticError(fault("OB748", f"the API keys in `{path}` cannot be read: {error.strerror}")) from None
    except ValueError:
        raise DiagnosticError(fault("OB748", f"the API keys in `{path}` cannot be read: it is not UTF-8")) from None
    if not keys:
        hint = "write one key per line"
        raise DiagnosticError(fault("OB748", f"`{path}` has no API key", hint=hint))
    return keys
