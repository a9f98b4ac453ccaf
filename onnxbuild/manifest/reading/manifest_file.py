"""Reads the bytes of a manifest file. Any other path gets advice: what it is instead, and what to write."""

from __future__ import annotations

import errno
import os
import re

from onnxbuild.diagnostics import Diagnostic, DiagnosticError, Span, fault, nearest
from onnxbuild.manifest.reading.yaml_text import LARGEST_BYTES, too_large
from onnxbuild.regular_files import NotRegular, read_regular

SUFFIXES = (".yaml", ".yml")

_ONNX = ".onnx"
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")
_LISTED = 4  # manifests of a folder that a hint names


def read_bytes(path: str, at: Span | None = None) -> bytes:
    """The content of a manifest or an included file; `at` is where the path is written.

    A link is followed: the command line named the manifest, and an include has been checked by where it leads.
    Errors: DiagnosticError, also for what is not a regular file: a FIFO would never end.
    """
    if path.endswith((_ONNX, *_WEIGHTS)) and os.path.isfile(path):
        raise DiagnosticError(_is_model(path, at))
    if os.path.isdir(path):
        message = f"`{path}` is a folder, and a manifest is a file"
        raise DiagnosticError(fault("OB016", message, span=at, hint=_for_folder(path)))
    try:
        return read_regular(os.path.realpath(path), LARGEST_BYTES)
    except FileNotFoundError:
        hint = _near(path) or (_from_above(path) if at is None else None) or _if_selector(path)
        raise DiagnosticError(fault("OB016", f"`{path}` does not exist", span=at, hint=hint)) from None
    except NotRegular as error:
        if error.errno == errno.EFBIG:
            raise DiagnosticError(too_large(path, at)) from None
        raise DiagnosticError(fault("OB016", f"`{path}` {error.strerror}", span=at)) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DiagnosticError(fault("OB016", f"`{path}` cannot be read: {reason.lower()}", span=at)) from None


def manifests_in(folder: str) -> list[str]:
    """The names of the YAML files in a folder, in order; none if it cannot be read."""
    try:
        return sorted(name for name in os.listdir(folder or ".") if name.endswith(SUFFIXES))
    except OSError:
        return []


def _near(path: str) -> str | None:
    """The file that a person probably meant: the other suffix, or a similar name in the same folder."""
    folder, name = os.path.split(path)
    # Names are compared without their suffix, which would make any two of them alike.
    paths = {os.path.splitext(one)[0]: os.path.join(folder, one) for one in manifests_in(folder)}
    stem = os.path.splitext(name)[0]
    near = stem if stem in paths else nearest(stem, paths)
    if near is not None:
        return f"did you mean `{paths[near]}`?"
    return None


def _if_selector(path: str) -> str | None:
    return None if path.endswith(SUFFIXES) else "the manifest, a YAML file, comes first; selectors come after it"


def _from_above(path: str) -> str | None:
    """The file here or below that was written as from a folder above: `tiny/m.yaml` where the folder is `tiny/`."""
    parts = [] if os.path.isabs(path) else os.path.normpath(path).split(os.sep)
    ends = ("/".join(parts[number:]) for number in range(1, len(parts)))
    here = next((end for end in ends if os.path.isfile(end)), None)
    return None if here is None else f"did you mean `{here}`?"


def _for_folder(path: str) -> str:
    names = manifests_in(path)
    if names:
        shown = ", ".join(f"`{os.path.join(path, name)}`" for name in names[:_LISTED])
        return f"name a file in it: {shown}{' …' if len(names) > _LISTED else ''}"
    inside = [name for name in os.listdir(path) if name == "config.json" or name.endswith(_ONNX)]
    if inside:
        return example_for("local" if "config.json" in inside else "onnx", path)
    return "name a YAML file that begins with `onnxbuild: 1`"


def _is_model(path: str, at: Span | None) -> Diagnostic:
    message = f"`{path}` is a model: a manifest is a YAML file that names it"
    hint = example_for("onnx", path) if path.endswith(_ONNX) else example_for("local", os.path.dirname(path) or ".")
    return fault("OB050", message, span=at, hint=hint)


def example_for(scheme: str, path: str) -> str:
    """A manifest for a model, as a hint: the shortest that builds something."""
    stem = os.path.splitext(os.path.basename(os.path.abspath(path)))[0]
    name = re.sub(r"[^A-Za-z0-9._-]+|^[._-]+", "-", stem).strip("-.") or "model"
    return "\n".join(
        (
            "write this to a file such as `models.yaml`:",
            "  onnxbuild: 1",
            "  targets: {int8: {quantize: int8}}",
            f'  models: {{{name}: {{source: "{scheme}:{path}", targets: [int8]}}}}',
        )
    )
