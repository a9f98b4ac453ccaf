"""The official client of OpenAI, beside plain requests."""

import httpx
import numpy as np
import pytest

openai = pytest.importorskip("openai")

pytestmark = pytest.mark.heavy

SHIP = [{"role": "user", "content": "Where are ships?"}]


@pytest.fixture
def client(server):
    # A client of its own: the proxy of the environment is not for loopback.
    with httpx.Client(trust_env=False) as plain:
        yield openai.OpenAI(
            base_url=f"http://127.0.0.1:{server.port}/v1", api_key="none", http_client=plain, max_retries=0
        )


def test_embeddings(client, server):
    made = client.embeddings.create(model="minilm", input=["A ship.", "A hill."])
    plain = server.request("/v1/embeddings", {"model": "minilm", "input": ["A ship.", "A hill."]}).json
    for one, expected in zip(made.data, plain["data"], strict=True):
        np.testing.assert_allclose(one.embedding, expected["embedding"], atol=1e-7)
    assert made.usage.prompt_tokens == plain["usage"]["prompt_tokens"] == 10
    floats = client.embeddings.create(model="minilm", input="A ship.", encoding_format="float")
    np.testing.assert_allclose(floats.data[0].embedding, made.data[0].embedding, atol=1e-6)


def test_completions_with_and_without_a_stream(client):
    options = {"model": "gpt", "prompt": "The boats", "max_tokens": 20, "temperature": 0}
    whole = client.completions.create(**options)
    assert whole.choices[0].finish_reason == "length"
    pieces = list(client.completions.create(**options, stream=True))
    assert "".join(one.choices[0].text for one in pieces) == whole.choices[0].text != ""
    assert len(pieces) > 3


def test_chat_with_and_without_a_stream(client):
    options = {"model": "llama", "messages": SHIP, "max_completion_tokens": 20, "temperature": 0}
    whole = client.chat.completions.create(**options)
    assert whole.choices[0].message.role == "assistant"
    pieces = list(client.chat.completions.create(**options, stream=True, stream_options={"include_usage": True}))
    assert pieces[0].choices[0].delta.role == "assistant"
    texts = [one.choices[0].delta.content or "" for one in pieces if one.choices]
    assert "".join(texts) == whole.choices[0].message.content != ""
    assert pieces[-1].usage == whole.usage
    assert pieces[-2].choices[0].finish_reason == "length"


def test_a_stream_that_is_closed_leaves_the_server_ready(client, server):
    stream = client.chat.completions.create(model="gpt", messages=SHIP, max_tokens=200, temperature=0, stream=True)
    next(iter(stream))
    stream.close()
    server.wait_for("onnxbuild_running", 0)


def test_errors_have_the_classes_of_the_client(client):
    with pytest.raises(openai.NotFoundError, match="there is no model `gpt-5`"):
        client.embeddings.create(model="gpt-5", input="a")
    with pytest.raises(openai.BadRequestError, match="has 384 dimensions") as caught:
        client.embeddings.create(model="minilm", input="a", dimensions=5)
    assert caught.value.param == "dimensions"
    with pytest.raises(openai.UnprocessableEntityError):
        client.completions.create(model="gpt", prompt="a", n=2)


def test_models_are_listed(client):
    assert "llama/fp32" in [one.id for one in client.models.list()]
