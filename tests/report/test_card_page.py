"""A model card: its metadata, its tables, and text of somebody else in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import card_rules
import pytest
import yaml
from card_worlds import FORWARD, folder, subject
from evidence_worlds import evidence, validation
from markdown_it import MarkdownIt
from msgspec import structs

from onnxbuild.digest import Digest
from onnxbuild.execute.events import Outcome
from onnxbuild.onnx_files.onnx_outline import Outline
from onnxbuild.report.card.card_page import Picture, card_page
from onnxbuild.report.card.metadata import metadata
from onnxbuild.report.card.source_readme import SourceCard, source_card
from onnxbuild.report.card.subject import Folder, Origin, Subject
from onnxbuild.report.evidence.evidence import Evidence
from onnxbuild.report.evidence.gathering import checks_of
from onnxbuild.report.result.figures import NONE
from onnxbuild.steps import KINDS
from onnxbuild.store.content import File
from onnxbuild.tables.publishing.hub_tasks import HUB_TASKS, hub_task, pipeline_tag
from onnxbuild.tables.tasks import TASKS


def with_task(task: str, *, config: dict[str, Any] | None = None, **graphs: Outline) -> Subject:
    """The world with a task, and a variant of these graphs."""
    whole = evidence()
    variants = tuple(
        structs.replace(one, steps=tuple(structs.replace(step, params={"task": task}) for step in one.steps))
        for one in whole.variants
    )
    folders = {"fp32": folder("fp32", config=config, **graphs)}
    return subject(evidence=structs.replace(whole, variants=variants), folders=folders)


def with_text(text: str) -> Evidence:
    """The world in which every free text is this one."""
    whole = evidence()
    variants = []
    for variant in whole.variants:
        checks = tuple(structs.replace(one, data=text, worst_at=text, metric=text) for one in variant.checks)
        steps = tuple(
            structs.replace(
                one,
                params={"task": "fill-mask", text: text, "dataset": text},
                packages={text: text},
                failure=text,
                facts={"undecided": [{"message": text}], "metrics": {"a": 1}, "rows": {"languages": {text: 1}}},
            )
            for one in variant.steps
        )
        measured = tuple(structs.replace(one, engine=text, stage=text) for one in variant.measurements)
        variants.append(structs.replace(variant, checks=checks, steps=steps, measurements=measured, precision=text))
    return structs.replace(whole, variants=tuple(variants))


def read(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text.split("\n---\n", maxsplit=1)[0].removeprefix("---\n"))
    return found


def test_the_metadata_is_what_is_known_and_nothing_else() -> None:
    found = metadata(with_task("fill-mask"))
    assert {name: found[name] for name in found if name != "model-index"} == {
        "library_name": "optimum",
        "tags": ["onnx", "onnxruntime", "fill-mask", "fp32", "retrieval"],
        "base_model": "org/bert",
        "pipeline_tag": "fill-mask",
        "license": "mit",
        "language": ["en", "no"],
        "datasets": ["org/rows"],
    }
    bare = metadata(subject(origins=(Origin(words="the folder", name="x"),), stated=SourceCard()))
    assert set(bare) == {"library_name", "tags"}  # no task, so no results of one, and no license that nobody stated


def test_it_is_a_quantized_model_only_if_a_delivered_variant_is_one() -> None:
    folders = {"fp32": folder("fp32"), "int8": folder("int8")}
    assert "base_model_relation" not in metadata(subject())  # int8 failed
    assert metadata(subject(folders=folders))["base_model_relation"] == "quantized"
    assert "base_model_relation" not in metadata(subject(folders=folders, origins=()))


def test_the_results_are_those_of_delivered_variants() -> None:
    (entry,) = metadata(with_task("fill-mask"))["model-index"]
    assert entry["name"] == "bert"
    (result,) = entry["results"]
    assert result["task"] == {"type": "fill-mask"}
    assert result["dataset"] == {
        "name": "inputs made by onnxbuild (46 rows, 924 tokens: sentences)",
        "type": "onnxbuild-samples",
    }
    assert result["metrics"] == [
        {"type": "cosine_mean", "value": 1.0, "name": "cosine_mean (fp32)"},
        {"type": "max_abs", "value": 0.25, "name": "max_abs (fp32)"},
    ]


def test_a_result_over_rows_says_which_rows_and_its_interval() -> None:
    world = with_task("fill-mask")
    (variant, *_) = world.variants
    check = structs.replace(variant.checks[0], metric="label_agreement", value=0.97, value_interval=(0.95, 0.98))
    rows = {"name": "the rows of onnxbuild", "count": 3, "languages": {"de": 1, "en": 2}}
    steps = tuple(structs.replace(one, facts={"rows": rows}) for one in variant.steps)
    one = structs.replace(variant, checks=(check,), steps=steps)
    world = structs.replace(world, evidence=structs.replace(world.evidence, variants=(one,)))
    (result,) = metadata(world)["model-index"][0]["results"]
    assert result["dataset"] == {
        "name": "rows that come with onnxbuild (3: de 1, en 2)", "type": "onnxbuild-rows"
    }  # fmt: skip
    assert result["metrics"][0]["args"] == {"confidence_interval": [0.95, 0.98], "confidence_level": 0.95}
    named = tuple(structs.replace(one, params={**one.params, "dataset": "mine"}) for one in steps)
    for datasets, kind in (({}, "mine"), ({"mine": "org/set"}, "org/set")):
        users = structs.replace(world.evidence, variants=(structs.replace(one, steps=named),))
        (result,) = metadata(structs.replace(world, evidence=users, datasets=datasets))["model-index"][0]["results"]
        assert result["dataset"] == {"name": "mine", "type": kind}


def test_what_is_no_number_is_no_result() -> None:
    world = with_task("fill-mask")
    broken = [
        structs.replace(
            one,
            checks=tuple(
                structs.replace(check, value=float(text))
                for check, text in zip(one.checks, ("nan", "inf"), strict=True)
            ),
        )
        for one in world.variants
    ]  # fmt: skip
    world = structs.replace(world, evidence=structs.replace(world.evidence, variants=tuple(broken)))
    assert "model-index" not in metadata(world)
    assert "| fp32 | cosine\\_mean | nan |" in card_page(world)


def test_metrics_over_rows_say_the_rows_that_they_were_measured_on() -> None:
    facts = validation("bert/fp32", 1.0, 0.9).facts
    rows = {"rows": {"name": "the rows of onnxbuild", "count": 200}}
    outcome = structs.replace(
        validation("bert/fp32", 1.0, 0.9),
        facts={**facts, **rows, "metrics": {"cosine_mean": 1.0, "spearman": 0.9, "accuracy_drop": 0.0}},
    )
    data = {one.metric: one.data for one in checks_of(outcome)}
    assert data == {
        "cosine_mean": "46 rows, 924 tokens: sentences",
        "spearman": "200 rows: the rows of onnxbuild",
        "accuracy_drop": "200 rows: the rows of onnxbuild",
    }


# -- what a value and an interval are of ------------------------------------------------------------------------------

ROWS = {"name": "the rows", "count": 235, "languages": {"en": 235}}


def over_rows(measured: Mapping[str, tuple[float, str, tuple[float, float] | None]], **facts: Any) -> Outcome:
    """A validation with these metrics: the value, the place, and the interval of each."""
    all_facts = {
        "metrics": {name: value for name, (value, _, _) in measured.items()},
        "worst_at": {name: place for name, (_, place, _) in measured.items()},
        "intervals": {name: list(interval) for name, (_, _, interval) in measured.items() if interval},
        "rows": ROWS,
    }
    return structs.replace(validation("bert/fp32", 1.0, 0.9), facts=all_facts | facts)


def with_outcome(outcome: Outcome) -> Subject:
    """The world with one variant that this validation has compared."""
    world = with_task("text-classification")
    one = world.variants[0]
    steps = tuple(structs.replace(step, facts=outcome.facts) for step in one.steps)
    variant = structs.replace(one, checks=tuple(checks_of(outcome)), steps=steps)
    return structs.replace(world, evidence=structs.replace(world.evidence, variants=(variant,)))


SIDES = over_rows(
    {
        "accuracy": (0.35, "60 rows, the rows; the reference has 0.35", (0.35, 0.35)),
        "pair_spearman": (0.75, "50 pairs, the rows; the reference has 0.8", (0.7, 0.85)),
        "label_agreement": (1.0, "235 rows, the rows", (0.9844, 1.0)),
        "greedy_agreement": (1.0, "16 texts, the rows", (1.0, 1.0)),
        "spearman": (1.0, "50 pairs, the rows", (1.0, 1.0)),
    },
    reference_metrics={"accuracy": 0.35, "pair_spearman": 0.8},
)


def test_an_interval_in_the_index_is_that_of_the_value() -> None:
    (result,) = metadata(with_outcome(SIDES))["model-index"][0]["results"]
    intervals = {one["name"]: one.get("args", {}).get("confidence_interval") for one in result["metrics"]}
    assert intervals == {
        "accuracy (fp32), 60 rows": [pytest.approx(0.2417, abs=1e-4), pytest.approx(0.4764, abs=1e-4)],
        "pair_spearman (fp32), 50 pairs": None,  # it is that of the difference
        "label_agreement (fp32)": [0.9844, 1.0],
        "greedy_agreement (fp32), 16 texts": [pytest.approx(0.7941, abs=1e-4), 1.0],  # scipy's binomtest, 16 of 16
        "spearman (fp32), 50 pairs": None,  # equal ranks give no width, and nothing else is known
    }
    assert result["dataset"]["name"] == "rows that come with onnxbuild (235: en 235)"


def test_the_table_says_which_interval_it_has_and_how_many_rows_were_read() -> None:
    text = card_page(with_outcome(SIDES))
    for row in (
        f"| fp32 | accuracy | 0.3500 | 0.2417 to 0.4764 | {NONE} | {NONE} | 60 rows: the rows |",
        f"| fp32 | pair\\_spearman | 0.7500 | difference -0.1000 to 0.0500 | {NONE} | {NONE} | 50 pairs: the rows |",
        f"| fp32 | greedy\\_agreement | 1.0000 | 0.7941 to 1.0000 | {NONE} | {NONE} | 16 texts: the rows |",
        f"| fp32 | spearman | 1.0000 | {NONE} | {NONE} | {NONE} | 50 pairs: the rows |",
    ):
        assert row in text


@pytest.mark.parametrize(("text", "own"), [("", True), (">= 0.6", True), (">= fp32 - 0.01", False)])
def test_beside_a_bound_that_is_not_relative_the_kept_interval_is_that_of_the_value(text: str, own: bool) -> None:  # noqa: FBT001
    measured = {"ndcg": (0.75, "40 rows, the rows; the reference has 0.8", (0.625, 0.875))}
    facts = {"thresholds": {"ndcg": 0.6}, "written_bounds": {"ndcg": text}, "reference_metrics": {"ndcg": 0.75}}
    (check,) = checks_of(over_rows(measured, **facts))
    expected = (0.625, 0.875) if own else (-0.125, 0.125)
    assert (check.value_interval, check.difference_interval) == ((expected, None) if own else (None, expected))


def test_figures_of_a_host_double_are_named_and_are_no_results() -> None:
    where = {"name": "Cloud AI 100", "place": "host double"}
    measured = {"label_agreement": (1.0, "235 rows, the rows", (0.9844, 1.0))}
    world = with_outcome(over_rows(measured, executed_on=where))
    text = card_page(world)
    assert "model-index" not in metadata(world)
    assert (
        f"| fp32 | label\\_agreement | 1.0000 | 0.9844 to 1.0000 | {NONE} | {NONE} | host double of Cloud AI 100 |"
        in text
    )
    assert "- The figures of `fp32` were measured on the host double of Cloud AI 100, and not on the device." in text
    device = with_outcome(over_rows(measured, executed_on={"name": "CPU", "place": "device"}))
    assert "model-index" in metadata(device)
    assert "not on the device" not in card_page(device)


def test_the_tag_of_a_task_is_one_that_the_hub_knows() -> None:
    tags = metadata(with_task("text-generation-with-past"))["tags"]
    assert "text-generation" in tags
    assert "text-generation-with-past" not in tags


# -- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_has_every_variant_its_verdict_and_its_folder() -> None:
    text = card_page(subject())
    assert "| fp32 | `fp32/` | passed | 90.4 MB |" in text
    assert f"| int8 | {NONE} | **FAILED** | 22.8 MB |" in text
    assert "- `int8` failed or was not finished, so it has no folder here." in text
    assert "ONNX versions of [org/bert](<https://huggingface.co/org/bert>)" in text
    assert f"- source: [org/bert](<https://huggingface.co/org/bert>), revision `{'c' * 40}`" in text
    assert "- command: `onnxbuild run toy.yaml bert`" in text
    assert "| fp32 | cosine\\_mean | 1.0000 | ≥ 0.9999 | passed |" in text
    assert "1.50× torch (1.35 to 1.65)" in text
    assert "- `cosine_mean`: mean cosine of the rows, worst output\n" in text
    assert "No other variant beats `fp32` in both figures: 1 - mean cosine, and latency p50, in ms." in text
    assert "Speed was measured on one machine: Toy 3000, x86\\_64, 3 cores, avx2." in text
    assert f"| `o2/model.onnx` | 1.5 MB | `{'d' * 64}` |" in text


def test_pictures_are_named_with_words() -> None:
    text = card_page(subject(), [Picture("size-bert.png", "sizes", "fp32 90.4 MB")])
    assert "![sizes: fp32 90.4 MB](<size-bert.png>)" in text


def test_a_card_without_a_license_says_so() -> None:
    assert "states no license" in card_page(subject(stated=SourceCard()))
    assert "states no license" not in card_page(subject())


HOSTILE = (
    "<script>alert(1)</script>", "[x](javascript:alert(1))", "a|b", "```\n# out\n```", "\n---\nlicense: gpl\n---\n",
    "--- !!python/object/apply:os.system ['x']", "x: {y: [", "\"'\\", "`", "*b*", "\u2028x", "\x1b[2J", "1. a", "&amp;",
)  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_text_of_somebody_else_stays_text(text: str) -> None:
    world = subject(
        evidence=with_text(text),
        origins=(Origin(words="the folder", name=text, digest="e" * 64),),
        manifest=text,
        datasets={text: text},
        chosen=None,
    )
    page = card_page(world)
    calm = card_page(structs.replace(world, evidence=with_text("calm"), manifest="calm", datasets={},
                                     origins=(Origin(words="the folder", name="calm", digest="e" * 64),)))  # fmt: skip
    found = read(page)
    assert list(found) == list(read(calm))
    assert [metric["type"] for metric in found["model-index"][0]["results"][0]["metrics"]] == [text] * 4
    assert page.count("\n---\n") == calm.count("\n---\n") == 1
    assert structure(page) == structure(calm)


def structure(page: str) -> list[str]:
    """The elements of a page, without the texts in them."""
    body = page.split("\n---\n", 1)[1]
    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    kinds = [one.type if not one.children else kind for one in parser.parse(body) for kind in _inner(one)]
    return [kind for kind in kinds if kind not in {"text", "text_special"}]


def _inner(token: Any) -> list[str]:
    return [child.type for child in token.children] if token.children else [token.type]


# -- what the source states -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("readme", "expected"),
    [
        (b"", SourceCard()),
        (b"# no metadata\n---\nlicense: mit\n---\n", SourceCard()),
        (b"---\r\nlicense: mit\r\nlanguage: no\r\n---\r\n# x", SourceCard(license="mit", languages=("no",))),
        (b"---\nlicense: [mit]\ntags: [onnx, a, a, '<b>', 7]\n---", SourceCard(license="mit", tags=("a",))),
        (b"---\nlicense: other\nlicense_name: own\nlicense_link: LICENSE\n---\n",
         SourceCard(license="other", license_name="own", license_link="LICENSE")),
        (b"---\nlicense: other\nlicense_link: 'javascript:alert(1)'\n---\n", SourceCard(license="other")),
        (b"---\nlicense: 'mit\n\n  x'\nlanguage: English\npipeline_tag: [a, b]\n---\n", SourceCard()),
        (b"---\na: &a [*a, *a]\n---\n", SourceCard()),
        (b"---\n" + b"[" * 5000 + b"\n---\n", SourceCard()),
        (b"---\n- mit\n---\n", SourceCard()),
        (b"---\n\xff\xfe\n---\n", SourceCard()),
        (b"\xef\xbb\xbf---\nlicense: mit\n---\n", SourceCard(license="mit")),
    ],
)  # fmt: skip
def test_what_a_source_states(readme: bytes, expected: SourceCard) -> None:
    assert source_card(readme) == expected


def test_the_license_of_a_config_counts_where_the_readme_has_none() -> None:
    assert source_card(None, {"license": "mit"}).license == "mit"
    assert source_card(b"---\nlicense: apache-2.0\n---\n", {"license": "mit"}).license == "apache-2.0"
    assert source_card(None, {"license": {"x": 1}}).license is None


# -- what the Hub takes -----------------------------------------------------------------------------------------------


def test_every_task_has_a_row_and_a_tag_that_the_hub_knows() -> None:
    assert set(HUB_TASKS) == {name.removesuffix("-with-past") for name in TASKS}
    assert all(row.tag in card_rules.PIPELINES for row in HUB_TASKS.values())
    assert hub_task("seq-cls") == HUB_TASKS["text-classification"]
    assert hub_task("poetry") is None


@pytest.mark.parametrize(
    ("task", "stated", "tag"),
    [
        ("feature-extraction", "sentence-similarity", "sentence-similarity"),
        ("text2text-generation-with-past", "summarization", "summarization"),
        ("text-classification", "text-ranking", "text-ranking"),
        ("text-classification", "text-generation", "text-classification"),
        ("text-generation", None, "text-generation"),
        ("poetry", "text-generation", None),
    ],
)
def test_the_tag_of_a_source_is_kept_where_it_is_the_same_task(task: str, stated: str | None, tag: str | None) -> None:
    assert pipeline_tag(task, stated) == tag


@pytest.mark.parametrize("task", sorted(TASKS))
def test_a_card_of_each_task_has_metadata_that_is_right_and_two_examples(task: str) -> None:
    page = card_page(with_task(task))
    assert card_rules.faults(page) == []
    assert [len(re.findall(f"\n```{language}\n", page)) for language in ("python", "js")] == [1, 1]


def test_the_rules_find_faults() -> None:
    """The judge of the other tests: each of these must be refused."""
    wrong = ("library: x", "license: free", "tags: a", "pipeline_tag: x", "base_model: x", "language: [X]", "a: [",
             "base_model_relation: quantized", "model-index: [{name: a, results: [{task: {type: x}}]}]")  # fmt: skip
    assert [text for text in wrong if not card_rules.faults(f"---\n{text}\n---\n")] == []
    assert card_rules.faults("# no metadata")


def test_the_parameters_of_a_step_are_those_that_differ() -> None:
    world = subject()
    (variant, *_) = world.variants
    default = {"iterations": KINDS["benchmark"].params().iterations, "warmup": 77}
    steps = tuple(structs.replace(one, params=default) for one in variant.steps if one.kind == "benchmark")
    whole = structs.replace(world.evidence, variants=(structs.replace(variant, steps=steps, checks=()),))
    assert "| benchmark | fp32 | warmup 77 |" in card_page(structs.replace(world, evidence=whole))


def test_values_of_parameters_are_written_as_json() -> None:
    world = subject()
    (variant, *_) = world.variants
    odd = {"nested": {"a": True, "b": [1, None]}, "flag": True, "sizes": [1, 128], "pairs": [[3, 5]], "word": "int8"}
    steps = tuple(structs.replace(one, params=odd) for one in variant.steps if one.kind == "benchmark")
    whole = structs.replace(world.evidence, variants=(structs.replace(variant, steps=steps, checks=()),))
    row = next(line for line in card_page(structs.replace(world, evidence=whole)).splitlines() if "nested" in line)
    shown = row.replace("\\", "")
    assert shown == (
        '| benchmark | fp32 | nested {"a":true,"b":[1,null]}, flag true, sizes 1 128, pairs [[3,5]], word int8 |'
    )


def test_weights_in_other_files_are_in_the_table_of_digests() -> None:
    outline = structs.replace(FORWARD, data={"./weights.bin": 8})
    files = tuple(File(name, Digest("a" * 64), 5) for name in ("onnx/model.onnx", "onnx/weights.bin", "weights.bin"))
    beside = Folder(name="fp32", files=files, graphs={"onnx/model.onnx": outline})
    page = card_page(subject(folders={"fp32": beside}))
    assert re.findall(r"\| `(fp32/[^`]+)` \| 5 bytes \|", page) == ["fp32/onnx/model.onnx", "fp32/onnx/weights.bin"]
