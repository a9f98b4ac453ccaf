"""Each model as its users open it: the library's own loader on ONNX files, against the same call on the checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from onnxbuild.workers.libraries.quiet import quiet

with quiet():
    import transformers
    from optimum import onnxruntime as ort

TEXTS = ["The second run does nothing, and can say why.", "A manifest becomes measured models."]
_PROMPT = torch.tensor([[9, 17, 30, 41, 52]])

Answers = list[Any]  # token ids, or arrays of numbers


def _image(seed: int = 0) -> Any:
    from PIL import Image

    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 48, 3), np.uint8))


def _sound() -> np.ndarray:
    return np.sin(np.arange(9_000, dtype=np.float32) / 25) * 0.3


def _pipeline(task: str, onnx: str, plain: str, ask: Callable[[Any], Any], *, image: bool = False) -> Any:
    """A transformers pipeline over optimum's model class, and over PyTorch's; `ask` returns numbers or words."""

    def open_both(folder: Path, checkpoint: Path) -> tuple[Answers, Answers]:
        parts: dict[str, Any] = {}
        if (folder / "tokenizer.json").is_file():
            parts["tokenizer"] = transformers.AutoTokenizer.from_pretrained(folder)
        if (folder / "preprocessor_config.json").is_file():
            reader = transformers.AutoImageProcessor if image else transformers.AutoFeatureExtractor
            parts["image_processor" if image else "feature_extractor"] = reader.from_pretrained(folder)
        model = getattr(ort, onnx).from_pretrained(folder, local_files_only=True)
        reference = getattr(transformers, plain).from_pretrained(checkpoint).eval()
        return tuple(ask(transformers.pipeline(task, model=m, **parts)) for m in (model, reference))  # type: ignore[return-value]

    return open_both


def _scores(results: Any) -> Answers:
    """The numbers of a pipeline's answer, in the order of the labels."""
    flat = results if isinstance(results, list) else [results]
    if flat and isinstance(flat[0], list):
        return [number for one in flat for number in _scores(one)]
    return [
        np.float32(one["score"]) for one in sorted(flat, key=lambda r: (str(r.get("label", "")), r.get("index", 0)))
    ]


def _masked(pipe: Any) -> Answers:
    mask = pipe.tokenizer.mask_token
    return _scores(sorted(pipe(f"The second {mask} does nothing.", top_k=20), key=lambda r: r["token"]))


def _greedy(onnx: str, plain: str, inputs: Callable[[Path], Mapping[str, Any]], **more: Any) -> Any:
    def open_both(folder: Path, checkpoint: Path) -> tuple[Answers, Answers]:
        model = getattr(ort, onnx).from_pretrained(folder, use_cache=True, local_files_only=True)
        reference = getattr(transformers, plain).from_pretrained(checkpoint).eval()
        feeds = inputs(checkpoint)
        asked = {"max_new_tokens": 8, "do_sample": False, "num_beams": 1, **more}
        return tuple(m.generate(**feeds, **asked).tolist() for m in (model, reference))  # type: ignore[return-value]

    return open_both


def _prompt(_checkpoint: Path) -> Mapping[str, Any]:
    return {"input_ids": _PROMPT, "attention_mask": torch.ones_like(_PROMPT)}


def _pixels(checkpoint: Path) -> Mapping[str, Any]:
    return dict(transformers.AutoImageProcessor.from_pretrained(checkpoint)(_image(), return_tensors="pt"))


def _features(checkpoint: Path) -> Mapping[str, Any]:
    extractor = transformers.AutoFeatureExtractor.from_pretrained(checkpoint)
    return dict(extractor(_sound(), sampling_rate=16_000, return_tensors="pt"))


def _choose(folder: Path, checkpoint: Path) -> tuple[Answers, Answers]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    given = tokenizer([TEXTS[0]] * 2, TEXTS, return_tensors="pt", padding=True)
    feeds = {name: value[None] for name, value in given.items()}
    model = ort.ORTModelForMultipleChoice.from_pretrained(folder, local_files_only=True)
    reference = transformers.AutoModelForMultipleChoice.from_pretrained(checkpoint).eval()
    takes = reference.forward.__code__.co_varnames
    with torch.inference_mode():
        wanted = reference(**{name: value for name, value in feeds.items() if name in takes}).logits.numpy()
    return [model(**feeds).logits.numpy()], [wanted]


def _embed(folder: Path, checkpoint: Path) -> tuple[Answers, Answers]:
    from sentence_transformers import SentenceTransformer

    found = SentenceTransformer(str(folder), backend="onnx", device="cpu", local_files_only=True).encode(TEXTS)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, rtol=1e-3)
    return [found], [SentenceTransformer(str(checkpoint), device="cpu", local_files_only=True).encode(TEXTS)]


def _embed_in_graph(folder: Path, checkpoint: Path) -> tuple[Answers, Answers]:
    """One call gives sentence vectors; sentence-transformers itself wants to pool, and loads graphs without pooling."""
    from sentence_transformers import SentenceTransformer

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = ort.ORTModelForCustomTasks.from_pretrained(folder, local_files_only=True)
    found = model(**tokenizer(TEXTS, padding=True, return_tensors="pt"))["sentence_embedding"].numpy()
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, rtol=1e-3)
    return [found], [SentenceTransformer(str(checkpoint), device="cpu", local_files_only=True).encode(TEXTS)]


def _rerank(folder: Path, checkpoint: Path) -> tuple[Answers, Answers]:
    from sentence_transformers import CrossEncoder

    pairs = [(TEXTS[0], text) for text in TEXTS]
    found = CrossEncoder(str(folder), backend="onnx", device="cpu", local_files_only=True).predict(pairs)
    return [found], [CrossEncoder(str(checkpoint), device="cpu", local_files_only=True).predict(pairs)]


def _match_images(folder: Path, checkpoint: Path) -> tuple[Answers, Answers]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    reference = transformers.AutoModel.from_pretrained(checkpoint).eval()
    text = dict(tokenizer(TEXTS, padding="max_length", max_length=32, truncation=True, return_tensors="pt"))
    given = {**text, **processor([_image(0), _image(1)], return_tensors="pt")}
    model = ort.ORTModelForZeroShotImageClassification.from_pretrained(folder, local_files_only=True)
    with torch.inference_mode():
        wanted = reference(**given)
    found = model(**given)
    return [found.logits_per_image.numpy()], [wanted.logits_per_image.numpy()]


LOADERS: Mapping[str, Callable[[Path, Path], tuple[Answers, Answers]]] = {
    "classify_text": _pipeline("text-classification", "ORTModelForSequenceClassification",
                               "AutoModelForSequenceClassification", lambda p: _scores(p(TEXTS, top_k=None))),
    "classify_tokens": _pipeline("token-classification", "ORTModelForTokenClassification",
                                 "AutoModelForTokenClassification", lambda p: _scores(p(TEXTS[0], ignore_labels=[]))),
    "answer": _pipeline("question-answering", "ORTModelForQuestionAnswering", "AutoModelForQuestionAnswering",
                        lambda p: _scores(p(question="What does nothing?", context=TEXTS[0]))),
    "fill_mask": _pipeline("fill-mask", "ORTModelForMaskedLM", "AutoModelForMaskedLM", _masked),
    "choose": _choose,
    "embed": _embed,
    "embed_in_graph": _embed_in_graph,
    "rerank": _rerank,
    "write": _greedy("ORTModelForCausalLM", "AutoModelForCausalLM", _prompt),
    "rewrite": _greedy("ORTModelForSeq2SeqLM", "AutoModelForSeq2SeqLM", _prompt),
    "transcribe": _greedy("ORTModelForSpeechSeq2Seq", "AutoModelForSpeechSeq2Seq", _features),
    "caption": _greedy("ORTModelForVision2Seq", "AutoModelForVision2Seq", _pixels),
    "classify_image": _pipeline("image-classification", "ORTModelForImageClassification",
                                "AutoModelForImageClassification", lambda p: _scores(p(_image(), top_k=None)),
                                image=True),
    "match_images": _match_images,
    "classify_sound": _pipeline("audio-classification", "ORTModelForAudioClassification",
                                "AutoModelForAudioClassification", lambda p: _scores(p(_sound(), top_k=None))),
}  # fmt: skip


def _spell(folder: Path, checkpoint: Path) -> tuple[Answers, Answers]:
    feeds = _features(checkpoint)
    model = ort.ORTModelForCTC.from_pretrained(folder, local_files_only=True)
    with torch.inference_mode():
        wanted = transformers.AutoModelForCTC.from_pretrained(checkpoint).eval()(**feeds).logits.numpy()
    return [model(**feeds).logits.numpy()], [wanted]


def _spell_masked(folder: Path, checkpoint: Path) -> tuple[Answers, Answers]:
    """Two recordings, the second one padded; `ORTModelForCTC` passes no mask to a graph."""
    extractor = transformers.AutoFeatureExtractor.from_pretrained(checkpoint)
    recordings = [_sound(), _sound()[:5_000]]
    feeds = dict(extractor(recordings, sampling_rate=16_000, padding=True, return_tensors="pt"))
    model = ort.ORTModelForCustomTasks.from_pretrained(folder, local_files_only=True)
    with torch.inference_mode():
        wanted = transformers.AutoModelForCTC.from_pretrained(checkpoint).eval()(**feeds).logits.numpy()
    return [model(**feeds)["logits"].numpy()], [wanted]


LOADERS = {**LOADERS, "spell": _spell, "spell_masked": _spell_masked}
