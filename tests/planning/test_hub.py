import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub_server import HubServer

from onnxbuild.diagnostics import DiagnosticError
from onnxbuild.planning.hub import Hub

FILES = {
    "README.md": b"hello",
    "config.json": json.dumps({"model_type": "bert", "id2label": {str(i): "x" for i in range(1000)}}).encode(),
    "model.safetensors": b"weights",
    "1_Pooling/config.json": b"{}",
}


@pytest.fixture
def hub():
    with HubServer() as server:
        yield server


def ask(server, repo, revision="main", token=None):
    waits = []
    return Hub(server.endpoint, token, sleep=waits.append).resolve(repo, revision), waits


def words(server, *args, **more):
    with pytest.raises(DiagnosticError) as raised:
        ask(server, *args, **more)
    (found,) = raised.value.diagnostics
    return found.code, found.message.replace(server.endpoint, "<hub>"), found.notes


def test_a_revision_becomes_a_commit(hub):
    commit = hub.add("org/bert", FILES)
    hub.add("org/bert", {"config.json": b"{}"}, revision="v2")
    found, waits = ask(hub, "org/bert")
    assert (found.commit, found.files, found.config, waits) == (
        commit,
        tuple(sorted(FILES)),
        {"model_type": "bert"},
        [],
    )
    assert ask(hub, "org/bert", commit)[0].commit == commit
    assert ask(hub, "org/bert", "v2")[0].files == ("config.json",)


def test_a_repository_without_config(hub):
    hub.add("org/graph", {"model.onnx": b""})
    assert ask(hub, "org/graph")[0].config is None


def test_what_passes_is_tried_again(hub):
    hub.add("org/bert", FILES)
    hub.failures = [503, 429]
    assert ask(hub, "org/bert")[1] == [1.0, 2.0]


def test_what_does_not_pass(hub):
    hub.failures = [500] * 4
    assert words(hub, "org/bert") == (
        "OB110",
        "`hub:org/bert@main` cannot be resolved: <hub> answered 500 Internal Server Error",
        (("hint", "try again later"),),
    )


def test_unknown_repository(hub):
    assert words(hub, "org/bert") == (
        "OB110",
        "`hub:org/bert@main` cannot be resolved: the repository does not exist",
        (("hint", "check the name; a private repository needs HF_TOKEN"),),
    )


def test_unknown_revision(hub):
    hub.add("org/bert", FILES)
    assert words(hub, "org/bert", "v9") == (
        "OB110",
        "`hub:org/bert@v9` cannot be resolved: the repository has no revision `v9`",
        (),
    )


def test_gated(hub):
    hub.gated = {"org/bert"}
    hint = "it is gated or misspelt, or the token in HF_TOKEN has no access: request access on its page"
    message = "`hub:org/bert@main` cannot be resolved: access was refused (403)"
    assert words(hub, "org/bert", token="t") == ("OB110", message, (("hint", hint),))


def test_token(hub):
    hub.token = "secret"
    hub.add("org/bert", FILES)
    assert words(hub, "org/bert") == (
        "OB110",
        "`hub:org/bert@main` cannot be resolved: access was refused (401)",
        (("hint", "it is private, gated or misspelt: set HF_TOKEN to a token with read access"),),
    )
    assert ask(hub, "org/bert", token="secret")[0].config == {"model_type": "bert"}


def test_nobody_there():
    with HubServer() as server:
        gone = server.endpoint
    with pytest.raises(DiagnosticError) as raised:
        Hub(gone, sleep=lambda _: None).resolve("org/bert", "main")
    assert "cannot be reached: [Errno" in raised.value.diagnostics[0].message


def test_a_bad_endpoint():
    with pytest.raises(DiagnosticError) as raised:
        Hub("nonsense").resolve("org/bert", "main")
    assert raised.value.diagnostics[0].code == "OB110"


@pytest.mark.heavy
def test_the_server_speaks_to_huggingface_hub(hub, tmp_path):
    commit = hub.add("org/bert", FILES)
    code = "import sys; from huggingface_hub import snapshot_download as s; print(s('org/bert', cache_dir=sys.argv[1]))"
    env = {**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=env, capture_output=True, text=True, check=True, timeout=120
    )
    folder = Path(done.stdout.strip())
    assert folder.name == commit
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == set(FILES)
    assert (folder / "model.safetensors").read_bytes() == b"weights"
