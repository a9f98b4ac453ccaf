"""Publishes to a registry of containers: an OCI artifact with one layer for each file, pushed by oras.

The manifest goes last, and a registry keeps blobs by digest. So a tag names the old artifact or the whole new one, and
what was uploaded before a cut is not sent again. `oras pull` restores the names of the files from their titles.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from onnxbuild.protocol import CheckFailed, Facts, Tell
from onnxbuild.publishing.bucket_files import AbsentError
from onnxbuild.publishing.difference import Difference
from onnxbuild.publishing.registry_files import TITLE, compared_artifact, opened_registry
from onnxbuild.publishing.sha256_sums import sha256_of_bytes
from onnxbuild.publishing.uploaded_files import LocalFile, Upload
from onnxbuild.steps.publish import PublishParams
from onnxbuild.workers.publish.others_files import check_others

ARTIFACT = "application/vnd.onnxbuild.package.v1"
_TYPES = {".json": "application/json", ".md": "text/markdown", ".txt": "text/plain"}
_EMPTY = b"{}"  # the config of an artifact that has none
_WHOLE = 256 << 20  # bytes up to which a blob is sent at once: oras reads it into memory


def publish_to_registry(params: PublishParams, upload: Upload, tell: Tell) -> tuple[Facts, Difference]:
    """Push what the registry lacks, and the manifest.

    Errors: CheckFailed OBE201, OBE205, OBE207; AbsentError without oras.
    """
    try:
        import oras.auth
    except ImportError:
        raise AbsentError("oras") from None
    try:
        return _pushed(params, upload, tell)
    except (OSError, ValueError, oras.auth.AuthenticationException) as error:
        denied = isinstance(error, oras.auth.AuthenticationException) or "authentication" in str(error)
        hint = "log in with `oras login` or `docker login`" if denied else "run it again: blobs that arrived are kept"
        message = f"the registry of {params.oci} does not take the artifact: {error}"
        code = "OBE201" if denied else "OBE207"
        raise CheckFailed(code, message, notes=[("hint", hint)], transient=not denied) from error


def _pushed(params: PublishParams, upload: Upload, tell: Tell) -> tuple[Facts, Difference]:
    registry, container = opened_registry(params.oci)
    changes = compared_artifact(registry, container, upload)
    check_others(params, changes)
    if changes.is_empty:
        return {"url": f"oci://{params.oci}"}, changes
    layers = [_layer(name, file) for name, file in upload.files.items()]
    for number, (layer, file) in enumerate(zip(layers, upload.files.values(), strict=True)):
        tell(f"uploading {layer['annotations'][TITLE]}", number, len(layers))
        _put(registry, container, layer, file)
    _push_manifest(registry, container, upload, layers)
    return {"url": f"oci://{params.oci}"}, changes


def _layer(name: str, file: LocalFile) -> dict[str, Any]:
    kind = _TYPES.get(Path(name).suffix, "application/octet-stream")
    return {"mediaType": kind, "size": file.size, "digest": f"sha256:{file.sha256}", "annotations": {TITLE: name}}


def _put(registry: Any, container: Any, layer: dict[str, Any], file: LocalFile) -> None:
    """Upload one blob, unless the registry has it."""
    with tempfile.TemporaryDirectory(prefix="onnxbuild-publish-") as folder:
        path = file.path
        if file.content is not None:
            path = str(Path(folder) / "content")
            Path(path).write_bytes(file.content)
        large = file.size > _WHOLE
        answer = registry.upload_blob(path, container, layer, do_chunked=large)
    registry._check_200_response(answer)  # noqa: SLF001


def _push_manifest(registry: Any, container: Any, upload: Upload, layers: list[dict[str, Any]]) -> None:
    import oras.oci

    digest = sha256_of_bytes(_EMPTY)
    config = {"mediaType": "application/vnd.oci.empty.v1+json", "size": len(_EMPTY), "digest": f"sha256:{digest}"}
    _put(registry, container, config, LocalFile(len(_EMPTY), digest, "", content=_EMPTY))
    manifest = oras.oci.NewManifest()
    manifest["artifactType"] = ARTIFACT
    manifest["config"], manifest["layers"] = config, layers
    manifest["annotations"] = {"io.onnxbuild.digest": upload.digest}
    registry._check_200_response(registry.upload_manifest(manifest, container))  # noqa: SLF001
