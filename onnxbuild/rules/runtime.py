"""Codes of run time (OBE…): what workers and the engine report, with its cause and what helps."""

from __future__ import annotations

from onnxbuild.rules.rule import Rule

# code: (name, headline, cause, fix)
_TABLE: dict[str, tuple[str, str, str, str]] = {
    "OBE01": (
        "task-unknown",
        "The task of the model could not be told.",
        "config.json names no head that implies a task, or a task that the exporter lacks.",
        "Set `task:` on the model.",
    ),
    "OBE02": (
        "architecture-unsupported",
        "The architecture, or the task for it, is not supported.",
        "The exporter or this version of transformers does not know the model type.",
        "Choose a task that suits the model; a newer model needs a newer exporter and transformers.",
    ),
    "OBE03": (
        "export-failed",
        "The export failed, or its result is not what was asked for.",
        "The exporter gave up while tracing or converting the model.",
        "Try `attention: eager` or opset 18 in `export:`; the log holds the exporter's own words.",
    ),
    "OBE04": (
        "output-mismatch",
        "A variant does not agree with its reference.",
        "Too coarse a quantization, a fusion that changes results, or a damaged graph.",
        "See which step breaks it first; quantize per channel or with more bits, or set the bound that suits you.",
    ),
    "OBE05": (
        "out-of-memory",
        "A step ran out of memory.",
        "An export holds the weights, the traced copy and the result; the system ends a process that takes too much.",
        "Run fewer actions at once (`-j 1`), or build on a machine with more memory.",
    ),
    "OBE06": (
        "not-finite",
        "A result holds NaN or infinity.",
        "fp16 overflow, damaged weights, or a mask that leaves nothing to attend to.",
        "Stay with fp32 for what overflows; fetch the weights again.",
    ),
    "OBE08": (
        "operator-not-exported",
        "The exporter has no form of an operator at this opset.",
        "Some operators of PyTorch came to ONNX with a later opset: scaled_dot_product_attention with 14.",
        "Set a higher `opset:` (18 is the default), or `attention: eager`.",
    ),
    "OBE09": (
        "axis-specialized",
        "An axis that has to be free was fixed while tracing.",
        "A branch of the model depends on a size.",
        "Try `attention: eager` in `export:`.",
    ),
    "OBE10": ("opset-too-low", "The opset is too low for this model.", "", "Set a higher `opset:` in `export:`."),
    "OBE11": (
        "library-too-old",
        "A library of the toolchain is too old for this model.",
        "The exporter needs a newer release than the one that is installed.",
        "Install the constraints file of this release.",
    ),
    "OBE13": (
        "no-padding-token",
        "The model has no padding token.",
        "A batch of texts of several lengths needs one.",
        "Set `pad_token_id` in the checkpoint's config.json; the end token's id serves.",
    ),
    "OBE14": (
        "custom-code",
        "The model comes with code of its own, which is not run.",
        "Code from a repository could do anything on this machine.",
        "Use a model type that transformers knows.",
    ),
    "OBE15": (
        "source-unreachable",
        "A repository could not be read.",
        "It is gated, private or misspelt, or there is no network.",
        "Check its name and HF_TOKEN; offline, use `local:`.",
    ),
    "OBE16": (
        "checkpoint-damaged",
        "A file of the checkpoint is missing or damaged.",
        "A download was cut short, a Git-LFS pointer stands for a file, or only other frameworks' weights are there.",
        "Fetch it again; an adapter has to be merged into its base model first.",
    ),
    "OBE17": (
        "pickle-refused",
        "The weights are a pickle, which this torch does not load.",
        "Loading a pickle can run code.",
        "Use the repository's safetensors, or convert the .bin file.",
    ),
    "OBE18": ("o4-without-gpu", "O4 is fp16 for CUDA.", "", "Use O2 or O3, or `device: cuda`."),
    "OBE20": (
        "over-two-gigabytes",
        "The model does not fit into one file of 2 GB.",
        "Protobuf's limit; larger weights lie beside the graph as external data.",
        "Report it: external data should have been used.",
    ),
    "OBE21": ("shapes-unknown", "The optimizer cannot infer the shapes of this graph.", "", "Use `optimize: O1`."),
    "OBE22": (
        "optimizer-lacks-family",
        "The optimizer knows no fusions for this model type.",
        "",
        "Use `optimize: O1`, which needs to know nothing of the family, or none.",
    ),
    "OBE23": (
        "merged-decoder",
        "A merged decoder cannot be optimized.",
        "",
        "Export it again from the checkpoint: its parts are optimized and merged afterwards.",
    ),
    "OBE24": (
        "nothing-fused",
        "The optimizer fused nothing where fusing is expected.",
        "The exporter wrote a pattern that the fusions do not match.",
        "Use `optimize: O1` or none, or export with `attention: eager`.",
    ),
    "OBE25": ("graph-with-cycle", "The optimizer made a graph with a cycle.", "", "Use `optimize: O1`."),
    "OBE26": (
        "mixed-precision",
        "The graph mixes precisions where they must be equal.",
        "A half-converted fp16 graph.",
        "Export with `dtype: fp32`.",
    ),
    "OBE28": ("no-range", "A tensor has no range or type to quantize by.", "", "Add its node to `exclude`."),
    "OBE31": (
        "kernel-missing",
        "This runtime cannot run an operator as the graph has it.",
        "",
        "Add the node to `exclude`, or use a newer onnxruntime.",
    ),
    "OBE32": ("quantize-fp16", "The graph is fp16, and quantizing starts from fp32.", "", "Quantize the fp32 graph."),
    "OBE33": ("integer-types", "This pair of integer types is not supported.", "", "Use one of the presets."),
    "OBE34": ("graph-with-branches", "A graph with branches cannot be quantized this way.", "", "Quantize its parts."),
    "OBE35": ("opset-for-int4", "4-bit weights need opset 21 in this form.", "", "Set `opset: 21` in `export:`."),
    "OBE36": (
        "model-too-new",
        "The model's opset or IR version is newer than this ONNX Runtime reads.",
        "",
        "Export with a lower `opset:`, or use a newer onnxruntime.",
    ),
    "OBE37": (
        "input-not-fed",
        "A graph takes an input that no sample has, or of a type that cannot be fed.",
        "The tokenizer and the graph disagree, or the task is another one.",
        "Set the `task:` that the model was trained for.",
    ),
    "OBE38": (
        "index-out-of-range",
        "A token or position lies outside its table.",
        "A text longer than the model's positions, or a tokenizer with a larger vocabulary than the model.",
        "Use shorter sequences, or the tokenizer that belongs to the model.",
    ),
    "OBE39": (
        "axis-fixed",
        "An axis that has to be free is fixed.",
        "It was frozen at export.",
        "Export it again; an `onnx:` source has to have free batch and sequence axes.",
    ),
    "OBE40": (
        "external-data",
        "External data is missing, cut short or outside the model's folder.",
        "An .onnx file and its data were parted.",
        "Bring both, under their first names.",
    ),
    "OBE41": (
        "not-onnx",
        "A file is not an ONNX model.",
        "It is damaged, a Git-LFS pointer, or a web page.",
        "Fetch it again.",
    ),
    "OBE42": (
        "operator-unknown",
        "The graph has an operator that this runtime does not know.",
        "It was fused for another runtime.",
        "Start from the plain export.",
    ),
    "OBE43": (
        "provider-missing",
        "The execution provider that was asked for is not there.",
        "ONNX Runtime falls back to the CPU in silence, and a benchmark would measure that.",
        "Install onnxruntime-gpu with the CUDA that it wants, or set `device: cpu`.",
    ),
    "OBE48": (
        "nothing-quantized",
        "Quantize quantized nothing.",
        "No operator of the graph is of a kind that the method quantizes.",
        "Choose the other method, or look at `operators` and `exclude`.",
    ),
    "OBE49": (
        "not-smaller",
        "Quantize did not make the model smaller.",
        "Most weights are in operators that were left as they are.",
        "Choose the other method, or look at `operators` and `exclude`.",
    ),
    "OBE50": (
        "nothing-excluded",
        "`exclude` names a node that is not there.",
        "",
        "Name a node of the graph; an optimized graph has other names than the export.",
    ),
    "OBE51": (
        "tokenizer-not-trained",
        "A tokenizer could not be trained.",
        "There is no text, or the vocabulary is smaller than an alphabet of bytes.",
        "Give it a text, or a larger vocabulary.",
    ),
    "OBE52": ("disk-full", "The disk is full.", "", "`onnxbuild gc` frees what no manifest needs."),
    "OBE53": (
        "library-missing",
        "A library that the step needs is not installed.",
        "The core of onnxbuild has no frameworks; an extra brings them.",
        "`pip install 'onnxbuild[optimum]'`.",
    ),
    "OBE54": ("input-output", "The file system reported an error.", "", "The message names the file."),
    "OBE55": (
        "input-unreadable",
        "An input from outside cannot be read.",
        "It was there when the plan was made.",
        "See that the file is there and may be read.",
    ),
    "OBE56": (
        "stored-result-damaged",
        "A stored result is damaged, and building it again did not help.",
        "The disk or another program changed it.",
        "`onnxbuild cache verify` drops what is damaged.",
    ),
    "OBE57": (
        "input-changed",
        "An input changed while the step ran.",
        "A result must not be recorded for an input that it was not made from.",
        "Run again once the input rests.",
    ),
    "OBE58": (
        "dataset-unreadable",
        "A dataset cannot be read as text.",
        "The file is damaged, empty, or has no such column.",
        "Name the column with `columns: {text: …}` in the dataset.",
    ),
    "OBE59": (
        "reads-no-text",
        "A model that reads no text cannot be calibrated with text.",
        "It has no tokenizer, or takes no `input_ids`.",
        "Use `method: dynamic`.",
    ),
    "OBE60": ("interrupted", "The run was interrupted.", "", "The next run goes on from there."),
    "OBE61": (
        "worker-died",
        "The worker process ended without an answer.",
        "A crash in native code, or a signal.",
        "Its log has the rest; run it again by itself.",
    ),
    "OBE62": (
        "timeout",
        "The action did not end in time and was stopped.",
        "",
        "`timeout:` in the model gives it longer, in seconds.",
    ),
    "OBE63": ("inputs-changed", "A worker changed its inputs.", "They are read-only and shared.", "Report it."),
    "OBE64": ("output-empty", "A worker left an output empty.", "", "Report it, with the log."),
    "OBE65": (
        "interpreter-not-started",
        "The interpreter of a toolchain cannot be started.",
        "",
        "See that the path in `toolchains:` names a Python that runs.",
    ),
    "OBE66": (
        "toolchain-not-installed",
        "A toolchain cannot be installed.",
        "The package index cannot be reached, or has other files than the lock file says.",
        "`onnxbuild lock --upgrade` resolves it anew.",
    ),
    "OBE67": (
        "own-exporter-unusable",
        "An exporter of the manifest's own cannot be imported, or is no function.",
        "It sees its own file alone, or for `package.module:function` the whole package.",
        "Write a function of (checkpoint, output, opset, task) that needs nothing else beside it.",
    ),
    "OBE68": (
        "label-unknown",
        "A row of a dataset has a label that the model does not know.",
        "The column is another one, or the model was trained with other names.",
        "Write labels as numbers, or as `id2label` in the model's config.json names them.",
    ),
    "OBE99": (
        "unexplained",
        "A failure that is not in the table.",
        "",
        "The log holds the whole story; report it, with the log.",
    ),
}

RULES: tuple[Rule, ...] = tuple(
    Rule(code=code, name=name, severity="error", summary=headline, why=cause, fix=fix)
    for code, (name, headline, cause, fix) in _TABLE.items()
)
