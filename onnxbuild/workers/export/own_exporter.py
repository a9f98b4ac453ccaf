"""Export with a custom function, which comes as an input: a file, or the package that contains it.

The code is copied to a folder of its own before it is imported. The input has links to the files of the user: beside
those lie other modules, which are not part of the key.

The function is `export(checkpoint: Path, output: Path, opset: int, task: str) -> None`; it writes ONNX files.
"""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.export import ExportParams
from onnxbuild.workers.failures.exceptions import note_place

_ALONE = (
    "a module beside an exporter cannot be imported: install both as one package, and write `package.module:function`"
)
_HINT = f"an exporter is a function of (checkpoint, output, opset, task); {_ALONE}"


def export(checkpoint: Path, destination: Path, params: ExportParams, code: Path) -> None:
    """Call the function. Errors: CheckFailed OBE67 if it cannot be imported or called; what it raises itself."""
    module, _, name = params.exporter.rpartition(":")
    with _alone(code) as copy, _importable(copy):
        function = _function(module, name, copy)
        try:
            function(checkpoint, destination, params.opset, params.task)
        except Exception as error:
            _annotate(error, copy)
            raise


@contextmanager
def _alone(code: Path) -> Iterator[Path]:
    """A copy of the code without links to the original."""
    with TemporaryDirectory(prefix="onnxbuild-exporter-") as folder:
        copy = Path(folder).resolve() / "code"
        shutil.copytree(code, copy)
        yield copy


def _annotate(error: Exception, code: Path) -> None:
    place = _place_in(error, code)
    if place is not None:
        note_place(error, place)
        if isinstance(error, ModuleNotFoundError):
            error.add_note(_ALONE)


def _place_in(error: BaseException, code: Path) -> str | None:
    """The last line of the custom code in the traceback of an exception: `mine.py:12`."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(code)]
    return f"{Path(own[-1].filename).relative_to(code)}:{own[-1].lineno}" if own else None


def _function(place: str, name: str, code: Path) -> Callable[..., Any]:
    try:
        module = _module(place, code)
    except Exception as error:
        raise _unusable(f"`{place}` cannot be imported: {type(error).__name__}: {error}") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise _unusable(f"`{place}` has no function `{name}`")
    return function  # type: ignore[no-any-return]


def _module(place: str, code: Path) -> Any:
    if not place.endswith(".py"):
        return importlib.import_module(place)
    path = code / Path(place).name
    # A fixed name: a worker runs several exports, whose files may have equal names.
    spec = importlib.util.spec_from_file_location("onnxbuild_exporter", path)
    assert spec is not None, "BUG: a .py file has a spec"
    assert spec.loader is not None, "BUG: a .py file has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@contextmanager
def _importable(code: Path) -> Iterator[None]:
    """Make the modules in `code` importable inside, and forget them afterwards: the next export may have others."""
    before = set(sys.modules)
    sys.path.insert(0, str(code))
    writes = sys.dont_write_bytecode
    sys.dont_write_bytecode = True  # the folder is an input, which is read-only
    try:
        yield
    finally:
        sys.dont_write_bytecode = writes
        sys.path.remove(str(code))
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None) or ""
            if Path(file).is_relative_to(code):
                del sys.modules[name]


def _unusable(message: str) -> CheckFailed:
    return CheckFailed(
        "OBE67",
        message,
        notes=[("hint", _HINT)],
    )
