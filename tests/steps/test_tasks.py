"""The table of tasks: complete, without contradictions, and the only place that knows a task by name."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest

from onnxbuild.tables.exporter_types import GENAI, MOBIUS, OPTIMUM, TRANSFORMERS
from onnxbuild.tables.tasks import (
    ALIASES,
    TASKS,
    closest_task,
    family_of,
    is_ctc,
    proper_name,
    reads_pairs,
    row_columns,
)
from onnxbuild.tables.thresholds import ACCURACY_DROP, METRICS, THRESHOLDS, default_bounds, is_within, table_of

PACKAGE = Path(__file__).parents[2] / "onnxbuild"

# Aliases that are also ordinary words: the key of a field's default in a schema, and that of a vector in OpenAI's API.
WORDS = {"default", "embedding"}


def strings(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_no_module_outside_the_tables_knows_a_task_by_name() -> None:
    named = {
        path.relative_to(PACKAGE).as_posix(): known
        for path in PACKAGE.rglob("*.py")
        if "tables" not in path.relative_to(PACKAGE).parts
        for known in [strings(path) & {*TASKS, *ALIASES, "-with-past"} - WORDS]
        if known
    }
    assert named == {}


def test_every_task_of_an_exporter_has_a_row() -> None:
    assert {*OPTIMUM, *TRANSFORMERS, *MOBIUS, *GENAI} <= TASKS.keys()


def test_an_alias_is_no_task_and_means_one() -> None:
    assert ALIASES.keys() & TASKS.keys() == set()
    assert set(ALIASES.values()) <= TASKS.keys()
    written = [alias for task in TASKS.values() for alias in task.aliases]
    assert len(written) == len(set(written))


@pytest.mark.parametrize(
    ("alias", "task"),
    [
        ("sequence-classification", "text-classification"),
        ("text-ranking", "text-classification"),
        ("token-cls", "token-classification"),
        ("masked-lm", "fill-mask"),
        ("causal-lm", "text-generation"),
        ("causal-lm-with-past", "text-generation-with-past"),
        ("seq2seq-lm-with-past", "text2text-generation-with-past"),
        ("summarization", "text2text-generation"),
        ("translation-with-past", "text2text-generation-with-past"),
        ("conversational", "text-generation"),
        ("default", "feature-extraction"),
        ("embedding", "feature-extraction"),
        ("sentence-similarity", "sentence-similarity"),
        ("automatic-speech-recognition", "automatic-speech-recognition"),
        ("chess", "chess"),
    ],
)
def test_proper_names(alias: str, task: str) -> None:
    assert proper_name(alias) == task


def test_the_synonyms_of_optimum_mean_the_same_here() -> None:
    spec = importlib.util.find_spec("optimum")
    if spec is None:
        pytest.skip("optimum is not installed")
    place = Path(next(iter(spec.submodule_search_locations or ()))) / "exporters" / "tasks.py"
    tree = ast.parse(place.read_text(encoding="utf-8"))
    tables = (
        node.value for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id == "_SYNONYM_TASK_MAP"
    )  # fmt: skip
    synonyms = ast.literal_eval(next(tables))
    # A separate task here; and masks of images, which none of our exporters makes.
    other = {"sentence-similarity", "mask-generation"}
    ours = {name: task for name, task in synonyms.items() if task in TASKS and name not in other}
    assert len(ours) >= 12
    assert {name: proper_name(name) for name in ours} == ours


def test_the_nearest_task_has_its_proper_name() -> None:
    assert closest_task("casual-lm") == "text-generation"
    assert closest_task("token-clasification") == "token-classification"
    assert closest_task("chess") is None


def test_families() -> None:
    assert [family_of(task) for task in ("fill-mask", "text-generation", "image-to-text-with-past", "chess", None)] == [
        "encoder", "decoder", "encoder-decoder", "encoder", "encoder",
    ]  # fmt: skip
    speech = "automatic-speech-recognition"
    assert [is_ctc(speech, {"model_type": name}) for name in ("hubert", "whisper")] == [True, False]
    assert not is_ctc(f"{speech}-with-past", {"model_type": "hubert"})
    assert family_of(speech, {"model_type": "wavlm"}) == "encoder"


def test_every_exported_speech_model_without_a_past_is_ctc() -> None:
    speech = "automatic-speech-recognition"
    for table in (OPTIMUM, TRANSFORMERS):
        without = set(table[speech].split()) - set(table[f"{speech}-with-past"].split())
        assert "parakeet_ctc" in without or "mctct" in without
        assert {name for name in without if not is_ctc(speech, {"model_type": name})} == set()


def test_a_row_of_a_dataset() -> None:
    assert row_columns("question-answering", {}) == ("question", "context")
    assert row_columns("text-classification", {"text_pair": "b"}) == ("text", "text_pair")
    assert row_columns("fill-mask", {"text_pair": "b"}) == ("text",)
    assert reads_pairs("text-classification", {"id2label": {"0": "score"}})
    assert not reads_pairs("text-classification", {"id2label": {"0": "no", "1": "yes"}})


def test_every_bound_is_of_a_metric_and_a_precision() -> None:
    assert {task.thresholds for task in TASKS.values()} == THRESHOLDS.keys()
    for columns in THRESHOLDS.values():
        assert columns.keys() == ACCURACY_DROP.keys()
        assert {metric for bounds in columns.values() for metric in bounds} <= METRICS.keys()


def test_default_bounds() -> None:
    ctc = {"model_type": "hubert"}
    assert table_of("automatic-speech-recognition", ctc) == "classification"
    assert default_bounds("automatic-speech-recognition", ctc, "q4f16", has_labels=True) == {
        "top1": 0.95,
        "accuracy_drop": 0.02,
    }
    assert default_bounds("fill-mask", None, "unheard-of", has_labels=False)["max_abs"] == 1e-3


def test_nan_keeps_no_bound() -> None:
    nan = float("nan")
    assert not is_within("top1", nan, 0.5)
    assert not is_within("max_abs", nan, 0.5)
    assert is_within("top1", 0.5, 0.5)
    assert not is_within("kl_mean", 0.51, 0.5)
