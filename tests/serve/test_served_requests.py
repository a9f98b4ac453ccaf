"""Which requests are refused, with what, and what stays out of the log."""

import base64
import concurrent.futures
import signal

import pytest
from serving import answer_on, serving

pytestmark = pytest.mark.heavy

needs_stop = pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs SIGSTOP")


@pytest.mark.parametrize(("path", "body", "status", "says"), [
    ("/v1/embeddings", b"{", 400, "is not JSON"),
    ("/v1/embeddings", b'{"input": ' + b"[" * 100_000, 400, "is not JSON"),
    ("/v1/embeddings", b"[]", 422, "got `array`"),
    ("/v1/embeddings", b'{"input": "\xff", "model": "embedder"}', 400, "is not JSON"),
    ("/v1/embeddings", {"model": "embedder"}, 422, "missing required field `input`"),
    ("/v1/embeddings", {"model": "embedder", "inputs": "a"}, 422, "unknown field `inputs`"),
    ("/v1/embeddings", {"model": "embedder", "input": []}, 400, "at least one text"),
    ("/v1/embeddings", {"model": "embedder", "input": [[1, 2]]}, 400, "token ids"),
    ("/v1/embeddings", {"model": "embedder", "input": "a", "dimensions": 16}, 400, "has 32 dimensions"),
    ("/v1/embeddings", {"model": "embedder", "input": ["a"] * 257}, 400, "may have 256 texts"),
    ("/v1/embeddings", {"model": "nobody", "input": "a"}, 404,
     "there is no model `nobody`; there are minilm/fp32, minilm, embedder/fp32"),
    ("/v1/embeddings", {"input": "a"}, 404, "`model` must be one of minilm/fp32"),
    ("/v1/embeddings", {"model": "tagger", "input": "a"}, 400,
     "`tagger` labels tokens, which has another address: `/token-classify`"),
    ("/v1/rerank", {"model": "classifier", "query": "a", "documents": ["b"]}, 400, "another address: `/classify`"),
    ("/v1/rerank", {"model": "ranker", "query": "a", "documents": []}, 400, "the list is empty"),
    ("/v1/rerank", {"model": "ranker", "query": "a", "documents": [{"title": "b"}]}, 400, '"text"'),
    ("/v1/chat/completions", {"model": "gpt", "messages": []}, 422, "length >= 1"),
    ("/nothing", {}, 404, "not found: `/openapi.json` lists the addresses"),
    ("/v1/embeddings", None, 405, "method not allowed: use POST"),
])  # fmt: skip
def test_a_wrong_request_gets_an_error_as_openai_writes_it(server, path, body, status, says):
    answer = server.request(path, body)
    assert answer.status == status, answer.text
    error = answer.json["error"]
    assert says in error["message"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"


def test_the_own_dimensions_of_a_model_may_be_asked_for(server):
    assert server.request("/v1/embeddings", {"model": "embedder", "input": "a", "dimensions": 32}).status == 200


def test_no_answer_is_mixed_up(server):
    """Every text has one vector, whoever else asks at the same time, and for whatever lengths."""
    texts = [f"{number} ships{' and boats' * (number % 7)}" for number in range(2000)]

    def ask(chunk):
        body = {"model": "embedder", "input": chunk, "encoding_format": "base64"}
        return [one["embedding"] for one in server.request("/v1/embeddings", body).json["data"]]

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        sizes = [1, 2, 5]
        chunks, start = [], 0
        while start < len(texts):
            chunks.append(texts[start : start + sizes[len(chunks) % 3]])
            start += sizes[(len(chunks) - 1) % 3]
        found = [vector for vectors in pool.map(ask, chunks) for vector in vectors]
    alone = ask_in_process(server, texts)
    assert len(found) == len(alone) == len(texts)
    for vector, expected in zip(found, alone, strict=True):
        assert nearest(base64.b64decode(vector), expected) < 1e-5
    assert nearest(alone[0], alone[1]) > 1e-3, "other texts have other vectors"


def ask_in_process(server, texts):
    """The vectors of the same folder, computed here, one text at a time."""
    from pathlib import Path

    from onnxbuild.serve.inference.model_folder import ModelFolder
    from onnxbuild.serve.inference.opened_model import opened_model
    from onnxbuild.serve.wire import Item

    folder = next(Path(one) for one in server.process.args if one.endswith("embedder/fp32"))
    model = opened_model(ModelFolder(folder), 1)
    return [model.answer("embed", [Item(text)])[0].vector for text in texts]


def nearest(one, other):
    import numpy as np

    return float(np.abs(np.frombuffer(one, "<f4") - np.frombuffer(other, "<f4")).max())


def test_probes_and_pages(server):
    assert server.request("/healthz").json == {"status": "ok"}
    assert server.request("/readyz").json == {"status": "ready"}
    listed = [one["id"] for one in server.request("/v1/models").json["data"]]
    assert {"minilm/fp32", "minilm", "gpt"} <= {*listed}
    pages = server.request("/openapi.json").json["paths"]
    posts = {path for path, page in pages.items() if "post" in page}
    assert posts == {
        "/v1/embeddings", "/v1/rerank", "/classify", "/token-classify", "/v1/completions", "/v1/chat/completions",
    }  # fmt: skip
    for path in posts:
        content = pages[path]["post"]["requestBody"]["content"]["application/json"]
        assert content["example"].keys() <= content["schema"]["properties"].keys(), path
        assert set(content["schema"]["required"]) <= content["example"].keys(), path
        assert pages[path]["post"]["responses"]["200"]["content"]["application/json"]["example"]
    assert server.request("/docs").status == 200
    assert 'onnxbuild_requests_total{address="/healthz",status="200"}' in server.request("/metrics").text


def test_the_examples_of_the_page_are_answered(server):
    """With the names of the models that are here."""
    names = {"sentiment": "classifier", "tagger": "tagger", "gpt2": "gpt"}
    for path, page in server.request("/openapi.json").json["paths"].items():
        if "post" in page:
            example = page["post"]["requestBody"]["content"]["application/json"]["example"]
            answer = server.request(path, example | {"model": names.get(example["model"], example["model"])})
            shown = page["post"]["responses"]["200"]["content"]["application/json"]["example"]
            assert answer.status == 200, answer.text
            assert answer.json.keys() == shown.keys(), path


def test_keys_are_asked_for_and_neither_they_nor_texts_are_logged(out, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("# of the tests\nfirst-key\n\nsecond-key\n", encoding="utf-8")
    body = {"input": "a text that nobody should read"}
    with serving(out / "embedder" / "fp32", "--api-keys", keys) as server:
        for header in (None, "Bearer", "Bearer wrong-key", "Basic first-key", "Bearer first-ke", "first-key"):
            answer = server.request("/v1/embeddings", body, headers={"authorization": header} if header else {})
            assert (answer.status, answer.json["error"]["code"]) == (401, "invalid_api_key"), header
            assert answer.headers["www-authenticate"] == "Bearer"
        for key in ("first-key", "second-key"):
            answer = server.request("/v1/embeddings?q=hidden", body, headers={"authorization": f"Bearer {key}"})
            assert answer.status == 200
        assert server.request("/metrics").status == 401
        assert server.request("/v1/models").status == 401
        assert server.request("/healthz").status == server.request("/readyz").status == 200
        server.request("/secret-path")
        server.end()
        log = "".join(server.log)
    assert "POST /v1/embeddings 200" in log
    assert "GET (unknown) 401" in log
    assert not [word for word in ("first-key", "wrong-key", "nobody should", "hidden", "secret-path") if word in log]


def test_keys_may_come_from_the_environment(out):
    with serving(out / "embedder" / "fp32", environment={"ONNXBUILD_API_KEYS": "of-the-environment"}) as server:
        assert server.request("/v1/embeddings", {"input": "a"}).status == 401
        headers = {"authorization": "Bearer of-the-environment"}
        assert server.request("/v1/embeddings", {"input": "a"}, headers=headers).status == 200


@needs_stop
def test_limits(out):
    """Of the body, of the queue, of the time."""
    limits = ("--max-body", "1000", "--max-queue", "2", "--max-batch", "1", "--max-wait", "0", "--timeout", "1")
    with serving(out / "embedder" / "fp32", *limits) as server:
        answer = server.request("/v1/embeddings", {"input": "a" * 1000})
        assert (answer.status, answer.json["error"]["code"]) == (413, "too_large")
        chunked = server.request(
            "/v1/embeddings", iter_of(b"a" * 900, b"b" * 900), headers={"transfer-encoding": "chunked"}
        )
        assert chunked.status == 413
        (worker,) = server.workers()
        worker.suspend()
        sent = [server.begin("/v1/embeddings", {"input": f"text {number}"}) for number in range(2)]
        server.wait_for("onnxbuild_running", 2)
        sent += [server.begin("/v1/embeddings", {"input": f"text {number}"}) for number in range(2)]
        server.wait_for("onnxbuild_waiting", 2)
        refused = server.request("/v1/embeddings", {"input": "one too many"})
        assert (refused.status, refused.headers["retry-after"]) == (429, "1")
        assert refused.json["error"]["type"] == "rate_limit_error"
        late = [answer_on(one) for one in sent]
        assert {(one.status, one.json["error"]["code"]) for one in late} == {(503, "timeout")}
        server.wait_for("onnxbuild_waiting", 0)
        worker.resume()
        assert server.request("/v1/embeddings", {"input": "again"}).status == 200


def iter_of(*pieces):
    """A body without a length, which http.client sends in chunks."""
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
