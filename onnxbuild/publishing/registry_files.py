"""The files of an artifact in a registry of containers, for publishing there and for the comparison before it."""

from __future__ import annotations

from typing import Any

from onnxbuild.publishing.bucket_files import AbsentError
from onnxbuild.publishing.difference import RemoteFile

TITLE = "org.opencontainers.image.title"
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_ABSENT = 404


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


def layers_of(registry: Any, container: Any) -> dict[str, RemoteFile]:
    """The files of the artifact that the tag names now; none if there is no such tag. Errors: as oras raises them."""
    url = f"{registry.prefix}://{container.manifest_url()}"
    types = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"
    answer = registry.do_request(url, "GET", headers={"Accept": types})
    if answer.status_code == _ABSENT:
        return {}
    registry._check_200_response(answer)  # noqa: SLF001 - it raises with what the registry says
    found = ((one, (one.get("annotations") or {}).get(TITLE)) for one in answer.json().get("layers", ()))
    return {title: RemoteFile(one["size"], one["digest"].removeprefix("sha256:")) for one, title in found if title}
