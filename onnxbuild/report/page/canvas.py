"""Figures of matplotlib as SVG that takes its colours from the page, and as files that stand alone."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from onnxbuild.diagnostics import DiagnosticError, fault

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The colours of Okabe and Ito, which people with any kind of colour vision can tell apart ("Color Universal Design",
# 2008), without the yellow and the black that one of the two themes would hide.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
# The colours of text and of lines. In the page both follow its theme, so they must differ from every other colour.
INK, LINE = "#232629", "#8a9199"

_SETTINGS = {
    "svg.fonttype": "none",  # text stays text: smaller, selectable, and readable for a screen reader
    "font.size": 9,
    "axes.facecolor": "none",
    "axes.edgecolor": LINE,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "axes.grid.axis": "x",
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.alpha": 0.35,
    "grid.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_FONT = re.compile(r"(font: [0-9.]+px) [^;\"]*")


@contextmanager
def drawing(**settings: Any) -> Iterator[None]:
    """The settings under which figures are drawn and written. Errors: DiagnosticError OB092 without matplotlib.

    matplotlib reads `matplotlibrc` in the current folder, which may be somebody else's and can start LaTeX. So all of
    its settings are put back to the defaults first.
    """
    matplotlib = needed("matplotlib")
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({**_SETTINGS, **settings})
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, its size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def needed(package: str) -> Any:
    """A package of the extra `report`. Errors: DiagnosticError OB092 if it is not installed."""
    try:
        return import_module(package)
    except ImportError as error:
        message = f"the page of a report needs `{package}`, which cannot be imported: {error}"
        hint = "`pip install 'onnxbuild[report]'`, or `--format markdown`"
        raise DiagnosticError(fault("OB092", message, hint=hint)) from None


def as_svg(figure: Figure, name: str) -> str:
    """A figure for a page: its colours are the page's variables, and no id of it is that of another figure."""
    text = _written(figure, "svg", name).decode()
    text = text[text.index("<svg") :].replace(INK, "var(--ink)").replace(LINE, "var(--line)")
    text = _FONT.sub(r"\1 var(--font)", text)
    text = re.sub(r' (?:width|height)="[0-9.]+pt"', "", text, count=2)
    return _with_own_ids(text, name)


def _with_own_ids(text: str, name: str) -> str:
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", text)
    return re.sub(r'(url\(#|href="#)([^)"]+)', rf"\1{name}-\2", text)


def as_files(figure: Figure, name: str) -> dict[str, bytes]:
    """A figure as the content of files on white, by suffix, for a README."""
    return {suffix: _written(figure, suffix, name, facecolor="white") for suffix in ("svg", "png")}


def _written(figure: Figure, suffix: str, name: str, facecolor: str = "none") -> bytes:
    file = io.BytesIO()
    # `named_files` recognizes onnxbuild's files by these words. Without a date, equal figures are equal files.
    metadata = {"Date": None, "Creator": "onnxbuild"} if suffix == "svg" else {"Software": "onnxbuild"}
    with drawing(**{"svg.hashsalt": name}):
        figure.savefig(file, format=suffix, metadata=metadata, facecolor=facecolor, dpi=160)
    return file.getvalue()
