"""`onnxbuild view`: the graph of a delivered variant in netron, served on loopback."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler
from importlib import import_module
from pathlib import Path
from typing import Any

from msgspec import Struct

from onnxbuild.commands.parsing.options import Asked
from onnxbuild.commands.reporting.stored_files import check_delivered
from onnxbuild.commands.state.locations import out_folder
from onnxbuild.commands.state.out_place import check_folders, refuse_link
from onnxbuild.commands.workspace import planned
from onnxbuild.diagnostics import DiagnosticError, did_you_mean, fault
from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.planning.select import named, variants_named
from onnxbuild.report.wording import path_from_here

_HOST = "127.0.0.1"
_POLICY = "default-src 'self' data: blob: 'unsafe-inline'; frame-ancestors 'none'"
_FAILED = 1
_MOST_NAMED = 8
# netron writes the name into its page as it is.
_PLAIN = re.compile(r"[\w. +,@()-]+")


class ViewOptions(Struct, frozen=True, kw_only=True):
    """`out`: the folder that a run has written to. `graph`: one of several. `port`: 0 for any free one."""

    out: str | None = None
    graph: str | None = None
    port: int = 0
    browser: bool = True


def view(asked: Asked, options: ViewOptions) -> int:
    """Serve a graph until the command is interrupted; return the exit code.

    Errors: DiagnosticError OB680 if it is not clear which graph, OB681 if it was not built, OB711 if it was changed,
    OB683 and OB684 if netron is missing or cannot listen.
    """
    refuse_link(asked.manifest, options.out)
    _, expansion, _ = planned(asked, write_lock=False)
    name = _variant(expansion.graph, asked.selectors)
    out = out_folder(asked.manifest, options.out)
    check_folders(out, [(name.partition("/")[0], name.partition("/")[2])])
    graph = _chosen(out / name, name, asked, options.graph)
    check_delivered(out / name, graph, asked.manifest)
    netron = _netron()
    address = _served(netron, graph, options)
    print(f"{path_from_here(graph)} is at {address}; Ctrl-C ends it", file=sys.stderr, flush=True)
    netron.wait()
    return 0


def _variant(graph: ActionGraph, selectors: Sequence[str]) -> str:
    """The name of the one variant that selectors name, or of a model's best one."""
    folders = [f"{model}/{target}" for model, target in graph.folders]
    if len(selectors) == 1 and selectors[0] in folders:
        return selectors[0]
    named(graph, selectors)
    variants = [variant.name for variant in variants_named(graph, selectors)]
    if len(variants) == 1:
        return variants[0]
    few = ", ".join((variants or folders)[:_MOST_NAMED])
    raise DiagnosticError(fault("OB680", "which variant to view is not clear", hint=f"name one of {few}"))


# -- the graph --------------------------------------------------------------------------------------------------------


def _chosen(folder: Path, name: str, asked: Asked, wanted: str | None) -> Path:
    """The one graph of a folder, or the one that is wanted. Errors: DiagnosticError OB680, OB681."""
    graphs = {path.relative_to(folder).as_posix(): path for path in _graphs(folder)}
    if not graphs:
        hint = f"`onnxbuild run {path_from_here(asked.manifest)} {name.removesuffix('/best')}`"
        raise DiagnosticError(fault("OB681", f"no graph of `{name}` is in `{path_from_here(folder)}`", hint=hint))
    if wanted is None and len(graphs) == 1:
        return _plain(next(iter(graphs.values())))
    found = [path for key, path in graphs.items() if wanted in {key, path.name, path.stem}]
    if len(found) == 1:
        return _plain(found[0])
    raise _unclear(name, wanted, list(graphs))


def _unclear(name: str, wanted: str | None, graphs: Sequence[str]) -> DiagnosticError:
    message = f"`{name}` has {len(graphs)} graphs" if wanted is None else f"`{name}` has no graph `{wanted}`"
    near = did_you_mean(wanted, graphs) if wanted is not None else None
    return DiagnosticError(fault("OB680", message, hint=near or f"`--graph` takes one of {', '.join(graphs)}"))


def _graphs(folder: Path) -> Iterator[Path]:
    """The ONNX files below a folder, sorted; no link is followed."""
    for place, folders, names in os.walk(folder):
        folders.sort()
        found = (Path(place, name) for name in sorted(names) if name.endswith(".onnx"))
        yield from (path for path in found if not path.is_symlink())


def _plain(path: Path) -> Path:
    """The path, if its name can stand in a page. Errors: DiagnosticError OB684."""
    if _PLAIN.fullmatch(path.name):
        return path
    hint = "copy the file, under a name of letters, digits and dots"
    raise DiagnosticError(fault("OB684", f"netron cannot show a file with the name {path.name!r}", hint=hint))


# -- netron -----------------------------------------------------------------------------------------------------------


def _netron() -> Any:
    """Netron. Errors: DiagnosticError OB683 if it is missing."""
    try:
        return import_module("netron")
    except ImportError as error:
        message = f"`view` needs netron, which cannot be imported: {error}"
        hint = "`pip install 'onnxbuild[view]'`, or open the file in any other viewer of ONNX"
        raise DiagnosticError(fault("OB683", message, hint=hint)) from None


def _keep_on_this_machine(netron: Any) -> None:
    """Let the page load nothing from elsewhere, and send nothing: netron's own sends how it is used to its makers.

    netron has no option for it, so each answer gets a header by which the browser refuses such requests.
    """
    handler = netron.server._HTTPRequestHandler  # noqa: SLF001 - a test looks at what the browser requests

    def send_response(self: BaseHTTPRequestHandler, code: int, message: str | None = None) -> None:
        BaseHTTPRequestHandler.send_response(self, code, message)
        self.send_header("Content-Security-Policy", _POLICY)

    handler.send_response = send_response


def _served(netron: Any, graph: Path, options: ViewOptions) -> str:
    """The address at which netron serves a graph. Errors: DiagnosticError OB684."""
    _keep_on_this_machine(netron)
    logging.getLogger("netron").setLevel(logging.WARNING)  # it would print the address, too
    try:
        host, port = netron.start(str(graph), address=(_HOST, options.port), browse=options.browser)
    except OSError as error:
        message = f"netron cannot listen on port {options.port} of {_HOST}: {error.strerror or error}"
        hint = "name another port with `--port N`, or leave it out"
        raise DiagnosticError(fault("OB684", message, hint=hint), exit_code=_FAILED) from None
    return f"http://{host}:{port}"
