"""What lint finds about an export before anything runs."""

from __future__ import annotations

import pytest
from msgspec import UNSET

from onnxbuild.machine import Machine
from onnxbuild.steps.benchmark import BENCHMARK
from onnxbuild.steps.export import EXPORT, ExportParams
from onnxbuild.steps.exporters import EXPORTERS, UNPINNED, pick, reason, what_each_lacks
from onnxbuild.steps.kind import EVERYTHING, Context
from onnxbuild.steps.validate import VALIDATE

MACHINE = Machine(cpu="a cpu", architecture="x86_64", flags=("avx2",), cores=2)
FIVE = {"transformers": "5.23.0", "torch": "2.13.0"}


def context(task, model_type="mpnet", **versions) -> Context:
    return Context(
        task=task, family="encoder", config={"model_type": model_type}, precision="fp32", previous=(),
        reference="checkpoint", device="cpu", machine=MACHINE, versions={**FIVE, **versions},
    )  # fmt: skip


def found(params, about):
    return [(fault.code, fault.field, fault.message) for fault in EXPORT.check(params, about)]


@pytest.mark.parametrize("library", ["auto", "sentence_transformers"])
def test_sentence_vectors_need_sentence_transformers_in_the_toolchain(library):
    params = ExportParams(exporter="transformers", library=library)
    lacking = {"sentence-transformers": "absent"}
    message = "the task needs sentence-transformers to load its pooling, and this toolchain lacks it"
    assert found(params, context("sentence-similarity", **lacking)) == [("OB105", "library", message)]
    assert found(params, context("sentence-similarity", **{"sentence-transformers": "5.7.0"})) == []
    assert found(params, context("sentence-similarity")) == []  # nobody knows what an unlocked toolchain will have
    bare = ExportParams(exporter="transformers", library="transformers")
    assert found(bare, context("sentence-similarity", **lacking)) == []


def test_a_library_of_sentences_does_not_classify():
    params = ExportParams(exporter="transformers", library="sentence_transformers")
    message = "`library: sentence_transformers` exports sentence vectors, not `text-classification`"
    assert found(params, context("text-classification")) == [("OB325", "library", message)]
    genai = ExportParams(exporter="genai", library="sentence_transformers")
    task = "text-generation-with-past"
    assert found(genai, context(task, "qwen3")) == [
        ("OB325", "library", "`library` has no effect with `exporter: genai`")
    ]


@pytest.mark.parametrize("task", ["question-answering", "multiple-choice"])
def test_a_head_that_the_other_exporter_knows(task):
    faults = list(EXPORT.check(ExportParams(exporter="optimum"), context(task, "modernbert", transformers="4.57.6")))
    hint = (
        "the model exports with `export: {exporter: transformers}` in a toolchain with transformers from 5.23 and"
        " below 6 (see how-to/toolchains in the documentation)"
    )
    assert [(fault.code, fault.hint) for fault in faults] == [("OB302", hint)]
    assert found(ExportParams(exporter="transformers"), context(task, "modernbert")) == []


def hints(params, about):
    return [(fault.code, fault.hint) for fault in EXPORT.check(params, about)]


def test_an_exporter_that_the_toolchain_can_run_is_recommended_as_it_is_written_and_without_a_remark():
    about = context("text-generation", "bert", transformers="5.23.1")
    four = context("text-generation", "bert", transformers="4.57.6")
    assert hints(ExportParams(exporter="genai"), about) == [
        ("OB301", "the model exports with `export: {exporter: transformers}`")
    ]
    # optimum works with this version, but does not export the model.
    assert hints(ExportParams(exporter="transformers"), four) == [
        ("OB105", "give the model a toolchain with a suitable transformers: see how-to/toolchains in the documentation")
    ]
    (fault,) = EXPORT.check(ExportParams(exporter="transformers"), context("fill-mask", "bert", transformers="4.57.6"))
    assert fault.hint.startswith("`export: {exporter: optimum}` works with that version, or give the model")


def test_only_the_tasks_that_the_toolchain_can_export_are_listed():
    def listed(version, model_type="bert"):
        (fault,) = EXPORT.check(ExportParams(), context("chess", model_type, transformers=version))
        return fault.hint

    assert "text-generation" not in listed("4.57.6")
    assert "text-generation" in listed("5.23.1")
    assert listed("4.57.6", "timesfm").endswith(
        " in a toolchain with transformers from 5.23 and below 6 (see how-to/toolchains in the documentation)"
    )


@pytest.mark.parametrize(("written", "near"), [("mamba9", "mamba"), ("mpnat", "mpnet")])
def test_a_misspelt_model_type_is_looked_for_among_the_types_of_every_exporter(written, near):
    (fault,) = EXPORT.check(ExportParams(exporter="optimum"), context("fill-mask", written, transformers="4.57.6"))
    assert (fault.code, fault.hint) == ("OB301", f"did you mean `{near}`?")


def test_the_versions_of_sentence_transformers_are_in_the_key_where_it_may_load_the_checkpoint():
    def keyed(**fields) -> bool:
        return "sentence-transformers" in EXPORT.packages(ExportParams(**fields))

    assert keyed(exporter="transformers", task="sentence-similarity")
    assert keyed(exporter="transformers", task="feature-extraction")
    assert keyed(exporter="optimum", task="fill-mask")
    assert not keyed(exporter="transformers", task="fill-mask")
    assert not keyed(exporter="transformers", task="sentence-similarity", library="transformers")


def test_whatever_is_installed_is_in_the_key_of_a_custom_exporter_and_of_no_other():
    exporters = ("mine.py:export", "package.module:export", *EXPORTERS)
    whole = [name for name in exporters if EVERYTHING in EXPORT.packages(ExportParams(exporter=name))]
    assert whole == ["mine.py:export", "package.module:export"]


DECODER = "text-generation-with-past"
MOBIUS = {**FIVE, "mobius-onnx": "0.1.0"}


@pytest.mark.parametrize(
    ("model_type", "task", "versions", "picked"),
    [
        ("qwen3", DECODER, {"transformers": "4.57.6", "optimum": "2.1.0"}, "optimum"),
        ("qwen3", DECODER, MOBIUS, "transformers"),
        ("qwen3_next", DECODER, {**MOBIUS, "mobius-onnx": UNPINNED}, "transformers"),
        ("mamba", DECODER, MOBIUS, "transformers"),  # which refuses it, and names the task that it can
        ("chatglm", DECODER, {**MOBIUS, "onnxruntime-genai": "0.18.0"}, "genai"),
        ("chatglm", DECODER, {**MOBIUS, "onnxruntime-genai": "absent"}, "transformers"),
        ("qwen3", DECODER, {}, "optimum"),
    ],
)
def test_auto_takes_the_first_exporter_that_knows_the_model_and_that_the_toolchain_has(
    model_type, task, versions, picked
):
    assert pick(model_type, task, versions) == picked


def test_the_reason_names_the_exporters_before_it_that_cannot():
    assert reason("genai", "chatglm", DECODER) == (
        f"genai knows chatglm for {DECODER}; optimum and transformers and mobius cannot export it"
    )
    assert reason("transformers", "qwen3", DECODER) == f"transformers knows qwen3 for {DECODER}"


def test_a_type_that_freezes_is_refused_for_every_task_and_one_with_states_only_with_a_past():
    def codes(model_type, task):
        return [code for code, _, _ in found(ExportParams(exporter="transformers"), context(task, model_type))]

    assert codes("minimax", DECODER) == codes("minimax", "text-generation") == ["OB638"]
    assert codes("mamba", DECODER) == ["OB638"]
    assert codes("mamba", "text-generation") == []
    assert codes("led", "text2text-generation") == codes("siglip2", "feature-extraction") == ["OB638"]
    for name in ("bamba", "granitemoehybrid", "lfm2", "qwen3_5_text", "qwen3_next"):
        assert codes(name, DECODER) == codes(name, "text-generation") == [], name


def test_a_type_whose_graph_cannot_be_compared_is_refused_by_every_exporter_that_has_it():
    def told(exporter, model_type, versions):
        asked = context("feature-extraction", model_type, **versions)
        return [(fault.code, fault.hint) for fault in EXPORT.check(ExportParams(exporter=exporter), asked)]

    hides = "its graph hides other patches in each run"
    nobody = f"optimum: {hides}; transformers: {hides}; mobius and genai do not know it"
    by_hand = "write `export: {exporter: path/to/file.py:function}` with a function that exports it"
    own = f"no exporter can ({nobody}): {by_hand}"
    four = {"transformers": "4.57.6", "optimum": "2.1.0"}
    assert told("optimum", "vit_mae", four) == told("transformers", "vit_mae", {}) == [("OB638", own)]
    assert [code for code, _ in told("optimum", "longformer", four)] == ["OB638"]
    ((code, hint),) = told("optimum", "trocr", four)
    assert code == "OB638"
    assert "`text-generation" in hint


def test_mobius_has_one_opset_and_reads_no_field_of_others():
    params = ExportParams(exporter="mobius", attention="eager", dtype="fp16")
    assert {field for code, field, _ in found(params, context(DECODER, "qwen3", **MOBIUS))} == {"attention", "dtype"}
    resolved = EXPORT.resolve(ExportParams(exporter="mobius"), context(DECODER, "qwen3", **MOBIUS))
    assert resolved.opset == 24


OF_OTHERS = [
    ("timm", "timm_wrapper", "feature-extraction"),
    ("sentence_transformers", "static_embedding", "sentence-similarity"),
]


@pytest.mark.parametrize(("name", "model_type", "task"), OF_OTHERS)
@pytest.mark.parametrize("five", [{}, FIVE, {"transformers": "4.57.6", "optimum": "2.1.0"}])
def test_a_checkpoint_of_another_library_is_exported_by_it(name, model_type, task, five):
    package = EXPORTERS[name].package
    for versions in ({}, {package: EXPORTERS[name].requirement.partition("==")[2]}, {package: UNPINNED}):
        assert pick(model_type, task, {**five, **versions}) == name
    assert pick("bert", "fill-mask", {**five, package: "absent"}) == ("transformers" if five == FIVE else "optimum")
    assert pick("unheard_of", task, five) == ("transformers" if five == FIVE else "optimum")


@pytest.mark.parametrize(("name", "model_type", "task"), OF_OTHERS)
def test_a_toolchain_without_that_library(name, model_type, task):
    package = EXPORTERS[name].package
    params = ExportParams(exporter=name)
    lacking = context(task, model_type, **{package: "absent"})
    assert found(params, lacking) == [("OB637", "exporter", f"the toolchain does not have `{name}`")]
    assert found(params, context(task, model_type)) == []  # another package may bring it
    old = context(task, model_type, **{package: "0.9.0"})
    assert [fault.code for fault in EXPORT.check(params, old)] == ["OB105"]


@pytest.mark.parametrize(("name", "model_type", "task"), OF_OTHERS)
def test_fields_that_such_an_exporter_does_not_read(name, model_type, task):
    params = ExportParams(
        exporter=name, attention="eager", library="transformers", pad_token_id=0, allow_missing=("a*",)
    )
    fields = ["library", "attention", "pad_token_id", "allow_missing"]
    about = context(task, model_type)
    assert found(params, about) == [
        ("OB325", field, f"`{field}` has no effect with `exporter: {name}`") for field in fields
    ]
    assert found(ExportParams(exporter="sentence_transformers", library="sentence_transformers"),
                 context("sentence-similarity", "static_embedding")) == []  # fmt: skip


def test_the_key_of_such_an_export_has_the_library():
    assert EXPORT.packages(ExportParams(exporter="timm")) == ("timm", "torchvision", "torch", "onnx")
    static = ExportParams(exporter="sentence_transformers", task="sentence-similarity")
    assert EXPORT.packages(static) == ("sentence-transformers", "transformers", "torch", "onnx")


@pytest.mark.parametrize("kind", [VALIDATE, BENCHMARK])
def test_a_comparison_with_timm_has_it_in_its_key(kind):
    about = {"task": "image-classification", "model_type": "timm_wrapper"}
    params = kind.resolve(kind.params(), context(**about))
    assert params.library == "timm"
    assert {"timm", "torchvision"} < set(kind.packages(params))
    other = kind.resolve(kind.params(), context("image-classification", "resnet"))
    assert (other.library, "timm" in kind.packages(other)) == (UNSET, False)


FROZEN = "its loop over the text is frozen at the length of the sample"
NOBODY = f"transformers: {FROZEN}; optimum, mobius and genai do not know it"
BY_HAND = "write `export: {exporter: path/to/file.py:function}` with a function that exports it"
MOBIUS_AND_GENAI = {"mobius-onnx": "0.1.0", "onnxruntime-genai": "0.18.0"}
DECODER = "text-generation-with-past"


@pytest.mark.parametrize(
    ("model_type", "task", "name", "before"),
    [
        ("vjepa2", "feature-extraction", "transformers", "optimum"),
        ("chatglm", DECODER, "genai", "optimum and transformers and mobius"),
    ],
)
def test_auto_takes_the_only_exporter_that_knows_a_type_and_says_so(model_type, task, name, before):
    assert [one for one, exporter in EXPORTERS.items() if exporter.knows(model_type, task)] == [name]
    assert pick(model_type, task, {**FIVE, **MOBIUS_AND_GENAI}) == name
    assert reason(name, model_type, task) == f"{name} knows {model_type} for {task}; {before} cannot export it"


def test_a_type_that_nobody_exports_is_refused_with_what_each_lacks():
    (fault,) = EXPORT.check(ExportParams(), context(DECODER, "minimax", **MOBIUS_AND_GENAI))
    assert (fault.code, fault.hint) == ("OB638", f"no exporter can ({NOBODY}): {BY_HAND}")
    (fault,) = EXPORT.check(ExportParams(), context(DECODER, "minimax", transformers="4.57.6"))
    assert (fault.code, fault.message) == ("OB301", "`optimum` does not know the model type `minimax`")
    assert fault.hint == f"no exporter can ({NOBODY}): {BY_HAND}"
    (fault,) = EXPORT.check(ExportParams(), context(None, "minimax", transformers="4.57.6"))
    assert (fault.code, fault.message) == ("OB638", f"no exporter exports minimax right: {NOBODY}")


def test_no_hint_names_what_was_written():
    """A type that some table has is no typing error, although this exporter does not know it."""
    (fault,) = EXPORT.check(ExportParams(exporter="genai"), context(DECODER, "mamba", **MOBIUS_AND_GENAI))
    assert fault.hint == "the model exports for `feature-extraction` with `export: {exporter: transformers}`"
    assert what_each_lacks("mamba", DECODER) == (
        "transformers: its past is more than what a graph can take; optimum, mobius and genai do not know it"
    )
