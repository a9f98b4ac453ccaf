"""The table of tasks: for each task its family of graphs, its inputs, its model class, its thresholds, its aliases.

Everything that depends on a task asks this table: step kinds, planning, and workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from msgspec import Struct

from onnxbuild.diagnostics import nearest

# encoder: one forward pass; decoder: tokens with a KV cache; encoder-decoder: an encoder and decoders, one file each.
Family = Literal["encoder", "decoder", "encoder-decoder"]
Modality = Literal["text", "image", "audio", "image-and-text"]
ThresholdRow = Literal["embedding", "classification", "generation"]
# Whether sentence-transformers loads the checkpoint, so that its pooling is part of the graph.
Pooling = Literal["never", "where the checkpoint has it", "always"]

PAST = "-with-past"
PAST_SIZES, AUDIO_SIZES = "length of the past", "length of the audio"
# Tasks whose models differ from others of their family in what they take, or in what their library calls them.
FILL_MASK = "fill-mask"
IMAGE_CLASSES = "image-classification"


class Task(Struct, frozen=True, kw_only=True):
    """One task. The name is optimum's; `model_class` is the auto class of transformers 4."""

    name: str
    family: Family = "encoder"
    modality: Modality = "text"  # what the model reads; a feature extractor may read something else
    # The roles of the dataset columns that make up one row; none where rows of text cannot feed the model.
    columns: tuple[str, ...] = ("text",)
    file_column: str = ""  # the role of the column that names a recording or a picture; none where rows are text
    model_class: str
    thresholds: ThresholdRow
    with_past: bool = False  # the decoder takes and returns a KV cache
    is_labelled: bool = False  # one label per row says what is right
    has_choices: bool = False  # its ids have an axis of choices between rows and tokens
    is_paired: bool = False  # a row holds two texts, which type ids distinguish
    pooling: Pooling = "never"
    aliases: tuple[str, ...] = ()

    @property
    def reads_text_rows(self) -> bool:
        """Whether rows of a text dataset can feed the model."""
        return bool(self.columns)

    @property
    def generates(self) -> bool:
        """Whether the model writes text token by token."""
        return self.family != "encoder"


def _with_and_without_past(**row: Any) -> Iterator[Task]:
    """The two rows of a task that generates: each alias has a `-with-past` form too."""
    yield Task(**row)
    aliases = tuple(f"{alias}{PAST}" for alias in row.pop("aliases"))
    yield Task(**{**row, "name": f"{row['name']}{PAST}"}, with_past=True, aliases=aliases)


_ROWS = (
    Task(
        name="feature-extraction",
        model_class="AutoModel",
        thresholds="embedding",
        pooling="where the checkpoint has it",
        # What SAM cuts out of pictures has the graphs of this task.
        aliases=(
            "default", "embedding", "embeddings", "image-feature-extraction", "pretraining", "mask-generation",
        ),
    ),
    Task(
        name="sentence-similarity",
        model_class="AutoModel",
        thresholds="embedding",
        pooling="always",
        aliases=("sentence-embedding", "sentence-embeddings"),
    ),
    Task(
        name=FILL_MASK,
        model_class="AutoModelForMaskedLM",
        thresholds="classification",
        aliases=("masked-lm",),
    ),
    Task(
        name="text-classification",
        model_class="AutoModelForSequenceClassification",
        thresholds="classification",
        is_labelled=True,
        # A reranker is a classifier of pairs with one label.
        aliases=(
            "sequence-classification", "sequence-cls", "seq-cls", "text-cls", "sentiment-analysis", "text-ranking",
            "reranking", "zero-shot-classification",
        ),
    ),
    Task(
        name="token-classification",
        model_class="AutoModelForTokenClassification",
        thresholds="classification",
        aliases=("token-cls", "ner"),
    ),
    Task(
        name="question-answering",
        columns=("question", "context"),
        model_class="AutoModelForQuestionAnswering",
        thresholds="classification",
        is_paired=True,
        aliases=("extractive-question-answering",),
    ),
    Task(
        name="multiple-choice",
        has_choices=True,
        model_class="AutoModelForMultipleChoice",
        thresholds="classification",
        is_paired=True,
    ),
    Task(
        name=IMAGE_CLASSES,
        modality="image",
        columns=(),
        file_column="image",
        model_class="AutoModelForImageClassification",
        thresholds="classification",
    ),
    Task(
        name="zero-shot-image-classification",
        modality="image-and-text",
        columns=(),
        model_class="AutoModelForZeroShotImageClassification",
        thresholds="classification",
    ),
    Task(
        name="audio-classification",
        modality="audio",
        columns=(),
        model_class="AutoModelForAudioClassification",
        thresholds="classification",
    ),
    *_with_and_without_past(
        name="text-generation",
        family="decoder",
        model_class="AutoModelForCausalLM",
        thresholds="generation",
        aliases=("causal-lm", "conversational"),
    ),
    *_with_and_without_past(
        name="text2text-generation",
        family="encoder-decoder",
        model_class="AutoModelForSeq2SeqLM",
        thresholds="generation",
        aliases=("seq2seq-lm", "summarization", "translation"),
    ),
    *_with_and_without_past(
        name="automatic-speech-recognition",
        family="encoder-decoder",
        modality="audio",
        columns=(),
        file_column="audio",
        model_class="AutoModelForSpeechSeq2Seq",
        thresholds="generation",
        aliases=("speech2seq-lm", "asr"),
    ),
    *_with_and_without_past(
        name="image-to-text",
        family="encoder-decoder",
        modality="image",
        columns=(),
        model_class="AutoModelForVision2Seq",
        thresholds="generation",
        aliases=("vision2seq-lm", "image-captioning"),
    ),
)  # fmt: skip

TASKS: Mapping[str, Task] = {task.name: task for task in _ROWS}

# optimum's name for speech models without a decoder. There is no such model with a cache.
_MORE_ALIASES: Mapping[str, str] = {"audio-ctc": "automatic-speech-recognition"}

ALIASES: Mapping[str, str] = {**{alias: task.name for task in _ROWS for alias in task.aliases}, **_MORE_ALIASES}

# Tasks of the Hub that onnxbuild does not have, and why.
ELSEWHERE: Mapping[str, str] = {
    **dict.fromkeys(
        ("image-text-to-text", "video-text-to-text"),
        "no exporter that onnxbuild runs writes its graphs (`vision_encoder`, `embed_tokens`, `decoder_model_merged`)",
    ),
    **dict.fromkeys(
        ("audio-text-to-text", "any-to-any"),
        "no exporter that onnxbuild runs writes its graphs, which share one decoder",
    ),
    "zero-shot-audio-classification": "no exporter that onnxbuild runs writes the graph of its models, such as CLAP",
}

# The text of a row; what is said in a recording, if a dataset names a column for it.
TEXT = "text"
# A second text in each row, if a dataset names a column for it: a reranker reads the query and the document.
PAIR_COLUMN = "text_pair"
# How alike the two texts of a row are, which similarities of embeddings are ranked against.
SCORE = "score"

# What a sentence-transformer returns.
SENTENCE_TASKS: tuple[str, ...] = tuple(task.name for task in _ROWS if task.pooling != "never")

# Speech models that have one graph and no decoder: CTC, one letter for each frame.
CTC_TYPES = frozenset({
    "data2vec-audio", "granite_speech5_ctc", "hubert", "lasr_ctc", "mctct", "parakeet_ctc", "sew", "sew-d", "unispeech",
    "unispeech-sat", "wav2vec2", "wav2vec2-bert", "wav2vec2-conformer", "wavlm",
})  # fmt: skip


def proper_name(task: str) -> str:
    """The name of a task that may be written as an alias; an unknown text is returned as it is."""
    return ALIASES.get(task, task)


def closest_task(text: str) -> str | None:
    """The proper name of the task whose name or alias is nearest to a text, None if none is near."""
    match = nearest(text, (*TASKS, *ALIASES))
    return proper_name(match) if match is not None else None


def family_of(task: str | None, config: Mapping[str, Any] | None = None) -> Family:
    """The family of graph that a task exports to; an unknown task counts as one forward pass."""
    row = TASKS.get(task or "")
    return "encoder" if row is None or is_ctc(task, config) else row.family


def pooling_of(task: str | None) -> Pooling:
    """Whether pooling is part of the graph of a task."""
    row = TASKS.get(task or "")
    return row.pooling if row is not None else "never"


def has_cache(task: str) -> bool:
    """Whether a task exports a decoder with a KV cache."""
    row = TASKS.get(task)
    return row is not None and row.with_past


def sizes_besides_tokens(task: str | None) -> str | None:
    """What a task's graphs depend on besides rows and tokens, in words; None for nothing, or for an unknown task."""
    row = TASKS.get(task or "")
    if row is None:
        return None
    if row.with_past:
        return PAST_SIZES
    if row.has_choices:
        return "number of choices"
    return {"text": None, "audio": AUDIO_SIZES}.get(row.modality, "size of the pictures")


def is_speech_to_text(task: str | None) -> bool:
    """Whether a task turns audio into text."""
    row = TASKS.get(task or "")
    return row is not None and row.modality == "audio" and row.generates


def is_ctc(task: str | None, config: Mapping[str, Any] | None) -> bool:
    """Whether a model turns audio into text in one pass, without a decoder."""
    return is_speech_to_text(task) and not has_cache(task or "") and (config or {}).get("model_type") in CTC_TYPES


def reads_text_rows(task: str | None) -> bool:
    """Whether rows of a text dataset can feed a model of this task; an unknown task is assumed to read text."""
    row = TASKS.get(task or "")
    return row is None or row.reads_text_rows


def file_role(task: str | None) -> str:
    """The role of the column that names a recording or a picture of each row; empty where rows are text."""
    row = TASKS.get(task or "")
    return row.file_column if row is not None else ""


def has_labels(task: str | None) -> bool:
    """Whether a label per row, the class of a text or of a picture, says what is right."""
    row = TASKS.get(task or "")
    return row is not None and (row.is_labelled or row.name == IMAGE_CLASSES)


def reads_pairs(task: str, config: Mapping[str, Any]) -> bool:
    """Whether a row holds two texts; a classifier with one label is a reranker, which reads a query and a document."""
    row = TASKS.get(task)
    if row is None:
        return False
    return row.is_paired or (row.is_labelled and len(config.get("id2label") or "ab") == 1)


def row_columns(task: str, columns: Mapping[str, str]) -> tuple[str, ...]:
    """The roles of the columns that make up one row, for a dataset that maps the roles in `columns` to its columns."""
    row = TASKS.get(task)
    if row is not None and row.file_column:
        return (row.file_column, *((TEXT,) if is_speech_to_text(task) and TEXT in columns else ()))
    roles = row.columns if row is not None and row.columns else ("text",)
    if row is not None and row.thresholds == "embedding" and SCORE in columns:
        return (*roles, PAIR_COLUMN, SCORE)
    return (*roles, PAIR_COLUMN) if row is not None and row.is_labelled and PAIR_COLUMN in columns else roles
