"""A Triton server, where there is one, asked with tritonclient: at `TRITON_URL`, or the program `tritonserver`."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from onnxbuild.protocol import CheckFailed
from onnxbuild.workers.package.client_checks import unopened

URL = "TRITON_URL"
PROGRAM = "tritonserver"

_LOG = "tritonserver.txt"
_SECONDS = 600
_WIRE_TYPES: Mapping[str, str] = {
    "bool": "BOOL", "int32": "INT32", "int64": "INT64", "float16": "FP16", "float32": "FP32", "object": "BYTES",
}  # fmt: skip


def has_server() -> bool:
    """Whether there is a server to ask."""
    return bool(os.environ.get(URL)) or shutil.which(PROGRAM) is not None


@contextmanager
def triton_client(models: Path) -> Iterator[Any]:
    """A client of a server that has these models. Errors: CheckFailed OBE191 for a server that is not ready."""
    url = os.environ.get(URL)
    if url:
        yield _client(url)
        return
    port = _free_port()
    log = Path(_LOG).absolute()  # in the action's own folder
    command = [str(shutil.which(PROGRAM)), "--model-repository", str(models), "--http-address", "127.0.0.1",
               "--http-port", str(port), "--allow-grpc", "false", "--allow-metrics", "false"]  # fmt: skip
    with log.open("wb") as writing:
        server = subprocess.Popen(command, stdout=writing, stderr=writing)
    try:
        client = _client(f"127.0.0.1:{port}")
        _wait(client, server, log)
        yield client
    finally:
        server.terminate()
        server.wait()


def _client(url: str) -> Any:
    from tritonclient.http import InferenceServerClient

    scheme, _, rest = url.rpartition("://")
    return InferenceServerClient(rest.rstrip("/"), ssl=scheme == "https")


def _wait(client: Any, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _SECONDS
    while not _is_ready(client):
        if server.poll() is not None or time.monotonic() > deadline:
            print(log.read_text(encoding="utf-8", errors="replace"))
            raise CheckFailed("OBE191", "tritonserver does not load the repository")
        time.sleep(0.2)


def _is_ready(client: Any) -> bool:
    try:
        return bool(client.is_server_ready())
    except OSError:
        return False


def version_of(client: Any) -> str:
    """What the server says of itself."""
    about = client.get_server_metadata()
    return f"{about.get('name', 'Triton')} {about.get('version', '')}".strip()


def asked(client: Any, model: str, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What a model of the server returns. Errors: CheckFailed OBE191 for a model that is not there or refuses."""
    from tritonclient.utils import InferenceServerException

    try:
        if not client.is_model_ready(model):
            client.load_model(model)
        result = client.infer(model, [_input(name, array) for name, array in feeds.items()])
    except (InferenceServerException, OSError) as error:
        raise unopened("the Triton server", model, error) from error
    return {one["name"]: result.as_numpy(one["name"]) for one in result.get_response()["outputs"]}


def _input(name: str, array: np.ndarray) -> Any:
    from tritonclient.http import InferInput

    value = InferInput(name, list(array.shape), _WIRE_TYPES[array.dtype.name])
    value.set_data_from_numpy(np.ascontiguousarray(array))
    return value


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
