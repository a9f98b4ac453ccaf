"""The Python modules of the Cloud AI platform SDK, which is no distribution: they are found beside its `qaic-util`."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from msgspec import Struct

from onnxbuild.needs.devices import CARD_TOOL
from onnxbuild.needs.step_needs import PROGRAM, is_on_machine
from onnxbuild.protocol import CheckFailed

_RUNTIME, _DESCRIPTIONS = "qaicrt", "QAicApi_pb2"


class SdkModules(Struct, frozen=True):
    """`runtime` loads programs and runs them; `api` decodes what a program says of its inputs and outputs."""

    runtime: Any
    api: Any


def has_card() -> bool:
    """Whether the platform SDK is on the PATH, and finds a card that is ready."""
    return is_on_machine(f"{PROGRAM}{CARD_TOOL}")


def sdk_modules() -> SdkModules:
    """The modules, as Efficient Transformers finds them in `/opt/qti-aic`. Errors: CheckFailed OBE243."""
    tool = shutil.which(CARD_TOOL)
    assert tool is not None, "BUG: a session of a card on a machine without the SDK"
    folder = Path(os.path.realpath(tool)).parents[1] / "dev"
    for place in (folder / "lib" / platform.machine(), folder / "python"):
        if str(place) not in sys.path:
            sys.path.append(str(place))
    try:
        return SdkModules(import_module(_RUNTIME), import_module(_DESCRIPTIONS))
    except ImportError as error:
        message = f"`{CARD_TOOL}` is on the PATH, and Python cannot import the SDK's runtime: {error}"
        hint = f"install the platform SDK for Python {platform.python_version()}, or take `{CARD_TOOL}` off the PATH"
        raise CheckFailed("OBE243", message, notes=[("hint", hint)]) from error
