"""Publishing with huggingface_hub 2, in a worker of an environment of its own, to a Hub on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import HubServer
from newer_clients import HUB, runner_with
from toolchain5 import Workers

from onnxbuild.protocol import Failure
from onnxbuild.steps.publish import PublishParams

pytestmark = pytest.mark.heavy

TOKEN = "hf_" + "n" * 31
FILES = {"config.json": b'{"a": 1}', "onnx/model.onnx": b"graph" * 1009}


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        server.users[TOKEN] = {"name": "me", "role": "write"}
        yield server


def test_the_first_publish_sends_everything_and_the_next_only_what_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: HubServer
) -> None:
    package = tmp_path / "package"
    (package / "onnx").mkdir(parents=True)
    for name, content in FILES.items():
        (package / name).write_bytes(content)
    for name, value in {"HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home")}.items():
        monkeypatch.setenv(name, value)
    workers = Workers(tmp_path / "work", HUB, runner_with(HUB), network=True)

    def publish() -> dict[str, Any]:
        params = PublishParams(hub="me/model", license="mit", endpoint=hub.endpoint)
        facts, _ = workers.run("onnxbuild.workers.publish.worker:run", params, "receipt", package=package)
        assert not isinstance(facts, Failure), facts
        return dict(facts)

    try:
        first, again = publish(), publish()
        (package / "config.json").write_bytes(b'{"a": 7}')
        last = publish()
    finally:
        workers.close()
    assert (first["added"], again["changed_bytes"], again["commit"]) == (4, 0, first["commit"])
    assert (last["added"], last["replaced"], last["unchanged"]) == (0, 2, 2)  # the file, and the list of digests
    repository = hub.repos["me/model"]
    assert repository["refs"]["main"] == last["commit"]
    files = repository["commits"][last["commit"]]
    assert {name: files[name] for name in FILES} == {**FILES, "config.json": b'{"a": 7}'}
    assert {first["tag"], last["tag"]} <= repository["tags"]
