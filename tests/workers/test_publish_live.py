"""Publishing to the Hub itself: a private repository of the token's owner, which is deleted at the end.

It runs where HF_TOKEN is set to a token with write access, and the Hub can be reached.
"""

from __future__ import annotations

import os
import secrets

import pytest

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(not os.environ.get("HF_TOKEN", "").startswith("hf_"), reason="HF_TOKEN is not set"),
]


@pytest.fixture
def repository(monkeypatch):
    import huggingface_hub
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    api = huggingface_hub.HfApi(token=os.environ["HF_TOKEN"])
    name = f"{api.whoami()['name']}/onnxbuild-test-{secrets.token_hex(4)}"
    yield api, name
    api.delete_repo(name, missing_ok=True)


def test_a_package_arrives_whole_and_only_once(repository, tmp_path):
    from onnxbuild.steps.publish import PublishParams
    from onnxbuild.workers.publish.worker import run

    api, name = repository
    for folder in ("package/onnx", "receipt"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "package" / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "package" / "onnx" / "model.onnx").write_bytes(secrets.token_bytes(70_001))
    params = PublishParams(hub=name, license="mit", tag="v1")
    places = ({"package": tmp_path / "package"}, {"receipt": tmp_path / "receipt"})
    first = run(params, *places, lambda *_: None)
    again = run(params, *places, lambda *_: None)
    assert (first["added"], again["changed_bytes"], again["commit"]) == (4, 0, first["commit"])
    assert api.repo_info(name).private
    assert {one.name for one in api.list_repo_refs(name).tags} == {"v1", first["tag"]}
    path = api.hf_hub_download(name, "onnx/model.onnx", revision="v1", local_dir=tmp_path / "down")
    with open(path, "rb") as file:
        assert file.read() == (tmp_path / "package" / "onnx" / "model.onnx").read_bytes()
