"""Codes of run time (OBE…): what workers and the engine report, with its cause and what helps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class FailureCode(NamedTuple):
    """One code: a name for URLs, a headline, the cause, and what helps."""

    name: str
    headline: str
    cause: str
    fix: str


FAILURE_CODES: Mapping[str, FailureCode] = {
    "OBE01": FailureCode(
        "task-unknown",
        "Couldn't determine the model task automatically.",
        "config.json names no head that implies a task, or one for which the exporter has none.",
        (
            "Set `task:` on the model; `architectures` in config.json tells it: BertForSequenceClassification is "
            "`text-classification`."
        ),
    ),
    "OBE02": FailureCode(
        "architecture-unsupported",
        "Model architecture not supported, or not for this task.",
        (
            "The exporter has no config for the model type, or this version of transformers is older than the "
            "model: optimum-onnx 0.1.0 holds it below 4.58."
        ),
        (
            "A task that the model type has; `exporter: transformers` or `genai`; a toolchain with newer "
            "versions; else a function of your own with the config of the nearest family "
            "(docs/how-to/own-exporter.md)."
        ),
    ),
    "OBE03": FailureCode(
        "export-failed",
        "ONNX export failed, or its result is not what was asked for.",
        (
            "The exporter gave up while it traced, converted or merged the model; OBE08 to OBE12 are the causes "
            "that can be told apart."
        ),
        (
            "Try `attention: eager` or opset 18 in `export:`, or the other tracer (`exporter: optimum` is "
            "TorchScript, `transformers` torch.export); the log holds the exporter's own words, the message what "
            "it was called with."
        ),
    ),
    "OBE04": FailureCode(
        "output-mismatch",
        "Validation error: output mismatch between a variant and its reference.",
        (
            "Below 1e-3 noise of fp32; above it too coarse a quantization, a fusion that changes results, or a "
            "damaged graph; other names or shapes come from the exporter's config of the model type."
        ),
        "See which step breaks it first; quantize per channel or with more bits, or set the bound that suits you.",
    ),
    "OBE05": FailureCode(
        "out-of-memory",
        "Out of memory during export or another step.",
        (
            "An export holds the weights, the traced copy and the result; the system ends a process that takes "
            "too much without a word (signal 9, exit status 137)."
        ),
        (
            "Run fewer actions at once (`-j 1`), shorten samples, trace without a past, or build on a machine "
            "with more memory; OBE30 is the same while data is read."
        ),
    ),
    "OBE06": FailureCode(
        "not-finite",
        "Model produces wrong outputs after conversion: NaN or infinity.",
        "fp16 overflow (the squares of a LayerNorm), damaged weights, or a mask that leaves nothing to attend to.",
        (
            "The run says which step breaks it first: keep in fp32 what overflows (`precision: {dtype: fp16, "
            "keep_fp32: auto}`), or fetch the weights again."
        ),
    ),
    "OBE08": FailureCode(
        "operator-not-exported",
        "The exporter has no form of an operator at this opset.",
        "Some operators of PyTorch came to ONNX with a later opset: scaled_dot_product_attention with 14.",
        (
            "Set the `opset:` that the message names (18 is the default), or `attention: eager`, or `exporter: "
            "transformers`."
        ),
    ),
    "OBE09": FailureCode(
        "axis-specialized",
        "An axis that has to be free was fixed while tracing.",
        (
            "A branch of the model depends on a size, an example had size 1, two axes that are one have two "
            "names, or positions end somewhere."
        ),
        (
            "`exporter: optimum`, or `attention: eager`; in a function of your own examples of 2 or more, one Dim "
            "for ids and mask, and a `max`."
        ),
    ),
    "OBE10": FailureCode(
        "opset-too-low",
        "The opset is lower than what is recommended for this model.",
        "The exporter's config of the model type was written for a later opset.",
        "Set `opset: 18`, the default, or higher in `export:`.",
    ),
    "OBE11": FailureCode(
        "library-too-old",
        "A library of the toolchain is too old for this model.",
        "The exporter needs a newer release than the one that is installed.",
        (
            "`pip install` what the message names into the toolchain, or install the constraints file of this "
            "release; transformers from 4.58 on excludes optimum-onnx 0.1.0, so such a model needs a toolchain of "
            "its own."
        ),
    ),
    "OBE12": FailureCode(
        "packages-exclude-each-other",
        "Packages that were to be installed exclude each other.",
        (
            "optimum-onnx 0.1.0 holds transformers below 4.58, and newer models need 5. While a toolchain is "
            "locked the same is OB105."
        ),
        (
            "Give each exporter a toolchain of its own (`toolchains:`), apart from the environment that serves "
            "the model."
        ),
    ),
    "OBE13": FailureCode(
        "no-padding-token",
        "The model has no padding token.",
        "A batch of texts of several lengths needs one.",
        ("Set `pad_token_id:` in `export:`; the end token's id serves. Batches of one row need none."),
    ),
    "OBE14": FailureCode(
        "custom-code",
        "The model comes with code of its own, which is not run.",
        "Code from a repository could do anything on this machine; nobody is asked at run time.",
        (
            "Read it, then write `export: {trust_remote_code: true}` and the commit in `source:`; or use a model "
            "type that transformers knows."
        ),
    ),
    "OBE15": FailureCode(
        "source-unreachable",
        "A repository could not be read.",
        "It is gated, private or misspelt, or there is no network.",
        "Check its name and HF_TOKEN; offline, use `local:`.",
    ),
    "OBE16": FailureCode(
        "checkpoint-damaged",
        "A file of the checkpoint is missing or damaged.",
        (
            "A download was cut short, a Git-LFS pointer stands for a file, or there are only other frameworks' "
            "weights, an adapter or GGUF."
        ),
        "Fetch it again; merge an adapter into its base model first; use the PyTorch weights in place of others.",
    ),
    "OBE17": FailureCode(
        "pickle-refused",
        "The weights are a pickle, which this torch does not load.",
        "Loading a pickle can run code.",
        "Use the repository's safetensors, convert the .bin file, or name a toolchain with torch 2.6 or newer.",
    ),
    "OBE18": FailureCode(
        "o4-without-gpu",
        "O4 is fp16 for CUDA, and there is none.",
        "fp16 is slower than fp32 on most CPUs, and optimum refuses it.",
        "Use O2 or O3, or `device: cuda` on a machine that has it.",
    ),
    "OBE19": FailureCode(
        "generation-config-invalid",
        "The generation config of the checkpoint is invalid.",
        (
            "Settings exclude each other, such as a temperature without `do_sample`; transformers refuses to "
            "write them. The export goes on and warns: its folder then holds the checkpoint's "
            "generation_config.json as it is, or none."
        ),
        "Mend generation_config.json, or what config.json says of generation.",
    ),
    "OBE20": FailureCode(
        "over-two-gigabytes",
        "The model does not fit into one file of 2 GB.",
        "Protobuf's limit; larger weights lie beside the graph as external data.",
        (
            "In a function of your own write external data and check the model by its path; for a step of "
            "onnxbuild, report it."
        ),
    ),
    "OBE21": FailureCode(
        "shapes-unknown",
        "The optimizer cannot infer the shapes of this graph.",
        (
            "Symbolic shape inference does not know every operator, fused ones least of all. In a log alone it is "
            "harmless."
        ),
        "Use `optimize: O1`, or O2 and then `precision: fp16` in place of O4.",
    ),
    "OBE22": FailureCode(
        "optimizer-lacks-family",
        "The optimizer knows no fusions for this model type.",
        "Fusions are written family by family.",
        "Use `optimize: O1`, which needs to know nothing of the family, or none.",
    ),
    "OBE23": FailureCode(
        "merged-decoder",
        "A merged decoder cannot be optimized.",
        "The fusions do not reach into the branches that hold both decoders.",
        "Export it again from the checkpoint: its parts are optimized and merged afterwards.",
    ),
    "OBE24": FailureCode(
        "nothing-fused",
        "The optimizer fused nothing where fusing is expected.",
        "The exporter wrote a pattern that the fusions do not match (scaled_dot_product_attention, torch.export).",
        "Use `optimize: O1` or none, a newer onnxruntime, or export with `attention: eager`.",
    ),
    "OBE25": FailureCode(
        "graph-with-cycle",
        "The optimizer made a graph with a cycle.",
        "A rewrite to fp16 or by inferred shapes put a node before what it reads.",
        "Use `optimize: O1`, or O2 and then `precision: fp16`; report it to ONNX Runtime.",
    ),
    "OBE26": FailureCode(
        "mixed-precision",
        "The graph mixes precisions where they must be equal.",
        "A half-converted fp16 graph: one converted twice, or exported in fp16 by half.",
        (
            "Export with `dtype: fp32`, then `precision: {dtype: fp16, keep_fp32: [OPERATOR]}` with the operator "
            "that the message names."
        ),
    ),
    "OBE27": FailureCode(
        "no-calibration-data",
        "Static quantization has no data to take ranges from.",
        "Ranges of activations are measured; only weights can be read from the file.",
        "Name one of `datasets:` in `quantize: {method: static, dataset: …}`; `method: dynamic` needs none.",
    ),
    "OBE28": FailureCode(
        "no-range",
        "A tensor has no range or type to quantize by.",
        "The calibration never saw it: constant, not a float, or a node that was left out.",
        "`calibration: minmax`, its operator in `operators`, O1 first, or its node in `exclude`.",
    ),
    "OBE29": FailureCode(
        "calibration-data-unusable",
        "A calibrator got no data, or data of a form that it does not take.",
        "A reader that is empty or was read before, or histograms of batches of several rows.",
        "Yield rows one by one under the graph's input names; `quantize: {method: static}` does.",
    ),
    "OBE30": FailureCode(
        "out-of-memory-calibrating",
        "Out of memory while data was read through a graph.",
        "Values of every tensor are watched; ONNX Runtime's own calibrators even keep them all.",
        (
            "Fewer tokens of a row (`sequence`), then `calibration: minmax`, which keeps no histograms, then "
            "fewer `operators`."
        ),
    ),
    "OBE31": FailureCode(
        "kernel-missing",
        "This runtime cannot run an operator as the graph has it.",
        "A provider has kernels for some types only: ConvInteger with signed weights came with onnxruntime 1.24.4.",
        (
            "For ConvInteger leave Conv out (`operators: [MatMul]`), or use `method: static`; otherwise add the "
            "node to `exclude`, or use a newer onnxruntime."
        ),
    ),
    "OBE32": FailureCode(
        "quantize-fp16",
        "The graph is fp16, and quantizing starts from fp32.",
        "Integers are scaled from fp32.",
        "Quantize the fp32 graph; `precision: fp16` may follow weight-only quantization.",
    ),
    "OBE33": FailureCode(
        "integer-types",
        "This pair of integer types is not supported.",
        (
            "Activations and weights may be: dynamic U8 with S8 or U8; static U8 with S8 or U8, S8 with S8 (as "
            "QDQ). S8 with U8 never."
        ),
        "Use one of the presets, which are such pairs.",
    ),
    "OBE34": FailureCode(
        "graph-with-branches",
        "A graph with branches cannot be quantized this way.",
        "Ranges of what is inside a branch cannot be measured; optimum quantizes one file at a time.",
        "`method: dynamic`, or its parts one by one.",
    ),
    "OBE35": FailureCode(
        "opset-for-int4",
        "4-bit weights need opset 21 and IR version 10 in this form.",
        "ONNX has 4-bit integers from there on.",
        "Set `opset: 21` in `export:`; `method: weight-only` writes MatMulNBits, which any opset takes.",
    ),
    "OBE36": FailureCode(
        "model-too-new",
        "The model's opset or IR version is newer than this ONNX Runtime reads.",
        (
            "It was made by newer libraries than those that run it: onnxruntime 1.31 reads IR version 13 and "
            "opset 26; opset 18 makes IR version 8, 21 makes 10, 23 makes 11."
        ),
        "Export with a lower `opset:`, or use a newer onnxruntime.",
    ),
    "OBE37": FailureCode(
        "input-not-fed",
        "A graph takes an input that was not fed, or of a type that cannot be fed.",
        "The tokenizer and the graph disagree, ids are int32, or the task is another one.",
        "Feed what `session.get_inputs()` names, as int64; set the `task:` that the model was trained for.",
    ),
    "OBE38": FailureCode(
        "index-out-of-range",
        "A token or position lies outside its table.",
        (
            "A text longer than the model's positions, a tokenizer with a larger vocabulary than the model, or "
            "inputs in the wrong order; the node's name tells which."
        ),
        "Use shorter sequences, or the tokenizer that belongs to the model; feed inputs by name.",
    ),
    "OBE39": FailureCode(
        "axis-fixed",
        "An axis that has to be free is fixed.",
        "It was frozen at export.",
        "Export it again; an `onnx:` source has to have free batch and sequence axes.",
    ),
    "OBE40": FailureCode(
        "external-data",
        "External data is missing, cut short or outside the model's folder.",
        "An .onnx file and its data were parted.",
        "Bring both, under their first names.",
    ),
    "OBE41": FailureCode(
        "not-onnx",
        "A file is not an ONNX model.",
        "It is damaged, a Git-LFS pointer, or a web page.",
        "Fetch it again.",
    ),
    "OBE42": FailureCode(
        "operator-unknown",
        "The graph has an operator that this runtime does not know.",
        "It was fused for another runtime.",
        "Start from the plain export.",
    ),
    "OBE43": FailureCode(
        "provider-missing",
        "The execution provider that was asked for is not there.",
        (
            "The wheel lacks it, or its CUDA and cuDNN are not there. ONNX Runtime falls back to the CPU in "
            "silence, and a benchmark would measure that."
        ),
        (
            "Install onnxruntime-gpu in place of onnxruntime, with the CUDA that it wants, or set `device: cpu`; "
            "`onnxbuild doctor` lists what is there."
        ),
    ),
    "OBE48": FailureCode(
        "nothing-quantized",
        "Quantize quantized nothing.",
        "No operator of the graph is of a kind that the method quantizes.",
        "Choose the other method, or look at `operators` and `exclude`.",
    ),
    "OBE49": FailureCode(
        "not-smaller",
        "Quantize did not make the model smaller.",
        "Most weights are in operators that were left as they are.",
        "Choose the other method, or look at `operators` and `exclude`.",
    ),
    "OBE50": FailureCode(
        "nothing-excluded",
        "`exclude` names a node that is not there.",
        "An optimized graph has other names than the export.",
        "Name a node of the graph that the step gets.",
    ),
    "OBE51": FailureCode(
        "tokenizer-not-trained",
        "A tokenizer could not be trained.",
        "There is no text, or the vocabulary is smaller than an alphabet of bytes.",
        "Give it a text, or a larger vocabulary.",
    ),
    "OBE52": FailureCode(
        "disk-full",
        "The disk is full.",
        "The store keeps every result until it is collected.",
        "`onnxbuild gc` frees what no manifest needs.",
    ),
    "OBE53": FailureCode(
        "library-missing",
        "A library that the step needs is not installed.",
        "The core of onnxbuild has no frameworks; an extra brings them.",
        "`pip install 'onnxbuild[optimum]'`.",
    ),
    "OBE54": FailureCode(
        "input-output",
        "The file system reported an error.",
        "Rights, a full or failing disk, or a folder that went away.",
        "The message names the file.",
    ),
    "OBE55": FailureCode(
        "input-unreadable",
        "An input from outside cannot be read.",
        "It was there when the plan was made.",
        "See that the file is there and may be read.",
    ),
    "OBE56": FailureCode(
        "stored-result-damaged",
        "A stored result is damaged, and building it again did not help.",
        "The disk or another program changed it.",
        "`onnxbuild cache verify` drops what is damaged.",
    ),
    "OBE57": FailureCode(
        "input-changed",
        "An input changed while the step ran.",
        "A result must not be recorded for an input that it was not made from.",
        "Run again once the input rests.",
    ),
    "OBE58": FailureCode(
        "dataset-unreadable",
        "A dataset cannot be read as text.",
        "The file is damaged, empty, or has no such column.",
        "Name the column with `columns: {text: …}` in the dataset.",
    ),
    "OBE59": FailureCode(
        "reads-no-text",
        "A model that reads no text cannot be calibrated with text.",
        "It has no tokenizer, or takes no `input_ids`.",
        "Use `method: dynamic`.",
    ),
    "OBE60": FailureCode(
        "interrupted",
        "The run was interrupted.",
        "Ctrl-C or a signal; what was done is kept.",
        "The next run goes on from there.",
    ),
    "OBE61": FailureCode(
        "worker-died",
        "The worker process ended without an answer.",
        "A crash in native code, or a signal.",
        "Its log has the rest; run it again by itself.",
    ),
    "OBE62": FailureCode(
        "timeout",
        "The action did not end in time and was stopped.",
        "It hung, or the machine is slower than was thought.",
        "`timeout:` in the model gives it longer, in seconds.",
    ),
    "OBE63": FailureCode(
        "inputs-changed",
        "A worker changed its inputs.",
        "They are read-only and shared.",
        "Report it.",
    ),
    "OBE64": FailureCode(
        "output-empty",
        "A worker left an output empty.",
        "A step has to write what its kind declares.",
        "Report it, with the log.",
    ),
    "OBE65": FailureCode(
        "interpreter-not-started",
        "The interpreter of a toolchain cannot be started.",
        "It is not there, or no Python.",
        "See that the path in `toolchains:` names a Python that runs.",
    ),
    "OBE66": FailureCode(
        "toolchain-not-installed",
        "A toolchain cannot be installed.",
        "The package index cannot be reached, or has other files than the lock file says.",
        "`onnxbuild lock --upgrade` resolves it anew.",
    ),
    "OBE67": FailureCode(
        "own-exporter-unusable",
        "An exporter of the manifest's own cannot be imported, or is no function.",
        "It sees its own file alone, or for `package.module:function` the whole package.",
        "Write a function of (checkpoint, output, opset, task) that needs nothing else beside it.",
    ),
    "OBE68": FailureCode(
        "label-unknown",
        "A row of a dataset has a label that the model does not know.",
        "The column is another one, or the model was trained with other names.",
        "Write labels as numbers, or as `id2label` in the model's config.json names them.",
    ),
    "OBE99": FailureCode(
        "unexplained",
        "A failure that is not in the table.",
        "Nobody has met it yet, or it is a fault of ours.",
        "The log holds the whole story; report it, with the log.",
    ),
}
