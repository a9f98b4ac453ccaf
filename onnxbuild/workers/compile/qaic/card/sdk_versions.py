"""The versions of an installed Cloud AI SDK: it writes them to files, and its programs are not asked."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from msgspec import Struct

from onnxbuild.needs.devices import CARD_TOOL
from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.compiling.compiled_record import CompiledRecord
from onnxbuild.tables.compiling.cloud_ai_sdks import SDKS

UNKNOWN = "unknown"  # of a compiler without an SDK around it

_VERSION = re.compile(rb"<base_version>\s*([\w.+-]+)\s*</base_version>")
_RELEASE = re.compile(r"\d+\.\d+")
_READ_BYTES = 1 << 16


class SdkVersions(Struct, frozen=True):
    """What the files say: `apps` has the compiler, `platform` the runtime. None without the file, or without a word."""

    apps: str | None = None
    platform: str | None = None


def sdk_versions(program: str) -> SdkVersions:
    """The versions of the SDK that a program on the PATH is part of: `/opt/qti-aic/versions` for its default place."""
    place = shutil.which(program)
    if place is None:
        return SdkVersions()
    folder = Path(os.path.realpath(place)).parent.parent / "versions"
    return SdkVersions(_written(folder / "apps.xml"), _written(folder / "platform.xml"))


def check_compiler(program: str, sdk: str, versions: SdkVersions) -> None:
    """Check that a compiler is the one whose command line is written. Errors: CheckFailed OBE244.

    The version of a later SDK than onnxbuild knows is accepted, since no manifest could name it.
    """
    here = release_of(versions.apps)
    if here in SDKS and here != sdk:
        message = f"`{program}` is of the Cloud AI SDK {versions.apps}, and the target asks for {sdk}"
        hint = f'write `sdk: "{here}"`, or put the compiler of {sdk} first on the PATH'
        raise CheckFailed("OBE244", message, notes=[("hint", hint)])


def check_program(record: CompiledRecord) -> None:
    """Check that a compiled program is of the release that is installed here. Errors: CheckFailed OBE233.

    Where no SDK is installed, or nobody knows which one has compiled, nothing can be said.
    """
    made_by = release_of(record.compiler.version)
    here = sdk_versions(CARD_TOOL).platform or sdk_versions(record.compiler.name).apps
    if record.state == "compiled" and made_by is not None and release_of(here) not in {None, made_by}:
        message = f"the program is of the Cloud AI SDK {record.compiler.version}, and {here} is installed"
        raise CheckFailed("OBE233", message, notes=[("hint", "compile it again, or install that version")])


def release_of(version: str | None) -> str | None:
    """`1.22` of `1.22.0.70`; None for a version that is unknown."""
    match = _RELEASE.match(version or "")
    return match[0] if match else None


def _written(path: Path) -> str | None:
    """The version in a file of the SDK."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        match = _VERSION.search(file.read(_READ_BYTES))
    return match[1].decode("ascii") if match else None
