"""`onnxbuild provenance`: what a folder was made from, in the formats that other tools read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from onnxbuild.commands.proving.sign import sound
from onnxbuild.commands.workspace import check_output, write_file, write_result
from onnxbuild.deliver.checking.account import Account
from onnxbuild.deliver.checking.folder_check import sha256_of
from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.protocol import json_text
from onnxbuild.regular_files import read_regular

_CONFIG = "config.json"
_MOST_BYTES = 16 << 20


class ProofOptions(Struct, frozen=True, kw_only=True):
    """`builder`: the URI of what runs builds, for a statement; None says that it is not specified."""

    folder: str
    format: Literal["cyclonedx", "slsa"] = "cyclonedx"
    output: str | None = None
    builder: str | None = None
    allow: tuple[str, ...] = ()


def prove(options: ProofOptions) -> int:
    """Write the document about a folder; return the exit code. Errors: DiagnosticError, as of `sound`, and OB016."""
    if options.output is not None:
        check_output(options.output)
    account, text, _ = sound(options.folder, options.allow)
    folder = Path(options.folder)
    try:
        digests = sha256_of(folder, account, text)
    except (OSError, KeyError) as error:  # another process has changed a file since it was checked
        message = f"`{folder}` was changed while it was read: {error}"
        raise DiagnosticError(fault("OB751", message), exit_code=1) from None
    document = json_text(_document(options, account, text, digests), indent=2) + "\n"
    write_result(document, None) if options.output is None else write_file(document, options.output)
    return 0


def _document(options: ProofOptions, account: Account, text: bytes, digests: Mapping[str, str]) -> dict[str, Any]:
    if options.format == "cyclonedx":
        from onnxbuild.report.proofs.cyclonedx_bom import bom

        return bom(account, text, digests, _config(Path(options.folder), account))
    from onnxbuild.report.proofs.slsa_statement import BUILDER, statement

    return statement(account, text, digests, options.builder or BUILDER)


def _config(folder: Path, account: Account) -> Mapping[str, Any]:
    """The config.json of a model, if it is one of the listed files and can be read."""
    try:
        value = json.loads(read_regular(folder / _CONFIG, _MOST_BYTES)) if _CONFIG in account.files else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
