"""The files of an artifact in a registry of containers, for publishing there and for the comparison before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from onnxbuild.publishing.bucket_files import AbsentError
from onnxbuild.publishing.difference import Difference, RemoteFile, difference
from onnxbuild.publishing.other_publication import other_publication
from onnxbuild.publishing.sha256_sums import sha256_of_bytes
from onnxbuild.publishing.uploaded_files import ACCOUNT, SUMS, Listing, Upload, listed

TITLE = "org.opencontainers.image.title"
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_ABSENT = 404
_LARGEST = 16 << 20  # bytes of a list, and of a description


def opened_registry(image: str) -> tuple[Any, Any]:
    """The registry of oras with the user's login, and the container of an image. Errors: AbsentError without oras."""
    try:
        import oras.client
    except ImportError:
        raise AbsentError("oras") from None
    host = image.partition("/")[0]
    registry = oras.client.OrasClient(hostname=host, insecure=host.partition(":")[0] in _LOOPBACK)
    container = registry.get_container(image)
    registry.auth.load_configs(container)
    return registry, container


def compared_artifact(registry: Any, container: Any, upload: Upload) -> Difference:
    """The difference of an upload from the artifact that the tag names now, all of which the upload replaces.

    Errors: as oras raises them.
    """
    layers = _layers(registry, container)
    if layers is None:
        return difference(upload, {}, None)
    there = {title: one for one in layers if (title := _title(one))}
    files = {title: RemoteFile(one["size"], one["digest"].removeprefix("sha256:")) for title, one in there.items()}
    if SUMS not in there or len(there) < len(layers):
        return replace(_replaced(upload, files, None), other="has an artifact that no publish has written")
    is_equal = files[SUMS].equals(upload.files[SUMS])
    sums = upload.files[SUMS].read() if is_equal else _blob(registry, container, there[SUMS])
    changes = _replaced(upload, files, listed(sums))
    if ACCOUNT not in changes.replaced:
        return changes
    return replace(changes, other=other_publication(_blob(registry, container, there[ACCOUNT]), upload))


def _replaced(upload: Upload, there: Mapping[str, RemoteFile], before: Listing | None) -> Difference:
    """The difference, where also the files that no publish has listed are gone afterwards."""
    changes = difference(upload, there, before)
    lost = {name: file.size for name, file in there.items() if name not in {*upload.files, *(before or ())}}
    return replace(changes, deleted={**changes.deleted, **lost}, foreign=(*changes.foreign, *lost))


def _layers(registry: Any, container: Any) -> list[Mapping[str, Any]] | None:
    """The layers of the artifact; None if there is no such tag."""
    url = f"{registry.prefix}://{container.manifest_url()}"
    types = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"
    answer = registry.do_request(url, "GET", headers={"Accept": types})
    if answer.status_code == _ABSENT:
        return None
    registry._check_200_response(answer)  # noqa: SLF001 - it raises with what the registry says
    return list(answer.json().get("layers", ()))


def _title(layer: Mapping[str, Any]) -> str:
    return str((layer.get("annotations") or {}).get(TITLE) or "")


def _blob(registry: Any, container: Any, layer: Mapping[str, Any]) -> bytes:
    """The content of a small layer. Errors: ValueError for one that is too large, or that has another digest."""
    digest = layer["digest"]
    if layer["size"] > _LARGEST:
        raise ValueError(f"the layer {digest} has {layer['size']:,} bytes, which no list of onnxbuild has")
    answer = registry.get_blob(container, digest)
    registry._check_200_response(answer)  # noqa: SLF001
    content = bytes(answer.content)
    if f"sha256:{sha256_of_bytes(content)}" != digest:
        raise ValueError(f"the registry sends other content for {digest}")
    return content
