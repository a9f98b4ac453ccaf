from __future__ import annotations

import subprocess
import sys

import pytest
from seed_messages import SEEDS

from onnxbuild.commands.explain import explain_code
from onnxbuild.protocol import json_text
from onnxbuild.rules import ALL
from onnxbuild.tables.failure_codes import FAILURE_CODES
from onnxbuild.workers.failures.exceptions import explain_exception, note_export, note_place, noticed
from onnxbuild.workers.failures.known_messages import CALIBRATING, KNOWN, TRACING, UNTRACEABLE


class GatedRepoError(Exception): ...


class SafetensorError(Exception): ...


# One message for each entry of the table, in its order, as the library words it; and the headline that it must get.
SAMPLES = [
    (
        "MemoryError: Unable to allocate 8.00 EiB for an array\nwhile calibrating",
        "out of memory while calibration data ran through the graph",
    ),
    ("RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB", "out of memory"),
    ("OSError: [Errno 28] No space left on device", "the disk is full"),
    ("Cannot access gated repo for url https://hub/x. Access to model x is restricted", "the repository is gated"),
    ("404 Client Error. Revision Not Found for url: https://hub/x", "the repository has no such revision"),
    ("404 Client Error. Repository Not Found for url: https://hub/x", "the repository does not exist, or is private"),
    (
        "OfflineModeIsEnabled: Cannot reach https://hub/x: offline mode is enabled.",
        "the model is not on this machine, and network access is turned off",
    ),
    ("HTTPError: 429 Client Error: Too Many Requests for url: https://hub/x", "the Hub limits the rate of requests"),
    ("ConnectError: [Errno 111] Connection refused", "the Hub could not be reached"),
    (
        "ValueError: The repository x contains custom code which must be executed to correctly load the model.",
        "the model comes with its own code, which is not run by default",
    ),
    (
        "ValueError: Due to a serious vulnerability issue in `torch.load`, even with weights_only=True",
        "the weights are a pickle, which this torch does not load",
    ),
    ("SafetensorError: Error while deserializing header: header too large", "the weights file is damaged"),
    (
        "OSError: Error no file named pytorch_model.bin, model.safetensors, tf_model.h5 found in directory x.",
        "the checkpoint has no weights that can be used",
    ),
    (
        "OSError: It looks like the config file at 'x/config.json' is not a valid JSON file.",
        "a JSON file of the checkpoint is damaged",
    ),
    (
        "RuntimeError: You set `ignore_mismatched_sizes` to `False`, thus raising an error.",
        "the shapes of the weights differ from config.json",
    ),
    (
        "ValueError: Preprocessors for pix2struct need to be available for the ONNX export to infer input",
        "the checkpoint has no processor, from which the exporter reads the size of its inputs",
    ),
    (
        "RuntimeError: Sizes of tensors must match except in dimension 2.\nexporter optimum, task summarize-with-past",
        "optimum sizes the past by other fields of config.json than the model does",
    ),
    (
        "ValueError: The decoder part of the encoder-decoder model is bert which does not need past key values.",
        "optimum exports the decoder of the model, a bert, without a past",
    ),
    (
        "RuntimeError: Cannot infer the task from a local directory yet, please specify the task manually",
        "the task could not be determined automatically",
    ),
    (
        (
            "ValueError: Asked to export a bert model for the task text-generation, but the Optimum ONNX exporter only"
            " supports the tasks fill-mask, feature-extraction for bert. Please use a supported task."
        ),
        "bert cannot be exported for this task",
    ),
    (
        "KeyError: 'Unknown task: fill-mask. Possible values are: `feature-extraction`'",
        "the task `fill-mask` does not suit this kind of model",
    ),
    (
        (
            "ValueError: The checkpoint you are trying to load has model type `x` but Transformers does not"
            " recognize this"
            " architecture."
        ),
        "this version of transformers does not know the architecture",
    ),
    (
        "ValueError: Trying to export a x model, that is a custom or unsupported architecture",
        "the exporter does not support this model architecture",
    ),
    (
        "ValueError: Config dummy inputs are not a subset of the model inputs: {'input_ids'} vs {'args', 'kwargs'}",
        "the exporter's config feeds {'input_ids'}, and the model takes {'args', 'kwargs'}",
    ),
    (
        "ValueError: `get_seq_length` can only be called on Attention layers, and the current Cache seem",
        "the model's past is not keys and values in every layer, which the exporter needs",
    ),
    (
        "GuardOnDataDependentSymNode: Could not guard on data-dependent expression Eq(u0, 1) (unhinted: Eq(u0, 1))",
        "the model decides by a value that it computes, and torch.export cannot trace both ways",
    ),
    ("ValueError: Could not infer the pad token id, which is needed in this case", "the model has no padding token"),
    ("ValueError: too many values to unpack (expected 2)", "the model's head does not give the outputs of this task"),
    (
        (
            "UnsupportedOperatorError: Exporting the operator 'aten::scaled_dot_product_attention' to ONNX"
            " opset version 13"
            " is not supported. Support for this operator was added in version 14, try exporting with this version."
        ),
        "opset 13 has no aten::scaled_dot_product_attention",
    ),
    (
        "UnsupportedOperatorError: Exporting the operator 'aten::foo' to ONNX opset version 18 is not supported.",
        "the exporter does not support aten::foo at opset 18",
    ),
    ("ValueError: Unsupported onnx_opset_version: 24", "the exporter does not know this opset"),
    (
        "Constraints violated (batch)! For more information",
        (
            "an axis that must be dynamic was fixed while tracing: RuntimeError: Constraints violated (batch)!"
            " For more information"
        ),
    ),
    (
        "Opset 11 is lower than the recommended minimum opset (14) to export x.",
        "opset 11 is below the minimum that is recommended for this model",
    ),
    (
        (
            "MinimumVersionError: The current version of Transformers does not allow for the export of the model."
            " Minimum required is 4.58.0, got: 4.57.6"
        ),
        "transformers 4.57.6 is too old for this model, which needs 4.58.0",
    ),
    (
        "MinimumVersionError: Unsupported PyTorch version for this model. Minimum required is 2.1, got: 2.0.1",
        "PyTorch 2.0.1 is too old for this model, which needs 2.1",
    ),
    (
        "MinimumVersionError: Unsupported PyTorch version",
        "a library of the toolchain is too old for this model",
    ),
    (
        "ERROR: ResolutionImpossible: for help visit the documentation of pip",
        "the packages to install exclude each other",
    ),
    (
        "ValueError: This protobuf of onnx model exceeds maximum protobuf size of 2GB",
        "the model does not fit into one file of 2 GB",
    ),
    (
        "ValueError: Requested O4 optimization, but this optimization requires to do the export on GPU.",
        "O4 is fp16 for CUDA",
    ),
    (
        "ValueError: The generation config instance is invalid -- `.validate()` throws warnings and/or exceptions.",
        "the generation config of the checkpoint is invalid",
    ),
    (
        "AtolError: … the ONNX exported model is not within the set tolerance 1e-05:\n- logits: max diff = 0.1",
        "output mismatch: the exporter's own check finds larger differences than it allows",
    ),
    (
        "ShapeError: Output shapes do not match between reference model and ONNX exported model:\n- logits",
        "output mismatch: the graph's outputs have other names or shapes than the model's",
    ),
    (
        "RuntimeError: The post-processing of the ONNX export failed.",
        (
            "ONNX export failed after tracing, while the graphs were merged: RuntimeError: RuntimeError: The"
            " post-processing of the ONNX export failed."
        ),
    ),
    ("IndexError: _Map_base::at", "ONNX export failed: RuntimeError: IndexError: _Map_base::at"),
    ("Exception: Incomplete symbolic shape inference", "the optimizer cannot infer the shapes of this graph"),
    (
        "NotImplementedError: Tried to use ORTOptimizer for the model type wav2vec2, but it is not available yet.",
        "the optimizer knows no fusions for this model type",
    ),
    (
        (
            "NotImplementedError: ORTOptimizer does not support ORTModelForCausalLM models when without/with"
            " past models"
            " are merged."
        ),
        "a merged decoder cannot be optimized",
    ),
    ("AssertionError: Graph is not a DAG: end of graph was not reached", "the optimizer made a graph with a cycle"),
    (
        (
            "Fail: [ONNXRuntimeError] : 1 : FAIL : Type Error: Type parameter (T) of Optype (Add) bound to"
            " different types"
            " (tensor(float16) and tensor(float)"
        ),
        "the graph mixes precisions at Add",
    ),
    (
        "ValueError: Either calibration_data_reader or an existing calibration_cache_path must be provided.",
        "static quantization has no data to take ranges from",
    ),
    (
        "ValueError: Quantization parameters are not specified for param /x.",
        "a tensor has no range for its quantization",
    ),
    (
        "ValueError: Histogram has not been collected. Please run collect() first.",
        "a calibrator was asked for ranges before it had any data",
    ),
    (
        (
            "Non-zero status code returned while running GroupQueryAttention node. Name:'/model/layers.0/attn' Status"
            " Message: head_size shall be a multiple of 16. Got head_size % 16 == 8"
        ),
        "this runtime's attention takes only heads whose size is a multiple of 16, and the model's leave 8 over",
    ),
    (
        (
            "NotImplemented: [ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Could not find an implementation for"
            " ConvInteger(10)"
            " node with name '/conv_quant'"
        ),
        "this runtime has no kernel for ConvInteger with these integer types",
    ),
    (
        "NOT_IMPLEMENTED : Could not find an implementation for MatMulNBits(1) node with name '/q_proj'",
        "this runtime has no kernel for MatMulNBits with the types in the graph",
    ),
    (
        "NOT_IMPLEMENTED : Could not find an implementation for Softmax(13) node with name '/softmax'",
        "this runtime cannot run Softmax with the types in the graph",
    ),
    (
        "NOT_IMPLEMENTED : Could not find an implementation for ReduceMax(18) node with name ''",
        "this runtime cannot run ReduceMax with the types in the graph",
    ),
    (
        (
            "Type Error: Type 'tensor(float16)' of input parameter (x) of operator (DynamicQuantizeLinear) in"
            " node (y) is "
            "invalid."
        ),
        "the graph is fp16, and quantizing starts from fp32",
    ),
    (
        "ValueError: Invalid combination of use_static_quantization: False",
        "this pair of integer types is not supported",
    ),
    (
        "NotImplementedError: Static quantization is currently not supported for models with subgraphs.",
        "a graph with branches cannot be quantized this way",
    ),
    ("WARNING: The opset is under 21 and doesn't support int4 data type.", "4-bit weights need opset 21"),
    (
        "RuntimeError: Unable to find data type for weight_name='/x/MatMul_output_0'. shape_inference failed to",
        "the type of `/x/MatMul_output_0` is unknown, so it cannot be quantized",
    ),
    (
        "Fail: Unsupported model IR version: 14, max supported IR version: 13",
        "the model has IR version 14, and this ONNX Runtime reads at most 13",
    ),
    (
        (
            "Fail: ONNX Runtime only *guarantees* support for models stamped with official released onnx opset"
            " versions. "
            "Opset 27 is under development"
        ),
        "this ONNX Runtime does not support the opset yet",
    ),
    (
        "ValueError: Required inputs (['token_type_ids']) are missing from input feed (['input_ids']).",
        "the graph's inputs ['token_type_ids'] were not fed",
    ),
    ("InvalidArgument: INVALID_ARGUMENT : Invalid input name: token_type_ids", "the graph has no input token_type_ids"),
    (
        "InvalidArgument: Unexpected input data type. Actual: (tensor(int32)) , expected: (tensor(int64))",
        "an input is tensor(int32) where the graph takes tensor(int64)",
    ),
    ("InvalidArgument: Unexpected input data type", "an input has another type than the graph takes"),
    (
        (
            "running Gather node. Name:'/token_type_embeddings/Gather' Status Message: indices element out of data"
            " bounds, idx=31 must be within the inclusive range [-2,1]"
        ),
        "index 31 is outside a table of two rows, the types of tokens",
    ),
    (
        (
            "running Gather node. Name:'/embeddings/position_embeddings/Gather' Status Message: indices element out of"
            " data bounds, idx=512 must be within the inclusive range [-512,511]"
        ),
        "position 512 is outside the model's table, which ends at 511",
    ),
    (
        (
            "running Gather node. Name:'/transformer/wte/Gather' Status Message: indices element out of data bounds,"
            " idx=99 must be within the inclusive range [-50,49]"
        ),
        "token 99 is outside the model's vocabulary, which ends at 49",
    ),
    (
        (
            "running Gather node. Name:'/Gather_3' Status Message: indices element out of data bounds, idx=99 must be"
            " within the inclusive range [-50,49]"
        ),
        "index 99 is outside a table of -50 to 49",
    ),
    ("IndexError: index out of range in self", "a token or a position is outside a table of the PyTorch model"),
    (
        (
            "InvalidArgument: Got invalid dimensions for input: past_key_values.1.key for the following indices\n"
            " index: 3 Got: 16 Expected: 32\n Please fix either the inputs/outputs or the model."
        ),
        "the past `past_key_values.1.key` has length 16 in axis 3, and the graph takes 32",
    ),
    (
        (
            "InvalidArgument: Got invalid dimensions for input: input_ids for the following indices\n index: 1 Got: 9"
            " Expected: 8\n Please fix either the inputs/outputs or the model."
        ),
        "the input `input_ids` has length 9 in axis 1, and the graph takes 8",
    ),
    (
        "InvalidArgument: Invalid rank for input: input_ids Got: 1 Expected: 2 Please fix either the inputs/outputs",
        "the input `input_ids` has 1 axes, and the graph takes 2",
    ),
    (
        "InvalidArgument: Got invalid dimensions for input: input_ids for the following indices",
        "an input has another shape than the graph takes",
    ),
    (
        "ValidationError: The file has multiple hard links, indicating a potential hardlink attack",
        "the model's external data cannot be read",
    ),
    (
        "InvalidProtobuf: [ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Load model failed:Protobuf parsing failed.",
        "a file is not an ONNX model",
    ),
    (
        "Fail: Fatal error: com.acme:Foo(-1) is not a registered function/op",
        "the graph has an operator that this runtime does not know",
    ),
    (
        "UserWarning: Specified provider 'CUDAExecutionProvider' is not in available provider names.",
        "the requested execution provider is not available",
    ),
    (
        "ModuleNotFoundError: No module named 'tensorflow'",
        "the checkpoint has no PyTorch weights, only those of tensorflow",
    ),
    ("ModuleNotFoundError: No module named 'sentencepiece'", "the toolchain lacks `sentencepiece`"),
    (
        "ImportError: TapasTokenizer requires the Torch-Scatter library but it was not found in your environment",
        "the toolchain lacks `Torch-Scatter`",
    ),
    (
        (
            "Fail: [ONNXRuntimeError] : 1 : FAIL : Load model from a/model.onnx failed:Node (l) Op (Lin)"
            " [ShapeInferenceError] Inference error(s): (op_type:Constant): One of the attributes must be specified"
        ),
        "ONNX Runtime does not load a graph",
    ),
    (
        "ValueError: The truth value of an array with more than one element is ambiguous. Use a.any() or a.all()",
        "an array was given where one number was expected, as in a histogram of a batch with several rows",
    ),
    (
        "ValueError: see the log\nTracerWarning: Converting a tensor to a Python boolean might cause the trace",
        "ONNX export failed after a branch was traced: RuntimeError: ValueError: see the log",
    ),
    (
        f"ValueError: no bbox\n{UNTRACEABLE}",
        "PyTorch does not run the model on the inputs that are made to trace it: RuntimeError: ValueError: no bbox",
    ),
    (
        f"UserError: no fake kernel\n{TRACING}",
        "torch.export does not trace the model: RuntimeError: UserError: no fake kernel",
    ),
]


def test_every_entry_has_a_sample_in_the_order_of_the_table():
    assert len(SAMPLES) == len(KNOWN)


@pytest.mark.parametrize(("index", "text", "headline"), [(i, *sample) for i, sample in enumerate(SAMPLES)])
def test_a_message_gets_its_own_entry(index, text, headline):
    kind, _, rest = text.partition(": ")
    failure = explain_exception(RuntimeError(text), "")
    assert (failure.code, failure.message) == (KNOWN[index].code, headline), f"{kind}: {rest}"


def test_the_whole_of_a_failure():
    text = next(text for text, headline in SAMPLES if headline.startswith("opset 13 has no"))
    failure = explain_exception(RuntimeError(text), "")
    assert failure.code == "OBE08"
    assert failure.message == "opset 13 has no aten::scaled_dot_product_attention"
    assert failure.notes == (
        ("cause", f"RuntimeError: {text}"),
        ("hint", "set `export: {opset: 14}` or higher; 18 is the default"),
    )
    assert not failure.transient


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("ModuleNotFoundError: No module named 'optimum'", "`pip install 'onnxbuild[optimum]'`"),
        ("ModuleNotFoundError: No module named 'torch'", "`pip install 'onnxbuild[optimum]'`"),
        ("ModuleNotFoundError: No module named 'torch_scatter'", "no extra of onnxbuild has it"),
        ("ImportError: X requires the timm library but it was not found", "no extra of onnxbuild has it"),
        ("ImportError: TFBertModel requires the TensorFlow library", "exporters read PyTorch"),
    ],
)
def test_a_library_that_is_missing_is_installed_from_where_it_is(text, hint):
    failure = explain_exception(RuntimeError(text), "")
    assert hint in dict(failure.notes)["hint"]


def test_the_type_of_an_exception_counts_as_its_words_do():
    assert explain_exception(GatedRepoError("no"), "").message == "the repository is gated"
    assert explain_exception(SafetensorError(""), "").code == "OBE16"


def test_a_network_failure_may_pass_by_itself():
    assert explain_exception(ConnectionError("refused"), "").transient


def test_the_cause_of_an_exception_is_looked_at():
    error = RuntimeError("could not load")
    error.__cause__ = SafetensorError("header")
    assert explain_exception(error, "").message == "the weights file is damaged"


def test_the_log_is_looked_at_last():
    failure = explain_exception(RuntimeError("aborted"), "… DefaultCPUAllocator: can't allocate memory: 9 bytes …")
    assert (failure.code, failure.message) == ("OBE05", "out of memory")
    assert failure.notes[0] == ("cause", "RuntimeError: aborted")


def test_an_unknown_failure_is_reported_as_it_is():
    failure = explain_exception(ZeroDivisionError("a surprise"), "nothing of note")
    assert failure.code == "OBE99"
    assert failure.message == "ZeroDivisionError: a surprise"
    assert failure.notes == (("hint", "the log has the full traceback"),)


def caused(depth):
    """An exception with so many causes below it, of which only the deepest is known."""
    error = SafetensorError("header")
    for _ in range(depth):
        outer = RuntimeError("could not load")
        outer.__cause__ = error
        error = outer
    return error


def test_five_exceptions_of_a_chain_are_looked_at():
    assert explain_exception(caused(4), "").code == "OBE16"
    assert explain_exception(caused(5), "").code == "OBE99"


def test_the_context_of_an_exception_is_looked_at_unless_it_is_suppressed():
    error = RuntimeError("could not load")
    error.__context__ = SafetensorError("header")
    assert explain_exception(error, "").code == "OBE16"
    error.__suppress_context__ = True
    assert explain_exception(error, "").code == "OBE99"


def test_an_exception_without_words_is_named_by_its_type():
    assert explain_exception(ZeroDivisionError(), "").message == "ZeroDivisionError"


def test_messages_and_notes_are_one_line_of_bounded_length():
    error = ValueError("  two   words\nanother line")
    error.add_note("n" * 1000)
    failure = explain_exception(error, "")
    assert failure.message == "ValueError: two words"
    assert failure.notes[0] == ("context", "n" * 399 + "…")
    start = "ValueError: "
    just = "x" * (400 - len(start))
    assert explain_exception(ValueError(just), "").message == start + just
    assert explain_exception(ValueError(just + "y"), "").message == start + just[:-1] + "…"


def test_a_part_of_a_message_that_is_absent_is_called_it():
    import re

    from onnxbuild.workers.failures.exceptions import _fill

    match = re.match(r"(a)(b)?", "a")
    assert _fill("{1}, {2} and {word}", match) == "a, it and {word}"


def test_an_exception_of_a_custom_exporter_is_not_blamed_on_onnxbuild():
    error = ValueError("no weights")
    note_place(error, "mine.py:12")
    failure = explain_exception(error, "")
    assert (failure.code, failure.message) == ("OBE69", "your exporter failed at mine.py:12: ValueError: no weights")
    assert FAILURE_CODES["OBE69"].message == "a custom exporter raised an exception"
    memory = MemoryError()
    note_place(memory, "mine.py:12")
    assert explain_exception(memory, "").code == "OBE05"


SIZES = "mat1 and mat2 shapes cannot be multiplied (32x126 and 128x128)"
TRACEBACK = "torch/onnx/utils.py, line 7, in _create_jit_graph\n    torch.jit._get_trace_graph(model, args)"


def chained():
    """What torch.onnx raises: a long text that says the reason late, with the reason as its cause."""
    outer = RuntimeError("torch.onnx failed to export the model.\nStep 2 of 3\n\n## Exception summary")
    outer.__cause__ = RuntimeError(f"{SIZES}\nsecond line")
    return outer


FAILED_EXPORTS = [
    (RuntimeError(SIZES), TRACEBACK, f"ONNX export failed: RuntimeError: {SIZES}"),  # optimum
    (chained(), "", f"ONNX export failed: RuntimeError: {SIZES}"),  # transformers, torch.export
    (NotImplementedError("\n  no GRU\n"), "", "ONNX export failed: NotImplementedError: no GRU"),  # genai, a function
    (StopIteration(), "", "ONNX export failed: StopIteration"),
    (
        Exception("The post-processing of the ONNX export failed. Detailed error: Unable to merge: Detailed error: no"),
        "",
        "ONNX export failed after tracing, while the graphs were merged: no",
    ),
    (
        RuntimeError("Failed to export the model with torch.export. Step 1 of 3"),
        "",
        (
            "an axis that must be dynamic was fixed while tracing: RuntimeError: Failed to export the model with"
            " torch.export. Step 1 of 3"
        ),
    ),
]


@pytest.mark.parametrize(("raised", "log", "message"), FAILED_EXPORTS, ids=[message for *_, message in FAILED_EXPORTS])
def test_a_failed_export_names_the_last_reason_of_the_library_in_its_first_line(raised, log, message):
    note_export(raised, "optimum, opset 18")
    failure = explain_exception(raised, log)
    assert (failure.code, failure.message) == ("OBE09" if message.startswith("an axis") else "OBE03", message)
    assert ("context", "exporter optimum, opset 18") in failure.notes
    assert dict(failure.notes)["hint"]


def test_an_exception_may_be_its_own_cause():
    error = RuntimeError("torch.onnx failed")
    error.__cause__ = error
    assert explain_exception(error, "").message == "ONNX export failed: RuntimeError: torch.onnx failed"


def test_a_reason_is_cut_to_one_line_of_reasonable_length():
    error = RuntimeError("x" * 900)
    note_export(error, "optimum, opset 18")
    assert len(explain_exception(error, "").message) == len("ONNX export failed: ") + 240


def test_what_code_of_onnxbuild_raises_in_an_exporter_is_not_the_exporters_fault():
    with pytest.raises(TypeError) as caught:
        json_text(object())
    note_export(caught.value, "optimum, opset 18")
    assert explain_exception(caught.value, "").code == "OBE99"


def test_the_notes_of_an_exception_are_reported():
    error = ValueError("a surprise")
    error.add_note("rows 8, opset 18")
    failure = explain_exception(error, "")
    assert (failure.code, failure.notes[0]) == ("OBE99", ("context", "rows 8, opset 18"))
    memory = MemoryError()
    assert explain_exception(memory, "").code == "OBE05"
    memory.add_note(CALIBRATING)
    failure = explain_exception(memory, "")
    assert failure.code == "OBE30"
    assert failure.notes[:2] == (("cause", "MemoryError:"), ("context", "while calibrating"))
    assert "`calibration: minmax`" in failure.notes[2][1]


@pytest.mark.parametrize(("code", "text", "hint"), SEEDS, ids=[f"{code}: {text[:40]}" for code, text, _ in SEEDS])
def test_every_message_of_the_catalogue_is_explained_under_its_code(code, text, hint):
    failure = explain_exception(RuntimeError(text), "")
    assert failure.code == code
    assert hint in dict(failure.notes)["hint"]
    assert ALL[code].why
    assert ALL[code].fix
    assert f"fix: {ALL[code].fix}" in explain_code(code)


def test_the_catalogue_is_whole():
    """OBE07 belongs to browsers; our own checks find OBE06 and OBE24, without a message of a library."""
    numbers = {*range(1, 7), *range(8, 44)} - {6, 24}
    assert {code for code, _, _ in SEEDS} == {f"OBE{number:02}" for number in numbers}
    assert {"OBE06", "OBE24"} <= FAILURE_CODES.keys()


def test_every_code_of_run_time_has_a_cause_and_a_fix():
    assert [code for code, page in FAILURE_CODES.items() if not (page.cause and page.fix)] == []


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("The generation config is invalid and will not be saved : `temperature` is set", "OBE19"),
        ("The ONNX export succeeded with the warning: … is not within the set tolerance 1e-05:", "OBE04"),
        (
            "The exported ONNX model does not have the exact same outputs as what is provided in BertOnnxConfig.",
            "OBE04",
        ),
        ("Opset 9 is lower than the recommended minimum opset (11) to export bert.", "OBE10"),
        ("*************** EP Error *************** when using ['CUDAExecutionProvider']", "OBE43"),
        ("The opset of the input model is under 21 and doesn't support int4 data type. Force to update it", "OBE35"),
    ],
)
def test_what_the_log_of_a_step_that_succeeded_says(line, code):
    found = noticed(f"first line\n{line}\nlast line\n")
    assert [one.split()[0] for one in found] == [code]
    assert found[0].endswith(f": {line}")
    assert [one[one.index(": ") + 2 :] for one in noticed(line)] == [line]
    assert noticed(line.upper())[0].startswith(f"{code} ")


def test_an_uneventful_log_says_nothing():
    assert noticed("loading\nexporting\n0 warnings\n") == []


def test_every_code_that_a_worker_raises_is_listed():
    import re
    from pathlib import Path

    import onnxbuild.workers

    modules = Path(onnxbuild.workers.__file__).parent.rglob("*.py")
    raised = {code for path in modules for code in re.findall(r'"(OBE\d\d)"', path.read_text(encoding="utf-8"))}
    assert len(raised) > 20
    assert raised <= FAILURE_CODES.keys()


def test_explaining_imports_nothing_heavy():
    code = (
        "import sys, onnxbuild.workers.failures.exceptions; "
        "print(sorted({'onnx', 'numpy', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
