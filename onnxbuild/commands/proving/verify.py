"""`onnxbuild verify`: whether folders are what a build has written, and whether somebody known has signed them."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from msgspec import Struct

from onnxbuild.deliver.checking.account import Account, account_of
from onnxbuild.deliver.checking.folder_check import Checked, check_folder
from onnxbuild.deliver.checking.folder_signature import Signed, check_signature
from onnxbuild.diagnostics import Diagnostic, DiagnosticError, fault
from onnxbuild.printable import printable
from onnxbuild.protocol import json_text
from onnxbuild.report.render_diagnostics import show

_FAILED = 1


class VerifyOptions(Struct, frozen=True, kw_only=True):
    """`trust`: files of public keys. `allow`: patterns of files that may be added. `places`: of local sources."""

    folders: tuple[str, ...]
    trust: tuple[str, ...] = ()
    require_signature: bool = False
    allow: tuple[str, ...] = ()
    revalidate: bool = False
    places: tuple[str, ...] = ()
    offline: bool = False
    as_json: bool = False


class Verdict(Struct, frozen=True, kw_only=True):
    """What is known of one folder in the end."""

    folder: str
    account: Account | None = None
    checked: Checked | None = None
    signed: Signed | None = None
    faults: tuple[Diagnostic, ...] = ()
    revalidated: tuple[str, ...] = ()  # the checks that ran again, and passed

    @property
    def is_right(self) -> bool:
        """Whether there is no error."""
        return all(one.severity != "error" for one in self.faults)


def verify(options: VerifyOptions) -> int:
    """Print a line per folder, and a message for each fault; return 0 only if all is right.

    Errors: DiagnosticError OB754 for a key that cannot be used.
    """
    with tempfile.TemporaryDirectory(prefix="onnxbuild-verify-") as work:
        verdicts = [_verdict(folder, options, Path(work)) for folder in options.folders]
    if options.as_json:
        print(json_text([_as_json(one) for one in verdicts]))
    else:
        for one in verdicts:
            if one.is_right:
                print(_line(one))
        show([one for verdict in verdicts for one in verdict.faults], sys.stderr)
    return 0 if all(one.is_right for one in verdicts) else _FAILED


def _verdict(folder: str, options: VerifyOptions, work: Path) -> Verdict:
    try:
        account, _ = account_of(Path(folder))
    except DiagnosticError as error:
        return Verdict(folder=folder, faults=tuple(error.diagnostics))
    checked = check_folder(Path(folder), account, options.allow)
    faults = list(differences(folder, checked))
    signed = None if faults else check_signature(Path(folder), account, options.trust)
    faults += _of_signature(folder, signed, options)
    passed: tuple[str, ...] = ()
    if options.revalidate and not any(one.severity == "error" for one in faults):
        from onnxbuild.commands.proving.check_again import check_again

        is_signed = signed is not None and signed.state == "verified"
        passed, problems = check_again(
            Path(folder), account, options.places, work, offline=options.offline, is_signed=is_signed
        )
        faults += problems
    return Verdict(
        folder=folder, account=account, checked=checked, signed=signed, faults=tuple(faults), revalidated=passed
    )


def differences(folder: str, checked: Checked) -> Iterator[Diagnostic]:
    """OB751 for each file that is not as it was written."""
    for problem in checked.problems:
        hint = "`--allow PATTERN` permits files that are not listed" if problem.kind == "added" else None
        place = str(Path(folder) / problem.name)
        yield fault("OB751", f"`{_one_line(place)}` {problem.words}", hint=hint)


def _of_signature(folder: str, signed: Signed | None, options: VerifyOptions) -> Iterator[Diagnostic]:
    required = options.require_signature or bool(options.trust)
    if signed is None:  # the files are wrong: a signature of them would say nothing
        return
    if signed.state == "none" and required:
        hint = f"get it with its signature from its signer, or sign it: {_sign(folder)}"
        yield fault("OB752", f"`{folder}` has no signature", hint=hint)
    elif signed.state == "refused":
        message = f"the signature of `{folder}` is refused: {_one_line(signed.reason or '')}"
        yield fault("OB752", message, hint=_way_out(folder, signed))
    elif signed.state == "unchecked":
        hint = "name the public key of its signer: `--trust FILE`"
        severity: Any = "error" if required else "warning"
        yield fault("OB753", f"the signature of `{folder}` was not checked", hint=hint, severity=severity)


def _way_out(folder: str, signed: Signed) -> str:
    if signed.is_of_other_key:
        return f"name the public key of its signer: `--trust FILE`, or sign it with your key: {_sign(folder)}"
    return f"if the folder is yours, sign it again: {_sign(folder)}; if not, get it again from its signer"


def _sign(folder: str) -> str:
    return f"`onnxbuild sign {quote(folder)} --key FILE`"


def _one_line(text: str) -> str:
    return printable(text).replace("\n", "\\n")


def _line(one: Verdict) -> str:
    assert one.account is not None, "BUG: a folder that is right has an account"
    assert one.signed is not None, "BUG: the signature of files that are right was looked at"
    words = {"none": "not signed", "unchecked": "signature not checked", "verified": f"signed by {one.signed.key}"}
    count = len(one.account.files)
    again = f", passed again: {', '.join(one.revalidated)}" if one.revalidated else ""
    files = f"{count:,} file{'' if count == 1 else 's'} as built"
    return f"{one.folder}: {_one_line(one.account.name)}, {files}, {words[one.signed.state]}{again}"


def _as_json(one: Verdict) -> dict[str, Any]:
    problems: Sequence[Any] = one.checked.problems if one.checked is not None else ()
    return {
        "folder": printable(one.folder),
        "ok": one.is_right,
        "model": one.account.model if one.account is not None else None,
        "target": one.account.target if one.account is not None else None,
        "files": len(one.account.files) if one.account is not None else 0,
        "added": [printable(name) for name in one.checked.added] if one.checked is not None else [],
        "problems": [
            {"name": printable(one.name), "kind": one.kind, "message": printable(one.words)} for one in problems
        ],
        "signature": {"state": one.signed.state, "key": one.signed.key} if one.signed is not None else None,
        "revalidated": list(one.revalidated),
        "diagnostics": [
            {"code": fault.code, "severity": fault.severity, "message": printable(fault.message)}
            for fault in one.faults
        ],
    }
