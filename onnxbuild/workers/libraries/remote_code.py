"""A checkpoint's own Python code: runs only where the manifest allows it, in a temporary folder, without a prompt."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from onnxbuild.protocol import Facts, Tell
from onnxbuild.steps.kind import OpeningParams

P = TypeVar("P", bound=OpeningParams)
Folders = Mapping[str, Path]

_PREFIX = "transformers_modules"


@contextmanager
def remote_code(*, allowed: bool) -> Iterator[None]:
    """Inside, transformers copies and imports a checkpoint's code in a temporary folder, which is then removed.

    Its shared cache (`~/.cache/huggingface/modules`) names modules after the last folder of a path, which is the same
    for every checkpoint here.
    """
    if not allowed:
        yield
        return
    from transformers import dynamic_module_utils

    before, path = dynamic_module_utils.HF_MODULES_CACHE, list(sys.path)
    with TemporaryDirectory(prefix="onnxbuild-code-") as scratch:
        dynamic_module_utils.HF_MODULES_CACHE = str(Path(scratch))
        _forget()
        try:
            yield
        finally:
            dynamic_module_utils.HF_MODULES_CACHE = before
            sys.path[:] = path
            _forget()


def with_its_code(run: Callable[[P, Folders, Folders, Tell], Facts]) -> Callable[[P, Folders, Folders, Tell], Facts]:
    """A worker's `run` inside `remote_code`, as its params allow."""

    @wraps(run)
    def inside(params: P, inputs: Folders, outputs: Folders, progress: Tell) -> Facts:
        with remote_code(allowed=params.trusts_code):
            return run(params, inputs, outputs, progress)

    return inside


def _forget() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == _PREFIX]:
        del sys.modules[name]
