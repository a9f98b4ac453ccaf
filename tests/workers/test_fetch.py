from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from families import FAMILIES, checkpoint, contents, random_params, run_step, scratch, silent, text_folder
from hub_server import HubServer
from hub_uploads import Trouble

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.fetch import FetchParams
from onnxbuild.workers.fetch.worker import run


def source(tmp_path, **files):
    for name, content in files.items():
        path = tmp_path / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path


def test_files_are_copied_and_nothing_else(tmp_path):
    folder = source(tmp_path, config_json="{}", model_safetensors="w" * 1000, sub__config_json="[]", notes_txt="no")
    told = []
    output = scratch()
    params = FetchParams(origin="files", files=("config.json", "model.safetensors", "sub/config.json"))
    facts = run(params, {"files": folder}, {"model": output}, lambda *words: told.append(words))
    assert facts == {"files": 3, "bytes": 1004}
    assert contents(output) == {name: digest for name, digest in contents(folder).items() if name != "notes.txt"}
    assert (output / "config.json").stat().st_ino != (folder / "config.json").stat().st_ino
    assert told[-1] == ("copying sub/config.json", 1004, 1004)


def test_a_file_that_went_away(tmp_path):
    with pytest.raises(CheckFailed) as caught:
        run(FetchParams(origin="files", files=("config.json",)), {"files": tmp_path}, {"model": scratch()}, silent)
    assert str(caught.value) == "OBE16 `config.json` is missing"


def test_no_files_at_all(tmp_path):
    with pytest.raises(CheckFailed) as caught:
        run(FetchParams(origin="files"), {"files": tmp_path}, {"model": scratch()}, silent)
    assert str(caught.value) == "OBE16 nothing was fetched: the list of files is empty"


class Hub(BaseHTTPRequestHandler):
    """The part of the Hub that its client needs: the listing of a revision, and files by name."""

    files: ClassVar[dict[str, bytes]] = {}
    commit = "0123456789abcdef0123456789abcdef01234567"
    token = None

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        if self.token and self.headers.get("Authorization") != f"Bearer {self.token}":
            self.answer(401, b"{}", **{"X-Error-Code": "RepoNotFound"})
        elif self.path.startswith(f"/api/models/me/model/revision/{self.commit}"):
            siblings = [{"rfilename": n, "size": len(b)} for n, b in self.files.items()]
            self.answer(200, json.dumps({"id": "me/model", "sha": self.commit, "siblings": siblings}).encode())
        elif self.path.startswith(f"/me/model/resolve/{self.commit}/"):
            name = self.path.removeprefix(f"/me/model/resolve/{self.commit}/")
            content = self.files[name]
            etag = f'"{hashlib.sha256(content).hexdigest()}"'
            self.answer(200, content, **{"ETag": etag, "X-Repo-Commit": self.commit})
        else:
            self.answer(404, b"{}", **{"X-Error-Code": "RevisionNotFound"})

    def answer(self, status, body, **headers):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@pytest.fixture
def hub():
    handler = type("ThisHub", (Hub,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield handler, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


SCRIPT = """
import json, sys
from pathlib import Path
from typing import ClassVar
from onnxbuild.steps.fetch import FetchParams
from onnxbuild.protocol import CheckFailed
from onnxbuild.workers.failures.exceptions import explain_exception
from onnxbuild.workers.fetch.worker import run
params = FetchParams(origin="hub", repo="me/model", revision=sys.argv[1])
try:
    print(json.dumps(run(params, {}, {"model": Path(sys.argv[2])}, lambda *words: None)))
except CheckFailed as failed:
    print(json.dumps([failed.failure.code, failed.failure.message, failed.failure.transient]))
except Exception as error:
    failure = explain_exception(error, "")
    print(json.dumps([failure.code, failure.message, failure.transient]))
"""


def fetch_from(address, output, revision=Hub.commit, token=""):
    # A separate process: the client reads its settings when it is imported.
    environment = {**os.environ, "HF_ENDPOINT": address, "HF_TOKEN": token, "HF_HOME": str(output.parent / "home")}
    environment.update(HF_HUB_OFFLINE="0", HF_HUB_DISABLE_PROGRESS_BARS="1", PYTHONPATH=os.pathsep.join(sys.path))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, revision, str(output)],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def output(tmp_path):
    (tmp_path / "output").mkdir()
    return tmp_path / "output"


INDEX = "model.safetensors.index.json"


def index_of(*shards):
    return json.dumps({"weight_map": {f"w{n}": name for n, name in enumerate(shards)}}).encode()


def test_a_shard_that_the_index_names_is_copied_or_named(tmp_path):
    (tmp_path / INDEX).write_bytes(index_of("odd name.safetensors", "model-00001-of-00001.safetensors"))
    (tmp_path / "odd name.safetensors").write_bytes(b"w")
    params = FetchParams(origin="files", files=(INDEX, "odd name.safetensors"))
    with pytest.raises(CheckFailed) as caught:
        run(params, {"files": tmp_path}, {"model": scratch()}, silent)
    assert str(caught.value) == f"OBE85 the checkpoint lacks `model-00001-of-00001.safetensors`, which {INDEX} names"


@pytest.mark.heavy
def test_the_shards_of_a_repository_are_those_of_its_index(hub, output):
    handler, address = hub
    shards = {"model-00001-of-00001.safetensors": b"a", "odd/second.safetensors": b"b"}
    handler.files = {"config.json": b"{}", INDEX: index_of(*shards), **shards}
    assert fetch_from(address, output)["files"] == 4
    handler.files = {"config.json": b"{}", INDEX: index_of(*shards, "gone.safetensors"), **shards}
    code, message, transient = fetch_from(address, output.parent / "second")
    assert (code, message) == ("OBE85", f"the checkpoint lacks `gone.safetensors`, which {INDEX} names")
    assert not transient


@pytest.mark.heavy
def test_a_hub_repository_becomes_plain_files(hub, output):
    handler, address = hub
    wanted = {"config.json": b"{}", "model.safetensors": b"w" * 5000, "1_Pooling/config.json": b"{}"}
    handler.files = {**wanted, "pytorch_model.bin": b"p" * 9, "onnx/model.onnx": b"o", "README.md": b"r"}
    assert fetch_from(address, output) == {"files": 3, "bytes": 5004}
    assert {p.relative_to(output).as_posix(): p.read_bytes() for p in output.rglob("*") if p.is_file()} == wanted
    assert not any(path.is_symlink() for path in output.rglob("*"))


@pytest.mark.heavy
def test_what_a_hub_can_answer(hub, output):
    handler, address = hub
    handler.files = {"adapter_model.safetensors": b"w", "README.md": b"r"}
    assert fetch_from(address, output) == ["OBE16", "me/model has no weights that can be used", False]
    gone = "f" * 40
    assert fetch_from(address, output, revision=gone) == ["OBE15", "the repository has no such revision", False]
    handler.token = "secret"
    handler.files = {"config.json": b"{}", "model.safetensors": b"w"}
    refused = ["OBE15", "the repository does not exist, or is private", False]
    assert fetch_from(address, output) == refused
    assert fetch_from(address, output, token="secret") == {"files": 2, "bytes": 3}


@pytest.fixture
def breaking(monkeypatch, output):
    """Fetches from a Hub after troubles with its weights: the files, what was said, and the pauses."""
    from huggingface_hub import constants

    pauses = []
    monkeypatch.setattr("time.sleep", pauses.append)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)  # what arrived of a chunk before a cut is lost
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with HubServer() as server:
        commit = server.add("me/model", {"config.json": b"{}", "model.safetensors": bytes(range(256)) * 1001})
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)

        def fetched(*troubles):
            server.troubles, words = list(troubles), []
            params = FetchParams(origin="hub", repo="me/model", revision=commit)
            run(params, {}, {"model": output}, lambda text, *_: words.append(text))
            return words

        yield server, fetched, pauses


WEIGHTS = "model.safetensors"


@pytest.mark.heavy
def test_a_transfer_that_is_cut_continues_where_it_was(breaking, output):
    server, fetched, pauses = breaking
    weights = f"GET /me/model/resolve/{server.repos['me/model']['refs']['main']}/{WEIGHTS}"
    words = fetched(Trouble(weights, None, half=True), Trouble(weights, None, half=True))
    assert (output / WEIGHTS).read_bytes() == bytes(range(256)) * 1001
    assert [one for one in server.spans if one] == ["bytes=128000-", "bytes=192000-"]
    assert [one for one in words if "trying" in one] == [
        "the transfer was cut; trying again in 1 s", "the transfer was cut; trying again in 2 s"
    ]  # fmt: skip
    assert pauses == [1.0, 2.0]


@pytest.mark.heavy
def test_the_wait_that_the_hub_asks_for_is_kept(breaking, output):
    _, fetched, pauses = breaking
    words = fetched(Trouble("GET /me", 429, {"Retry-After": "77"}), Trouble("GET /api", 429))
    assert sorted(pauses) == [1.0, 77.0]
    assert "the Hub limits the rate of requests; trying again in 77 s" in words
    assert (output / WEIGHTS).stat().st_size == 256 * 1001


@pytest.mark.heavy
def test_a_limit_that_stays_is_named_and_leaves_nothing(breaking, output):
    _, fetched, pauses = breaking
    with pytest.raises(CheckFailed, match="the Hub limits the rate of requests") as caught:
        fetched(*[Trouble(WEIGHTS, 429)] * 9)
    assert (caught.value.failure.code, caught.value.failure.transient) == ("OBE15", False)
    assert pauses == [1.0, 2.0, 4.0, 8.0]
    assert [one.name for one in output.iterdir()] == ["config.json"]


@pytest.mark.heavy
def test_a_hub_that_is_down_may_come_back(output):
    assert fetch_from("http://127.0.0.1:9", output) == ["OBE15", "the Hub could not be reached", True]


@pytest.mark.heavy
def test_equal_seeds_give_equal_bytes():
    again = run_step(run, random_params("gpt2"), text=text_folder())[1]
    assert contents(again) == contents(checkpoint("gpt2"))
    other = run_step(run, random_params("gpt2", seed=1), text=text_folder())[1]
    differing = {name for name, digest in contents(other).items() if contents(again)[name] != digest}
    assert differing == {"model.safetensors"}


@pytest.mark.heavy
@pytest.mark.parametrize("architecture", [name for name, spec in FAMILIES.items() if spec[2]])
def test_tokenizer_and_config_agree(architecture):
    from transformers import AutoConfig, AutoTokenizer

    folder = checkpoint(architecture)
    tokenizer, config = AutoTokenizer.from_pretrained(folder), AutoConfig.from_pretrained(folder)
    text = "A manifest: naïve ☃ models."
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True).strip() == text
    assert config.vocab_size == len(tokenizer)
    assert max(ids) < config.vocab_size
    assert config.pad_token_id == tokenizer.pad_token_id
    assert tokenizer(["a", "a manifest becomes"], padding=True)["attention_mask"][0][-1] == 0
    if architecture in {"gpt2", "t5", "llama"}:
        assert config.eos_token_id == tokenizer.eos_token_id
    if architecture in {"bert", "distilbert"}:
        assert [ids[0], ids[-1]] == [tokenizer.cls_token_id, tokenizer.sep_token_id]
    if architecture == "t5":
        assert ids[-1] == tokenizer.eos_token_id
        assert config.decoder_start_token_id == tokenizer.pad_token_id


@pytest.mark.heavy
@pytest.mark.parametrize("vocabulary", [None, 900])
def test_an_architecture_keeps_its_vocabulary_though_the_tokenizer_is_smaller(vocabulary):
    from transformers import AutoConfig, AutoTokenizer

    small = {"n_embd": 2, "n_layer": 1, "n_head": 1, "n_positions": 4}
    params = random_params("gpt2", config={**small, **({"vocab_size": vocabulary} if vocabulary else {})})
    folder = run_step(run, params, text=text_folder())[1]
    config, tokenizer = AutoConfig.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert config.vocab_size == (vocabulary or 50257)
    assert len(tokenizer) < config.vocab_size
    assert config.eos_token_id == tokenizer.eos_token_id
    text = "a second run"
    assert tokenizer.decode([*tokenizer(text)["input_ids"], config.vocab_size - 1]) == text


@pytest.mark.heavy
def test_without_text_there_is_no_tokenizer():
    names = set(contents(checkpoint("vit")))
    assert names == {"config.json", "model.safetensors", "preprocessor_config.json"}


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "gtp2"}, "OBE02 transformers knows no architecture `gtp2`"),
        ({"config": {"n_layers": 2, "n_hed": 3}}, "OBE02 the config of gpt2 has no `n_layers`"),
        (
            {"config": {"n_embd": 30, "n_head": 4}},
            (
                "OBE02 the config of gpt2 is inconsistent: "
                "`embed_dim` must be divisible by num_heads (got `embed_dim`: 30 and `num_heads`: 4)."
            ),
        ),
        ({"task": "image-classification"}, "OBE02 transformers has no gpt2 for the task `image-classification`"),
        ({"task": "poetry"}, "OBE01 `random:` needs a task that names a head, found `poetry`"),
        (
            {"tokenizer_vocabulary": 100},
            "OBE51 a tokenizer of 100 tokens cannot encode every byte: expected 257 or more",
        ),
    ],
)
def test_a_random_model_that_cannot_be(changes, message):
    architecture = changes.pop("architecture", "gpt2")
    task, config, vocabulary = FAMILIES["gpt2"]
    fields = {"task": task, "config": config, "tokenizer_vocabulary": vocabulary, **changes}
    with pytest.raises(CheckFailed) as caught:
        run(
            FetchParams(origin="random", architecture=architecture, **fields),
            {"text": text_folder()},
            {"model": scratch()},
            silent,
        )
    assert str(caught.value) == message


@pytest.mark.heavy
def test_a_random_model_that_is_too_large_is_a_lack_of_memory():
    from onnxbuild.workers.failures.exceptions import explain_exception

    params = random_params(
        "bert", config={"hidden_size": 48, "num_attention_heads": 4, "vocab_size": 10**13}, tokenizer_vocabulary=0
    )
    with pytest.raises(RuntimeError, match="allocate memory") as caught:
        run(params, {}, {"model": scratch()}, silent)
    assert explain_exception(caught.value, "").code == "OBE05"


@pytest.mark.heavy
def test_no_text_to_train_on(tmp_path: Path):
    with pytest.raises(CheckFailed) as caught:
        run(random_params("gpt2"), {"text": tmp_path}, {"model": scratch()}, silent)
    assert str(caught.value) == "OBE51 there is no text to train the tokenizer on"
