"""publish: uploads a package, and writes down what is at the destination now."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxbuild.protocol import CheckFailed, Facts, Tell
from onnxbuild.publishing.bucket_files import AbsentError
from onnxbuild.publishing.difference import Difference
from onnxbuild.publishing.uploaded_files import SIGNATURE, Upload, upload_of
from onnxbuild.steps.publish import RECEIPT, PublishParams
from onnxbuild.workers.publish.listed_places import publish_listed


def run(params: PublishParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Upload a package. Facts: what changed, and where it is; the receipt has the digest of each file.

    Errors: CheckFailed OBE200 to OBE210.
    """
    _check_client(params, inputs.get("client"))
    texts = _papers(inputs.get("papers"))
    upload = _upload(params, inputs["package"], texts, progress)
    try:
        place, changes = _sent(params, upload, progress)
    except AbsentError as absent:
        facts: dict[str, Any] = {"destination": params.shown, "skipped": f"needs {absent}"}
        _note(facts, outputs)
        return facts
    files = {name: {"sha256": file.sha256, "bytes": file.size} for name, file in upload.files.items()}
    _note({"destination": params.shown, "digest": upload.digest, "files": files}, outputs)
    signed = {"signed": True} if SIGNATURE in texts else {"unsigned": True} if SIGNATURE in changes.deleted else {}
    return {"destination": params.shown, "digest": upload.digest, **signed, **_counts(changes), **place}


def _papers(folder: Path | None) -> Mapping[str, str]:
    """The texts that the run has made about the package, by the name of their file."""
    lines = (folder / "rows.jsonl").read_bytes().splitlines() if folder is not None else ()
    return {row["name"]: row["text"] for row in map(json.loads, lines)}


def _note(receipt: Mapping[str, Any], outputs: Mapping[str, Path]) -> None:
    (outputs["receipt"] / RECEIPT).write_text(json.dumps(receipt, indent=2) + "\n", encoding="utf-8")


def _check_client(params: PublishParams, report: Path | None) -> None:
    """Errors: CheckFailed OBE210 for a package that its client has not opened, unless that is accepted."""
    if report is None or params.unchecked is True:
        return
    skipped = [json.loads(path.read_text(encoding="utf-8")).get("skipped") for path in report.glob("*.json")]
    reason = next((one for one in skipped if one), None)
    if reason is not None:
        hint = "install it, and run again; or accept it with `unchecked: true` in `publish:`"
        raise CheckFailed("OBE210", f"the check with the client was skipped: {reason}", notes=[("hint", hint)])


def _sent(params: PublishParams, upload: Upload, tell: Tell) -> tuple[Facts, Difference]:
    if params.destination == "hub":
        from onnxbuild.workers.publish.hub_repository import publish_to_hub

        return publish_to_hub(params, upload, tell)
    if params.destination == "oci":
        from onnxbuild.workers.publish.oci_registry import publish_to_registry

        return publish_to_registry(params, upload, tell)
    return publish_listed(params, upload, tell)


def _upload(params: PublishParams, folder: Path, texts: Mapping[str, str], tell: Tell) -> Upload:
    if params.destination == "hub" and not params.license:
        hint = "write `license:` in `publish:` or in the model"
        raise CheckFailed("OBE203", "the license of the source is unknown", notes=[("hint", hint)])
    tell("computing digests")
    try:
        return upload_of(folder, texts=texts, license=params.license, base_model=params.base_model or "")
    except ValueError as error:
        hint = "write `license:` in `publish:` as the card has it, or correct the card"
        raise CheckFailed("OBE203", str(error), notes=[("hint", hint)]) from error


def _counts(changes: Difference) -> Facts:
    sizes = {**changes.added, **changes.replaced}
    return {
        "added": len(changes.added),
        "replaced": len(changes.replaced),
        "deleted": len(changes.deleted),
        "unchanged": len(changes.unchanged),
        "changed_bytes": sum(sizes.values()),
    }
