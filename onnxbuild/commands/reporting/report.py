"""`onnxbuild report`: the evidence of a build as a page, or as Markdown, JSON or CSV."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from onnxbuild.commands.parsing.format_choice import format_by_suffix
from onnxbuild.commands.parsing.options import Asked
from onnxbuild.commands.reporting.gathered import evidence_of_manifest
from onnxbuild.commands.workspace import check_output, write_file, write_result
from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.report.evidence.evidence import Evidence
from onnxbuild.report.evidence.formats import as_csv, as_json, as_markdown
from onnxbuild.report.wording import counted, folder_from_here, path_from_here

if TYPE_CHECKING:
    from onnxbuild.report.page.plots import Plot

Format = Literal["html", "markdown", "json", "csv"]
FORMATS = ("html", "markdown", "json", "csv")
_SUFFIXES: Mapping[str, Format] = {".html": "html", ".htm": "html", ".md": "markdown", ".json": "json", ".csv": "csv"}


class ReportOptions(Struct, frozen=True, kw_only=True):
    """How to report. `plots`: a folder for the plots as files. `show`: open the page in a browser."""

    format: Format = "html"
    output: str | None = None
    plots: str | None = None
    show: bool = False


def report(asked: Asked, options: ReportOptions) -> int:
    """Write a report of the last results, without running anything; return the exit code. Errors: DiagnosticError."""
    output = options.output or (_default(asked) if options.format == "html" else None)
    if output is not None:
        check_output(output)
    evidence, texts, _ = evidence_of_manifest(asked)
    drawn = _drawn(evidence, options)
    if options.plots is not None:
        write_plots(drawn, options.plots)
    write_result(_page(evidence, drawn, texts) if options.format == "html" else _text(evidence, options.format), output)
    if output is not None:
        print(f"wrote {path_from_here(output)}", file=sys.stderr)
        if options.show:
            _show(Path(output))
    return 0


def _drawn(evidence: Evidence, options: ReportOptions) -> list[Plot]:
    """The plots, where they are wanted: matplotlib takes a second to import."""
    if options.format != "html" and options.plots is None:
        return []
    from onnxbuild.report.page.plots import plots

    return plots(evidence)


def _page(evidence: Evidence, drawn: Sequence[Plot], texts: str) -> str:
    from onnxbuild.report.page.html_page import html_page

    return html_page(evidence, drawn, texts)


def format_for(format: Format | None, output: str | None) -> Format:  # noqa: A002 - the option's name
    """The requested format, else that of the file's suffix, else HTML.

    Errors: ValueError if the two contradict each other, or if only the suffix could decide and it is unknown.
    """
    return format_by_suffix(format, output, _SUFFIXES, "html")


def _text(evidence: Evidence, format: Format) -> str:  # noqa: A002 - the option's name
    if format == "json":
        return as_json(evidence) + "\n"
    return as_csv(evidence) if format == "csv" else as_markdown(evidence)


def _default(asked: Asked) -> str:
    """`out/NAME-report.html` beside the manifest. Errors: DiagnosticError OB016."""
    manifest = Path(asked.manifest)
    return str(created_folder(manifest.parent / "out", "--output FILE") / f"{manifest.stem}-report.html")


def created_folder(folder: Path, option: str) -> Path:
    """The folder, created if it is missing. Errors: DiagnosticError OB016."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"the folder `{folder}` cannot be created: {error.strerror}"
        raise DiagnosticError(fault("OB016", message, hint=f"name another place with `{option}`")) from None
    return folder


def write_plots(drawn: Sequence[Plot], place: str) -> None:
    """Write each plot to a folder as SVG and PNG; the folder is created if it is missing. Errors: DiagnosticError."""
    from onnxbuild.report.page.canvas import as_files

    folder = created_folder(Path(place), "--plots DIR")
    for plot in drawn:
        for suffix, data in as_files(plot.figure, plot.name).items():
            write_file(data, str(folder / f"{plot.name}.{suffix}"))
    print(f"wrote {counted(2 * len(drawn), 'plot')} to {folder_from_here(folder)}", file=sys.stderr)


def _show(page: Path) -> None:
    import webbrowser

    if not _has_display() or not webbrowser.open(page.absolute().as_uri()):
        print("no browser could be started: open the file yourself", file=sys.stderr)


def _has_display() -> bool:
    """Whether a browser can show a window: without one, Python starts a browser for terminals, which waits for keys."""
    if sys.platform in {"win32", "darwin", "cygwin"}:
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
