import json
import os
import subprocess
import sys
import urllib.error
from email.message import Message
from pathlib import Path

import msgspec
import pytest
from hub_server import HubServer

from onnxbuild.diagnostics import DiagnosticError
from onnxbuild.planning import hub as hub_module
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


@pytest.fixture
def without_a_hub():
    """An address at which nobody answers."""
    with HubServer() as server:
        return server.endpoint


def test_a_server_that_cannot_be_reached_is_tried_four_times(without_a_hub):
    waits = []
    with pytest.raises(DiagnosticError) as raised:
        Hub(f"{without_a_hub}/", sleep=waits.append).resolve("org/bert", "main")
    (found,) = raised.value.diagnostics
    assert waits == [1.0, 2.0, 4.0]
    assert found.message.startswith(f"`hub:org/bert@main` cannot be resolved: {without_a_hub} cannot be reached: ")
    assert found.notes == (("hint", "without a network, use `local:` or a lock file that holds this source"),)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_the_last_of_four_tries_counts(hub, status):
    hub.add("org/bert", FILES)
    hub.failures = [status] * 3
    assert ask(hub, "org/bert")[1] == [1.0, 2.0, 4.0]


@pytest.mark.parametrize("status", [400, 410, 501])
def test_a_refusal_that_stays_is_not_tried_again(hub, status):
    hub.failures = [status, status]
    assert words(hub, "org/bert")[1].startswith(f"`hub:org/bert@main` cannot be resolved: <hub> answered {status} ")
    assert hub.failures == [status]


@pytest.mark.parametrize(
    ("header", "attempt", "wait"),
    [(None, 1, 1.0), (None, 3, 4.0), ("7", 1, 7.0), ("30", 1, 30.0), ("31", 1, 30.0), ("0", 2, 0.0),
     ("Wed, 21 Oct 2026 07:28:00 GMT", 2, 2.0), ("-1", 1, 1.0), ("", 2, 2.0)],
)  # fmt: skip
def test_a_server_says_how_long_to_wait_within_bounds(header, attempt, wait):
    assert hub_module._retry_after(header, attempt) == wait


WITHOUT_TOKEN = "it is private, gated or misspelt: set HF_TOKEN to a token with read access"


@pytest.mark.parametrize(
    ("status", "code", "message", "hint"),
    [
        (404, "", "the repository does not exist", "check the name; a private repository needs HF_TOKEN"),
        (401, "RepoNotFound", "the repository does not exist", "check the name; a private repository needs HF_TOKEN"),
        (404, "RevisionNotFound", "the repository has no revision `v1`", None),
        (401, "", "access was refused (401)", WITHOUT_TOKEN),
        (403, "", "access was refused (403)", WITHOUT_TOKEN),
        (418, "", "http://hub.example answered 418 no", "try again later"),
    ],
)  # fmt: skip
def test_each_refusal_has_its_words(status, code, message, hint):
    headers = Message()
    if code:
        headers["X-Error-Code"] = code
    refusal = urllib.error.HTTPError("http://hub.example", status, "no", headers, None)
    with refusal:
        (found,) = Hub("http://hub.example")._refused(refusal, "datasets/org/rows", "v1").diagnostics
    assert (found.code, found.message) == ("OB110", f"`hub:org/rows@v1` cannot be resolved: {message}")
    assert found.notes == ((("hint", hint),) if hint else ())


@pytest.mark.parametrize(
    ("variables", "endpoint", "token"),
    [
        ({}, "https://huggingface.co", None),
        ({"HF_ENDPOINT": "", "HF_TOKEN": ""}, "https://huggingface.co", None),
        ({"HF_ENDPOINT": "https://hub.example/", "HF_TOKEN": "t"}, "https://hub.example", "t"),
    ],
)
def test_the_environment_names_the_hub_and_the_token(monkeypatch, variables, endpoint, token):
    for name in ("HF_ENDPOINT", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = Hub.from_environment()
    assert (found.endpoint, found._token) == (endpoint, token)


def test_what_is_asked_for_is_quoted_in_the_address(hub):
    commit = hub.add("org/bert", FILES, revision="refs/pr/1?x")
    assert ask(hub, "org/bert", "refs/pr/1?x")[0].commit == commit
    assert hub.requests == [
        "GET /api/models/org/bert/revision/refs%2Fpr%2F1%3Fx", f"GET /org/bert/resolve/{commit}/config.json",
    ]  # fmt: skip
    assert hub.tokens_seen == [None, None]


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ({"labels": ["x"] * 32, "names": {str(i): i for i in range(32)}}, {"labels", "names"}),
        ({"labels": ["x"] * 33, "names": {str(i): i for i in range(33)}, "text": "x" * 33}, {"text"}),
    ],
)
def test_of_a_config_only_long_tables_are_left_out(hub, written, kept):
    hub.add("org/bert", {"config.json": json.dumps(written).encode()})
    assert ask(hub, "org/bert")[0].config == {name: written[name] for name in kept}


@pytest.mark.parametrize("text", ["[]", "1", '"x"', "null"])
def test_a_config_that_is_no_object_counts_as_none(hub, text):
    hub.add("org/bert", {"config.json": text.encode()})
    assert ask(hub, "org/bert")[0].config is None


@pytest.mark.parametrize("text", ["{", "[" * 100_000])
def test_a_config_that_is_no_json_is_a_fault(hub, text):
    commit = hub.add("org/bert", {"config.json": text.encode()})
    path = f"/org/bert/resolve/{commit}/config.json"
    message = f"`hub:org/bert@main` cannot be resolved: the answer of `<hub>{path}` is not JSON"
    assert words(hub, "org/bert") == ("OB110", message, ())


@pytest.mark.parametrize(
    ("endpoint", "message", "hint"),
    [
        ("nonsense", "`nonsense` is not the address of a server", "see HF_ENDPOINT"),
        ("file://x/y", "`file://x/y` is not the address of a server", "see HF_ENDPOINT"),
        ("http://a:b@hub", "the address in HF_ENDPOINT has a user or a password", "use HF_TOKEN"),
    ],
)
def test_the_words_about_an_endpoint(endpoint, message, hint):
    with pytest.raises(DiagnosticError) as raised:
        Hub(endpoint).resolve("org/bert", "main")
    (found,) = raised.value.diagnostics
    assert found.message == f"`hub:org/bert@main` cannot be resolved: {message}"
    assert found.notes == (("hint", hint),)


def test_the_config_of_an_adapter_is_kept_where_there_is_one(hub):
    config = {"peft_type": "LORA", "base_model_name_or_path": "org/bert", "target_modules": ["query"]}
    files = {"adapter_config.json": json.dumps(config).encode(), "adapter_model.safetensors": b"w"}
    hub.add("me/lora", files)
    hub.add("org/bert", FILES)
    found, _ = ask(hub, "me/lora", "main")
    assert (found.adapter, found.config, found.files) == (config, None, tuple(files))
    assert "adapter" not in msgspec.to_builtins(ask(hub, "org/bert", "main")[0])
