"""publish: uploads a package, and writes down what is at the destination now."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from onnxbuild.protocol import CheckFailed, Facts, Tell
from onnxbuild.publishing.difference import Difference
from onnxbuild.publishing.uploaded_files import Upload, upload_of
from onnxbuild.steps.publish import PublishParams

RECEIPT = "published.json"


def run(params: PublishParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Upload a package. Facts: what changed, and where it is; the receipt has the digest of each file.

    Errors: CheckFailed OBE200 to OBE209.
    """
    upload = _upload(params, inputs["package"], progress)
    place, changes = _sent(params, upload, progress)
    receipt = {
        "destination": params.place,
        "digest": upload.digest,
        "files": {name: {"sha256": file.sha256, "bytes": file.size} for name, file in upload.files.items()},
    }
    (outputs["receipt"] / RECEIPT).write_text(json.dumps(receipt, indent=2) + "\n", encoding="utf-8")
    return {"destination": params.place, "digest": upload.digest, **_counts(changes), **place}


def _sent(params: PublishParams, upload: Upload, tell: Tell) -> tuple[Facts, Difference]:
    if params.destination == "hub":
        from onnxbuild.workers.publish.hub_repository import publish_to_hub

        return publish_to_hub(params, upload, tell)
    if params.destination == "folder":
        from onnxbuild.workers.publish.plain_folder import publish_to_folder

        return publish_to_folder(Path(params.folder), upload, overwrite=params.overwrite is True)
    if params.destination == "s3":
        from onnxbuild.workers.publish.object_store import publish_to_bucket

        return publish_to_bucket(params.s3, upload, tell, overwrite=params.overwrite is True)
    from onnxbuild.workers.publish.oci_registry import publish_to_registry

    return publish_to_registry(params.oci, upload, tell)


def _upload(params: PublishParams, folder: Path, tell: Tell) -> Upload:
    if params.destination == "hub" and not params.license:
        hint = "write `license:` in `publish:` or in the model"
        raise CheckFailed("OBE203", "the license of the source is unknown", notes=[("hint", hint)])
    tell("computing digests")
    try:
        return upload_of(folder, license=params.license, base_model=params.base_model)
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
