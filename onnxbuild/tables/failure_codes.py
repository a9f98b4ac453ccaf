"""Failure codes (OBE…): what workers and the engine report at run time, each with one meaning, a cause and a fix.

A code never changes its meaning. If a failure has nothing to add to the table, the code is raised with the table's
message (`message_of`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class FailureCode(NamedTuple):
    """One code: a name for URLs, a message in the form that a run prints, the cause, and what helps."""

    name: str
    message: str
    cause: str
    fix: str

    @property
    def headline(self) -> str:
        """The message as a full sentence."""
        return f"{self.message[0].upper()}{self.message[1:]}."


FAILURE_CODES: Mapping[str, FailureCode] = {
    "OBE01": FailureCode(
        "task-unknown",
        "the model's task could not be determined",
        "config.json names no head that implies a task, or the exporter has no such task.",
        (
            "Set `task:` in the model. `architectures` in config.json names the head: "
            "BertForSequenceClassification is `text-classification`."
        ),
    ),
    "OBE02": FailureCode(
        "architecture-unsupported",
        "the model architecture is not supported, or not for this task or config",
        (
            "The exporter has no config for the model type, or the installed transformers is older than the "
            "model: optimum-onnx 0.1.0 requires transformers below 4.58. With `random:`, a field of `config:` does not "
            "suit the model type."
        ),
        (
            "Choose a task that the model type has, `export: {exporter: transformers}` or `export: {exporter: genai}` "
            "in a toolchain with transformers 5 (see how-to/toolchains in the documentation). Otherwise write a "
            "custom exporter that "
            "starts from the nearest family (see how-to/own-exporter in the documentation)."
        ),
    ),
    "OBE03": FailureCode(
        "export-failed",
        "the ONNX export failed, or its result differs from what was asked for",
        (
            "The exporter failed while it traced, converted or merged the model. The message ends with its own last "
            "reason. OBE08 to OBE12 are the causes that have their own code."
        ),
        (
            "Try `export: {attention: eager}` or `export: {opset: 18}`, or the other tracer: `export: {exporter: "
            "optimum}` uses TorchScript, `export: {exporter: transformers}` uses torch.export. The log holds the "
            "exporter's output; the message says how the exporter was called."
        ),
    ),
    "OBE04": FailureCode(
        "output-mismatch",
        "the outputs of a variant differ from those of its reference",
        (
            "Below 1e-3 the difference is fp32 noise. Above it the cause is a quantization that is too coarse, a "
            "fusion that changes results, or a damaged graph. Other names or shapes come from the exporter's "
            "config of the model type."
        ),
        "See which step breaks it first. Quantize per channel or with more bits, or set the bound that you accept.",
    ),
    "OBE05": FailureCode(
        "out-of-memory",
        "a step ran out of memory",
        (
            "An export holds the weights, the traced copy and the result. The system kills a process that takes "
            "too much without a message (signal 9, exit status 137)."
        ),
        (
            "Run fewer actions at once (`-j 1`), shorten the samples, export without a cache, or build on a "
            "machine with more memory. OBE30 is the same failure during calibration."
        ),
    ),
    "OBE06": FailureCode(
        "not-finite",
        "the model's outputs contain NaN or infinity after a step",
        (
            "Values overflowed in fp16 (the squares of a LayerNorm), weights are damaged, or a mask leaves "
            "nothing to attend to."
        ),
        (
            "The run names the step that breaks it first. Keep what overflows in fp32 (`precision: {dtype: fp16, "
            "keep_fp32: auto}`), or fetch the weights again."
        ),
    ),
    "OBE08": FailureCode(
        "operator-not-exported",
        "the exporter cannot write an operator at this opset",
        "Some operators of PyTorch have an ONNX form only from a later opset on: scaled_dot_product_attention from 14.",
        "Set the `opset:` that the message names in `export:` (18 is the default), `export: {attention: eager}`, or "
        "`export: {exporter: transformers}`.",
    ),
    "OBE09": FailureCode(
        "axis-specialized",
        "the export fixed an axis that has to be dynamic",
        (
            "A branch of the model depends on a size, an example had size 1, two names stand for one axis, or the "
            "model has a limited number of positions."
        ),
        (
            "Use `export: {exporter: optimum}` or `export: {attention: eager}`. In a custom exporter use examples of "
            "size 2 or more, one Dim for ids and mask, and a `max`."
        ),
    ),
    "OBE10": FailureCode(
        "opset-too-low",
        "the opset is lower than recommended for this model",
        "The exporter's config of the model type was written for a later opset.",
        "Set `export: {opset: 18}`, the default, or higher.",
    ),
    "OBE11": FailureCode(
        "library-too-old",
        "a library of the toolchain is too old for this model",
        "The exporter needs a newer release than the installed one.",
        (
            "`pip install` what the message names into the toolchain, or install the constraints file of this "
            "release. transformers from 4.58 on excludes optimum-onnx 0.1.0, so such a model needs a separate "
            "toolchain."
        ),
    ),
    "OBE12": FailureCode(
        "packages-exclude-each-other",
        "the requirements of an environment exclude each other",
        (
            "optimum-onnx 0.1.0 requires transformers below 4.58, and newer models need 5. OB105 is the same "
            "fault while a toolchain is locked."
        ),
        "Give each exporter its own toolchain (`toolchains:`), separate from the environment that serves the model.",
    ),
    "OBE13": FailureCode(
        "no-padding-token",
        "the model has no padding token",
        "A batch of texts of several lengths needs one.",
        "Set `pad_token_id:` in `export:`; the id of the end token will do. Batches of one row need none.",
    ),
    "OBE14": FailureCode(
        "custom-code",
        "the checkpoint comes with its own code, which is not allowed to run",
        "Code from a repository can do anything on this machine, and no run asks for permission.",
        (
            "Read the code, then write `export: {trust_remote_code: true}` and the commit in `source:`. Or use a "
            "model type that transformers knows."
        ),
    ),
    "OBE15": FailureCode(
        "source-unreachable",
        "a repository could not be read",
        "It is gated, private or misspelt, there is no network, or the Hub limits the rate of requests.",
        "Check its name and HF_TOKEN. Without a network use `local:`. After a limit, wait some minutes.",
    ),
    "OBE16": FailureCode(
        "checkpoint-damaged",
        "a file of the checkpoint is missing or damaged",
        (
            "A download was cut short, a Git-LFS pointer stands for a file, or the repository holds only the "
            "weights of other frameworks, an adapter or GGUF."
        ),
        "Fetch it again. Merge an adapter into its base model first. Use the PyTorch weights instead of others.",
    ),
    "OBE17": FailureCode(
        "pickle-refused",
        "the weights are a pickle, which this torch does not load",
        "Loading a pickle can run code.",
        "Use the repository's safetensors, convert the .bin file, or name a toolchain with torch 2.6 or newer.",
    ),
    "OBE18": FailureCode(
        "o4-without-gpu",
        "O4 converts to fp16 for CUDA, which this machine lacks",
        "fp16 is slower than fp32 on most CPUs, and optimum refuses it.",
        "Use O2 or O3, or `device: cuda` on a machine with CUDA.",
    ),
    "OBE19": FailureCode(
        "generation-config-invalid",
        "the generation config of the checkpoint is invalid",
        (
            "Settings exclude each other, such as a temperature without `do_sample`, and transformers refuses to "
            "write them. The export continues with a warning: its folder holds the checkpoint's "
            "generation_config.json as it is, or none."
        ),
        "Correct generation_config.json, or the generation settings in config.json.",
    ),
    "OBE20": FailureCode(
        "over-two-gigabytes",
        "the model does not fit into one file of 2 GB",
        "Protobuf has this limit; larger weights are stored beside the graph as external data.",
        "In a custom exporter write external data and check the model by its path. For a step of onnxbuild, report it.",
    ),
    "OBE21": FailureCode(
        "shapes-unknown",
        "the optimizer cannot infer the shapes of this graph",
        (
            "Symbolic shape inference does not know every operator, fused ones least of all. If only the log "
            "mentions it, it is harmless."
        ),
        "Use `optimize: O1`, or O2 and then `precision: fp16` instead of O4.",
    ),
    "OBE22": FailureCode(
        "optimizer-lacks-family",
        "the optimizer has no fusions for this model type",
        "Fusions are written for each family of models.",
        "Use `optimize: O1`, which works for every family, or leave `optimize:` out.",
    ),
    "OBE23": FailureCode(
        "merged-decoder",
        "a merged decoder cannot be optimized",
        "The fusions do not reach the branches that hold the two decoders.",
        "Export it again from the checkpoint: its parts are optimized and merged afterwards.",
    ),
    "OBE24": FailureCode(
        "nothing-fused",
        "the optimizer fused nothing where fusions are expected",
        (
            "The fusions know the form in which optimum exports a model type at opset 18. The graph has another form "
            "(another exporter or opset), or is quantized or in half precision already."
        ),
        "Use `optimize: O1`, which matches no forms, or export as the message says; optimize before you quantize.",
    ),
    "OBE25": FailureCode(
        "graph-with-cycle",
        "the optimizer wrote a graph with a cycle",
        "A rewrite to fp16 or by inferred shapes moved a node before what it reads.",
        "Use `optimize: O1`, or O2 and then `precision: fp16`, and report it to ONNX Runtime.",
    ),
    "OBE26": FailureCode(
        "mixed-precision",
        "the graph mixes precisions where they must be equal",
        "A part of the graph is in half precision and its neighbours are not: it was converted twice or partly, or a "
        "converter does not know the operator.",
        (
            "If `precision` fails, keep the operator in fp32: `keep_fp32: [OPERATOR]`. Any other step needs a graph "
            "that is fp32 throughout: export with `dtype: fp32`, and let `precision:` come last."
        ),
    ),
    "OBE27": FailureCode(
        "no-calibration-data",
        "static quantization has no data to measure ranges on",
        "The file holds the weights; the ranges of activations have to be measured.",
        "Name one of `datasets:` in `quantize: {method: static, dataset: …}`; `method: dynamic` needs none.",
    ),
    "OBE28": FailureCode(
        "no-range",
        "a tensor has no range or type to quantize by",
        "The calibration did not observe it: it is a constant, it is not a float, or its node was left out.",
        "Use `calibration: minmax`, name its operator in `operators`, run O1 first, or name its node in `exclude`.",
    ),
    "OBE29": FailureCode(
        "calibration-data-unusable",
        "a calibrator got no data, or data in a form that it does not accept",
        "The reader is empty or was read before, or histograms got batches of several rows.",
        "Return rows one by one under the graph's input names; `quantize: {method: static}` does.",
    ),
    "OBE30": FailureCode(
        "out-of-memory-calibrating",
        "calibration ran out of memory",
        "It observes the values of every tensor; ONNX Runtime's own calibrators even keep all of them.",
        (
            "Use fewer tokens per row (`sequence`), then `calibration: minmax`, which keeps no histograms, then "
            "fewer `operators`."
        ),
    ),
    "OBE31": FailureCode(
        "kernel-missing",
        "this runtime has no kernel for an operator of the graph",
        "A provider has kernels for some types only: ConvInteger with signed weights came with onnxruntime 1.24.4.",
        (
            "For ConvInteger leave Conv out (`operators: [MatMul]`) or use `quantize: {method: static, dataset: …}`. "
            "Otherwise name the node in `exclude`, or use a newer onnxruntime."
        ),
    ),
    "OBE32": FailureCode(
        "quantize-fp16",
        "the graph is fp16, and quantization needs fp32",
        "The scales of integers are computed from fp32 weights.",
        "Quantize the fp32 graph; `precision: fp16` may follow weight-only quantization.",
    ),
    "OBE33": FailureCode(
        "integer-types",
        "this pair of integer types is not supported",
        (
            "Supported pairs of activations and weights: dynamic U8 with S8 or U8; static U8 with S8 or U8, and "
            "S8 with S8 (as QDQ). S8 with U8 is never supported."
        ),
        "Use one of the presets, which are supported pairs.",
    ),
    "OBE34": FailureCode(
        "graph-with-branches",
        "a graph with branches cannot be quantized this way",
        "Ranges inside a branch cannot be measured; optimum quantizes one file at a time.",
        "Use `quantize: {method: dynamic}`, or quantize the parts one by one.",
    ),
    "OBE35": FailureCode(
        "opset-for-int4",
        "4-bit weights in this form need opset 21 and IR version 10",
        "ONNX has 4-bit integers from opset 21 on.",
        "Set `export: {opset: 21}`. `quantize: {method: weight-only}` writes MatMulNBits, which works with any opset.",
    ),
    "OBE36": FailureCode(
        "model-too-new",
        "the model's opset or IR version is newer than this ONNX Runtime supports",
        (
            "Newer libraries made it than those that run it. onnxruntime 1.31 reads up to IR version 13 and opset "
            "26; opset 18 implies IR version 8, 21 implies 10, 23 implies 11."
        ),
        "Export with a lower `opset:`, or use a newer onnxruntime.",
    ),
    "OBE37": FailureCode(
        "input-not-fed",
        "an input of the model was not fed, or cannot be fed",
        "The tokenizer is missing or disagrees with the graph, a prompt has no tokens, ids are int32, or the task is "
        "another one.",
        "Feed what `session.get_inputs()` names, as int64. Set the `task:` that the model was trained for.",
    ),
    "OBE38": FailureCode(
        "index-out-of-range",
        "a token or position is outside its table",
        (
            "A text is longer than the model's positions, tokens were added to the tokenizer and the model was not "
            "resized, or inputs are in the wrong order. The node's name and the size of the table show which."
        ),
        (
            "Use shorter sequences, call `model.resize_token_embeddings(len(tokenizer))` and save the model, or feed "
            "inputs by name."
        ),
    ),
    "OBE39": FailureCode(
        "axis-fixed",
        "an input has another shape than the graph takes",
        (
            "The export fixed the axis, the input has an axis too few, or a loader computes the sizes of an empty past "
            "from other fields than the graph has."
        ),
        (
            "The message names the input, the axis and the length that the graph takes. Feed that length, or export "
            "again with a dynamic axis; an `onnx:` source needs dynamic batch and sequence axes. For a past, set the "
            "loader's sizes: see how-to/gpt2 in the documentation."
        ),
    ),
    "OBE40": FailureCode(
        "external-data",
        "external data is missing, cut short or outside the model's folder",
        "An .onnx file and its data were separated.",
        "Put both into one folder, under their original names.",
    ),
    "OBE41": FailureCode(
        "not-onnx",
        "a file is not an ONNX model, or a folder has none",
        "The file is damaged, a Git-LFS pointer, or a web page; or the folder is that of another format.",
        "Fetch it again, or name the folder that has the .onnx files.",
    ),
    "OBE42": FailureCode(
        "operator-unknown",
        "the graph has an operator that this runtime does not know",
        "It was fused for another runtime.",
        "Start from the plain export.",
    ),
    "OBE43": FailureCode(
        "provider-missing",
        "the requested execution provider is not available",
        (
            "The installed onnxruntime lacks it, or CUDA and cuDNN are missing. ONNX Runtime would fall back to "
            "the CPU silently, and a benchmark would measure that."
        ),
        (
            "Install onnxruntime-gpu instead of onnxruntime, with the CUDA version that it needs, or set `device: "
            "cpu`. `onnxbuild doctor` lists what is available."
        ),
    ),
    "OBE45": FailureCode(
        "config-beside-graph",
        "the config of a model repository does not describe its graph",
        "Triton compares `config.pbtxt` with the graph when it loads a model. With `max_batch_size` above 0, every "
        "input and output needs a variable first axis, and the dimensions of the config leave it out.",
        "The message names the model and the tensor. Leave `max_batch_size` out, or write 0, for a graph with fixed "
        "axes; build the package again if its config was changed by hand.",
    ),
    "OBE48": FailureCode(
        "nothing-quantized",
        "quantize changed nothing",
        (
            "The graph has no operator that the method quantizes: its weights are in branches, have three axes, are "
            "computed, are in half precision, or belong to operators that `operators` does not name."
        ),
        "The message says why the operators stayed in float, and what quantizes them.",
    ),
    "OBE49": FailureCode(
        "not-smaller",
        "the step did not make the model smaller",
        (
            "Most weights are in operators that it left as they are, or are so small that scales and casts take more "
            "than they save."
        ),
        "The message says where the weights are. A model of a few kilobytes gets no smaller: leave the step out.",
    ),
    "OBE50": FailureCode(
        "name-not-in-model",
        "a setting names something that the model does not have",
        (
            "`exclude` and `keep_fp32` name nodes and operators, `modules` names files. An optimized graph has "
            "other node names than the export."
        ),
        "Use a name of the graph that the step reads; the message lists the nearest ones.",
    ),
    "OBE51": FailureCode(
        "tokenizer-not-trained",
        "a tokenizer could not be trained",
        "There is no text, or the vocabulary is smaller than an alphabet of bytes.",
        "Give it a text, or a larger vocabulary.",
    ),
    "OBE52": FailureCode(
        "disk-full",
        "the disk is full",
        "The store keeps every result until it is collected.",
        "`onnxbuild gc` removes what no manifest needs.",
    ),
    "OBE53": FailureCode(
        "library-missing",
        "a library that the step needs is not installed",
        (
            "The core of onnxbuild has no frameworks; an extra installs them. Some models need a library more, such as "
            "sentencepiece or timm."
        ),
        (
            "`pip install 'onnxbuild[optimum]'` for the frameworks; any other library into the model's toolchain, or "
            "into its `requirements:`."
        ),
    ),
    "OBE54": FailureCode(
        "input-output",
        "the file system reported an error",
        "Permissions are missing, a disk is full or failing, or a folder was removed.",
        "The message names the file.",
    ),
    "OBE55": FailureCode(
        "input-unreadable",
        "an input from outside cannot be read",
        "It existed when the plan was made.",
        "Check that the file exists and that you may read it.",
    ),
    "OBE56": FailureCode(
        "stored-result-damaged",
        "a stored result is damaged, and building it again did not help",
        "The disk or another program changed it.",
        "`onnxbuild cache verify` removes what is damaged.",
    ),
    "OBE57": FailureCode(
        "input-changed",
        "an input changed while the step ran",
        "A result must not be recorded for an input that it was not made from.",
        "Run again when nothing writes to the input.",
    ),
    "OBE58": FailureCode(
        "dataset-unreadable",
        "a dataset cannot be read as text",
        "The file is damaged or empty, or lacks the column.",
        "Name the column with `columns: {text: …}` in the dataset.",
    ),
    "OBE59": FailureCode(
        "reads-no-text",
        "the model does not read text, and the step needs text",
        "It has no tokenizer, or no input `input_ids`.",
        "Use a method that needs no data, such as `quantize: {method: dynamic}`, or remove `dataset`.",
    ),
    "OBE60": FailureCode(
        "interrupted",
        "the run was interrupted",
        "Ctrl-C or a signal stopped it. Finished results are kept.",
        "Run again to continue.",
    ),
    "OBE61": FailureCode(
        "worker-died",
        "the worker process ended without an answer",
        "Native code crashed, or a signal ended the process.",
        "See its log, and run the action alone.",
    ),
    "OBE62": FailureCode(
        "timeout",
        "the action took too long and was stopped",
        "It hung, or the machine is slower than expected.",
        "Set a longer `timeout:` in the model, in seconds.",
    ),
    "OBE63": FailureCode(
        "inputs-changed",
        "the worker changed its inputs",
        "Inputs are read-only and shared.",
        "Report it, with the log.",
    ),
    "OBE64": FailureCode(
        "output-empty",
        "the worker left an output empty, or something in it that is not a file",
        "A step has to write every output that its kind declares, as regular files.",
        "Report it, with the log.",
    ),
    "OBE65": FailureCode(
        "interpreter-not-started",
        "a toolchain has no interpreter that can be started",
        "The file is missing, it is not Python, or the toolchain is not locked yet.",
        "Check that the path in `toolchains:` names a working Python, or run `onnxbuild lock`.",
    ),
    "OBE66": FailureCode(
        "toolchain-not-installed",
        "a toolchain cannot be installed",
        "The package index cannot be reached, or its files differ from those in the lock file.",
        "`onnxbuild lock --upgrade` resolves it again.",
    ),
    "OBE67": FailureCode(
        "own-exporter-unusable",
        "a custom exporter cannot be imported, or is not a function",
        "It can import only its own file, or with `package.module:function` its own package.",
        "Write a function of (checkpoint, output, opset, task) that needs no other file beside it.",
    ),
    "OBE68": FailureCode(
        "label-unknown",
        "a row of a dataset has a label that the model does not know",
        "The column is the wrong one, or the model was trained with other names.",
        "Write labels as numbers, or as `id2label` in the model's config.json names them.",
    ),
    "OBE69": FailureCode(
        "own-exporter-failed",
        "a custom exporter raised an exception",
        "The function that `export: {exporter: …}` names, or what it called, has not done its work.",
        "The message has the exception and the last line of your code; the log has the full traceback.",
    ),
    "OBE70": FailureCode(
        "toolchain-read-differently",
        "an interpreter imports other packages than its folders show",
        "A plan reads the folders of a toolchain and starts nothing. A `.pth` line with code, a `sitecustomize`, or a "
        "script in place of the interpreter adds packages that it cannot see, so the key would be wrong.",
        "Name the interpreter of an environment that has its packages in its own site-packages.",
    ),
    "OBE71": FailureCode(
        "toolchain-incomplete",
        "a toolchain lacks packages after its installation",
        "A setting of pip, such as `target` or `prefix`, installs into another folder.",
        "Look for the setting with `pip config list` and among the PIP_ variables, remove it, and run again.",
    ),
    "OBE72": FailureCode(
        "answer-unreadable",
        "the output of a worker is not a valid answer",
        "Its code, or a library in it, wrote to the pipe of the protocol, or a plugin returned values without bound.",
        "A plugin returns plain JSON of less than 8 MB. Otherwise report it, with the log.",
    ),
    "OBE73": FailureCode(
        "confined",
        "confined code tried to access something outside its action",
        "Code of an exporter, a checkpoint or a plugin opened a connection, or a file that is not one of its inputs.",
        "Read the code. Make what it needs an input, or trust it with `ONNXBUILD_CONFINE=off`.",
    ),
    "OBE74": FailureCode(
        "log-too-large",
        "an action printed so much that it was stopped",
        "Its code prints in a loop.",
        "The end of the log shows what it prints.",
    ),
    "OBE75": FailureCode(
        "not-confinable",
        "the system cannot confine somebody else's code, which `ONNXBUILD_CONFINE=require` asks for",
        "It is not Linux 5.13 or later, or a container forbids Landlock.",
        "Run it on a system that can, or without the variable: `onnxbuild doctor` says what is in force.",
    ),
    "OBE77": FailureCode(
        "result-name-not-utf-8",
        "a step wrote a file whose name is not UTF-8",
        "Names of results are part of their digest and of JSON, which can contain only Unicode text.",
        "Make the exporter or the plugin write names that are UTF-8, or better, ASCII.",
    ),
    "OBE76": FailureCode(
        "output-links-outside",
        "the worker left a link that leads out of its action",
        (
            "A link in an output may lead to a file of the same outputs or to an input; it is then stored as a copy. "
            "The target of any other link is never read, moved or stored."
        ),
        "Let the exporter or the plugin copy the file to its output instead of linking it.",
    ),
    "OBE85": FailureCode(
        "shard-not-found",
        "the checkpoint lacks a file of weights that its index names",
        "A download or an upload was cut short, or the index belongs to another checkpoint.",
        "Name another revision of the repository, or copy the whole folder again.",
    ),
    "OBE86": FailureCode(
        "holds-in-part",
        "the variant agrees with the reference in some lengths or sizes, and not in others that its model can meet",
        (
            "The export froze what depends on a length: a number of chunks, a branch for short texts, positions, or "
            "the size of a picture. `validate` compares lengths beyond every entry of config.json that can cause this."
        ),
        (
            "Write `export: {max_length: N}` to accept the limit: the tokenizer, lint and the other steps keep it. "
            "Or try another exporter: `exporter: transformers`, `exporter: genai`."
        ),
    ),
    "OBE80": FailureCode(
        "not-one-model",
        "the graphs of a folder are not the parts of one model",
        (
            "Two graphs are run in the same way, a graph reads what no other computes, or they are in several folders. "
            "One of them would be delivered without having been run."
        ),
        (
            "For an `onnx:` or `hub:` source, name the graphs of one model with `file:`. An exporter or a plugin must "
            "write one model: `model.onnx`, or an encoder and a decoder under the names that optimum gives them."
        ),
    ),
    "OBE81": FailureCode(
        "does-not-load",
        "ONNX Runtime cannot open a graph",
        (
            "The graph is damaged, needs a newer ONNX Runtime or an operator that it does not have, or its weights do "
            "not fit it. Nothing else had opened it, because the variant is not validated."
        ),
        (
            "The message has the reason of ONNX Runtime. If only another runtime can open the graph, write `load: "
            "false` in the target."
        ),
    ),
    "OBE90": FailureCode(
        "fails-on-sample",
        "the graph fails on a sample that its reference computes",
        "The export fixed a size, such as the number of rows or tokens, in the middle of the graph.",
        (
            "The message names the shape. Export with another exporter, or report the model type to the exporter's "
            "project. `validate: {shapes: […]}` accepts a graph for the shapes that it holds."
        ),
    ),
    "OBE82": FailureCode(
        "no-reference-class",
        "PyTorch cannot load the model for this task, so a variant has no reference",
        (
            "An exporter has a class of its own for the model type (ColPali with optimum), and the auto class of the "
            "task in transformers does not know the type."
        ),
        (
            "Set the task whose auto class knows the model. Otherwise `validate: false` delivers the model without the "
            "comparison: compare it with PyTorch by a script."
        ),
    ),
    "OBE84": FailureCode(
        "reference-fails",
        "PyTorch itself fails on a sample of the validation",
        (
            "The sample is made from the checkpoint's config.json, processor and tokenizer. They belong to different "
            "models if, for example, the processor makes pictures of another size than the model takes."
        ),
        "Fetch the checkpoint again, or write the size into its processor that config.json says.",
    ),
    "OBE83": FailureCode(
        "weights-missing",
        "the checkpoint lacks weights that an output depends on",
        "It was saved without them, a download was cut short, or `task:` asks for a head that was never trained.",
        (
            "Set `task:` to the one that the checkpoint was trained for, or fetch it again. If the values that PyTorch "
            "fills in are right (a norm of ones), list the names in `export: {allow_missing: […]}`."
        ),
    ),
    "OBE87": FailureCode(
        "opset-too-low-to-quantize",
        "the opset of the graph is too low for static quantization",
        "ONNX has QuantizeLinear from opset 10 on, and one scale for each channel from opset 13 on.",
        (
            "Export with a higher `opset:` (18 is the default), or write `per_channel: false`. A graph of an `onnx:` "
            "source can be converted with `onnx.version_converter`."
        ),
    ),
    "OBE88": FailureCode(
        "too-few-positions",
        "the model takes texts that are too short to be traced",
        "Its config.json has fewer than 5 positions. An exporter traces a text of 2 tokens with a past of 2.",
        "Check `max_position_embeddings` in config.json, or write a custom exporter (see how-to/own-exporter in "
        "the documentation).",
    ),
    "OBE89": FailureCode(
        "draws-random-values",
        "the graph draws random values, so no two runs of it agree",
        (
            "The model draws in its forward pass, as ViTMAE does to hide patches, and the exporter copied that into "
            "the graph. Neither the reference nor an earlier run gives the same outputs."
        ),
        (
            "Export with a custom exporter that makes the random values an input (see how-to/own-exporter in the "
            "documentation), or "
            "choose a class without them: the encoder of ViTMAE alone is a ViT."
        ),
    ),
    "OBE92": FailureCode(
        "not-run-by-pytorch",
        "PyTorch does not run the model on the inputs that are made to trace it",
        (
            "Sizes in config.json contradict each other, or the model takes inputs of a kind that this exporter does "
            "not make, such as regions of a picture. The exporter has not been called yet."
        ),
        (
            "The message has PyTorch's reason. If it names a size, check config.json. Otherwise choose another "
            "exporter (`onnxbuild compare-exporters` tries each), or write one: see how-to/own-exporter in the "
            "documentation."
        ),
    ),
    "OBE93": FailureCode(
        "adapter-does-not-fit",
        "the adapter does not fit the base model",
        "It was trained for another model or another size, or was saved in part.",
        "Name the model that it was trained for as the source: `base_model_name_or_path` in adapter_config.json.",
    ),
    "OBE94": FailureCode(
        "peft-missing",
        "merging an adapter needs peft",
        "The environment of the worker does not have it: few models need it, so it is an extra.",
        "`pip install 'onnxbuild[adapters]'`, or add `peft` to the requirements of the toolchain.",
    ),
    "OBE95": FailureCode(
        "adapter-beside-weights",
        "a repository has an adapter beside its weights",
        "Loaders differ in what they do with it, and nothing in the manifest says what is meant.",
        "Write `adapter: hub:…` to merge it into the weights, or `adapter: none` to leave it out.",
    ),
    "OBE96": FailureCode(
        "packed-weights-unusable",
        "the quantized weights of a checkpoint cannot be used",
        (
            "They have another layout than config.json says, or, in `quantize: stored`, the graph does not have them: "
            "a fusion joined them with others, or GPTQ put their groups out of order (`desc_act`)."
        ),
        "Write `optimize: O1`, which joins no weights, or quantize the values again with `quantize: q4`.",
    ),
    "OBE97": FailureCode(
        "several-graphs",
        "mobius writes the model as several graphs",
        "Its models of text and images or audio are an encoder, an embedding and a decoder, which no loader of this "
        "release runs as one model. Its encoder-decoders take no mask of the encoder's padding.",
        "Choose another exporter, or export the text model by itself.",
    ),
    "OBE98": FailureCode(
        "no-safetensors",
        "the checkpoint has no weights that mobius reads",
        "mobius reads `model.safetensors`, or its shards and their index, and no pickled weights.",
        "Load the checkpoint and call `save_pretrained`, or choose another exporter.",
    ),
    "OBE100": FailureCode(
        "mobius-does-not-fit",
        "mobius's definition of the model does not fit the checkpoint",
        "mobius writes graphs from its own definitions, which know some model types only in part: sizes or weights "
        "that its definition has differ from those of the checkpoint.",
        "Choose another exporter; `onnxbuild compare-exporters` tries each.",
    ),
    "OBE101": FailureCode(
        "genai-without-tokenizer",
        "genai's builder found no tokenizer",
        "The builder of onnxruntime-genai saves the tokenizer beside the model, and fails without one for some types.",
        "Save the tokenizer into the checkpoint, or choose another exporter.",
    ),
    "OBE103": FailureCode(
        "library-cannot-load",
        "the library of the checkpoint cannot load it",
        "timm or sentence-transformers refuses it: an architecture of another version, or weights of another shape.",
        "Name a toolchain with the version that the checkpoint was saved with. The cause is the library's own message.",
    ),
    "OBE105": FailureCode(
        "opset-without-bf16",
        "an operator does not take bf16 at the opset of the graph",
        "ONNX has bf16 from opset 13 on, and for some operators only later: for Where from 16 on.",
        "Export with a higher `opset:`, keep the operator in fp32 (`keep_fp32: [OPERATOR]`), or use fp16.",
    ),
    "OBE120": FailureCode(
        "no-graph-in-common",
        "the graphs before and after a step cannot be compared",
        "`blame` compares graphs with the same file name, and the step renamed all of them.",
        "Let the step keep the names of the files, or look at its outputs instead.",
    ),
    "OBE125": FailureCode(
        "process-of-throughput-ended",
        "a process of a throughput ended during the benchmark",
        (
            "Several processes share the texts. With one fewer the rate would be lower, which says nothing about the "
            "model, so the benchmark fails. Most often the system ended the process because memory ran out."
        ),
        "Use fewer `workers` or a smaller `batch`. Each process holds the model once per engine.",
    ),
    "OBE126": FailureCode(
        "no-texts-for-throughput",
        "no text is left for a throughput",
        "No text of the dataset has as many characters as `longer_than` asks for, or as many tokens as one.",
        "Remove the number from `longer_than`, or name another dataset.",
    ),
    "OBE127": FailureCode(
        "fewer-batches-than-processes",
        "a throughput has fewer batches than processes",
        "A process without a batch would wait for the others, and the rate would be that of fewer processes.",
        "Raise `texts`, or use smaller numbers in `batch` and `workers`.",
    ),
    "OBE128": FailureCode(
        "fixed-shape-for-throughput",
        "the graph takes texts of only one shape",
        "Texts differ in length, and the axes of batch and sequence are fixed in this graph.",
        "Export with free axes, or remove `throughput`.",
    ),
    "OBE115": FailureCode(
        "search-holds-no-bound",
        "no mix of precisions keeps the bounds of `subject_to`",
        "`quantize: {method: auto}` took all nodes back to 8-bit weights or fp32, or `compile: openvino` left all "
        "operations but one in float, and the outputs still differ.",
        "Loosen the bound, or name in `exclude` what must stay in fp32; for OpenVINO, use `precision: bf16`.",
    ),
    "OBE116": FailureCode(
        "search-cannot-measure",
        "a search has nothing to measure a bound on",
        "`top1` and `kl_mean` are measured on an output `logits`, and every metric on text.",
        "Bound `cosine_mean` or `cosine_min`, and give a dataset of at least two rows.",
    ),
    "OBE110": FailureCode(
        "other-tokenizer",
        "the tokenizer beside the graph gives other ids than the reference's",
        "The graph was compared on the same ids as the reference and may be right; whoever loads the variant with its "
        "own tokenizer feeds it other ids. A step or an exporter saved another tokenizer, or saved it in another form.",
        "Compare the tokenizer's files of both folders. Another exporter, or copying the checkpoint's files, repairs "
        "it; `validate: {on_failure: warn}` records it and goes on.",
    ),
    "OBE111": FailureCode(
        "other-labels",
        "config.json beside the graph names classes otherwise than the reference's",
        "The logits may be right, and whoever reads `id2label` of the variant gets wrong names for them.",
        "Restore `id2label` and `label2id` in the config.json that the variant is exported with.",
    ),
    "OBE112": FailureCode(
        "metric-without-package",
        "a bound was written for a metric whose package is not installed",
        "Metrics of some tasks come from packages of the extra `metrics`. Without a bound they would be left out with "
        "a warning.",
        "Run `pip install 'onnxbuild[metrics]'` in the environment of the worker, or remove the bound.",
    ),
    "OBE130": FailureCode(
        "tokenizer-unreadable",
        "the tokenizer of a model cannot be loaded",
        "The folder has files of a tokenizer, and transformers loads none from them: one is missing or damaged. "
        "Without its tokenizer, a model of text would be compared on numbers that no text has.",
        "Fetch the checkpoint again with all files of its tokenizer. A model without one has none of these files.",
    ),
    "OBE135": FailureCode(
        "tuning-holds-no-condition",
        "no session settings fulfil the conditions of `subject_to`",
        "`tune` measured every setting, and the condition is still broken at one of the shapes. The machine may have "
        "been busy: the log of the step and `explain` say so.",
        "Loosen the condition, tune a smaller or quantized variant, or measure on a machine that has nothing else to "
        "do.",
    ),
    "OBE136": FailureCode(
        "session-not-run",
        "a session with ONNX Runtime's defaults cannot be run",
        "ONNX Runtime does not open the graph, or the process of the session ended: memory may have run out, because "
        "up to four sessions are open at once.",
        "`load` and `validate` show whether the graph opens at all. For lack of memory, tune on a larger machine, or "
        "write `tune: false` for this variant.",
    ),
    "OBE140": FailureCode(
        "file-of-row-missing",
        "a row names no recording or picture that can be read",
        "Rows of .jsonl and .csv name files below their own folder, which are then inputs of the check. Rows of "
        ".parquet cannot be read while the check is planned, so they must hold the content of each file.",
        "Write the rows as .jsonl with paths, or save the dataset with the bytes of each file in its column.",
    ),
    "OBE141": FailureCode(
        "file-of-row-unreadable",
        "the recording or picture of a row cannot be read",
        "It is empty, damaged, or in a format that soundfile (recordings) or pillow (pictures) does not read.",
        "Convert it, for example to .wav or .png, or remove the row.",
    ),
    "OBE142": FailureCode(
        "processor-missing",
        "the model's processor of recordings or pictures cannot be loaded",
        "Recordings and pictures of a dataset go through the model's own processor, as they do in use. It is what "
        "preprocessor_config.json describes.",
        "Add preprocessor_config.json to the checkpoint (`AutoProcessor.from_pretrained(…).save_pretrained(…)`), or "
        "validate without a `dataset`.",
    ),
    "OBE143": FailureCode(
        "score-of-row-no-number",
        "the score of a row is no number",
        "The role `score` says how alike the two texts of a row are, on any scale. Similarities of embeddings are "
        "ranked against it.",
        "Correct the row, or name another column for `score`.",
    ),
    "OBE145": FailureCode(
        "other-size",
        "vectors, probabilities or scores have another size than the reference's",
        "Vectors of another length have the same direction, and logits that are multiplied by a number, or all shifted "
        "by one, have the same largest label. Bounds on these do not show it; whoever reads the numbers gets others. "
        "A graph lacks a normalization, a factor or a bias, or quantization has lost most of the signal.",
        "`onnxbuild blame` names the step. To accept the difference, write a bound on `max_abs` (vectors), "
        "`max_probability` (labels) or `spearman` (scores).",
    ),
    "OBE146": FailureCode(
        "other-embedding",
        "the graph has another embedding of a token than the reference",
        "The samples do not have every word of the vocabulary, and a wrong row shows for its own word only, so the "
        "table of embeddings is read for every id. A step has cut or changed it.",
        "`onnxbuild blame` names the step; `validate: {on_failure: warn}` records it and goes on.",
    ),
    "OBE147": FailureCode(
        "other-setting",
        "a config beside the graph has another setting than the reference's",
        "The graph was compared on the same numbers as the reference and may be right. Whoever loads the variant reads "
        "this setting too: how pictures and audio become numbers, where generated text begins and ends, how vectors "
        "are pooled, or whether labels exclude each other.",
        "Compare the file in both folders, and restore it in the step that writes it; `validate: {on_failure: warn}` "
        "records it and goes on.",
    ),
    "OBE180": FailureCode(
        "not-revalidated",
        "a folder could not be validated again",
        "`verify --revalidate` runs the checks that `onnxbuild.json` describes. It needs the source of the model and "
        "the rows of its dataset, and both may be on another machine or need a network; or the build had no check. A "
        "check is not run if it runs code of the folder and no trusted key has signed it, or if the machine lacks the "
        "client.",
        "Name the folder or the file that the build has read with `--source PATH`. It is known by its digest. Name the "
        "key of the signer with `--trust FILE`.",
    ),
    "OBE181": FailureCode(
        "other-source",
        "a source has other content than the one that was built",
        "A check against another model proves nothing. The seed of random weights depends on the versions of torch "
        "and transformers; a repository at a commit does not change.",
        "For random weights, use the versions in `onnxbuild.json`. For a repository, do not trust the folder.",
    ),
    "OBE190": FailureCode(
        "client-disagrees",
        "the client of a package computes something else than ONNX Runtime with the same file",
        "The file is right, and the validation has passed: whoever loads the package with this client still gets other "
        "results. A config beside the graph, or a limit of the client, is the cause.",
        "The message names the file and the difference. `client: false` in the package's block leaves the check out.",
    ),
    "OBE191": FailureCode(
        "client-refuses",
        "the client of a package does not open it",
        "The client looks for other file names, inputs or outputs than the package has, or has no kernel for an "
        "operator of the graph.",
        "The message has the client's own words. Put another target into the package, or leave it out.",
    ),
    "OBE192": FailureCode(
        "graphs-not-of-javascript",
        "Transformers.js loads no graph of a target",
        "The library looks for `model.onnx`, or for `encoder_model.onnx` with `decoder_model_merged.onnx`. A decoder "
        "in two parts that exceed 2 GB cannot be merged.",
        "Export with the task's `-with-past` form, or quantize the model so that its parts can be merged.",
    ),
    "OBE193": FailureCode(
        "too-many-chunks",
        "the weights of a graph need more files than Transformers.js loads",
        "The library loads at most 100 files of weights for each graph.",
        "Raise `chunk_bytes` in the package's block.",
    ),
    "OBE194": FailureCode(
        "tokenizer-not-fast",
        "the tokenizer cannot be converted to the form that Transformers.js reads",
        "The library reads `tokenizer.json` alone, and transformers converts most other tokenizers to it, but not all.",
        "Add a `tokenizer.json` to the checkpoint.",
    ),
    "OBE195": FailureCode(
        "client-not-installed",
        "npm could not install the library that checks a package",
        "The check installs the library once per machine, in the versions of a lock file. npm reached no registry, or "
        "the cache cannot be written.",
        "Run it again with a network, or switch the check off: `package: {transformers.js: {client: false}}`.",
    ),
    "OBE196": FailureCode(
        "halves-not-cut",
        "the halves of a model cannot be cut from its graph",
        "A half is the part of the graph that leads to `text_embeds` or `image_embeds`, up to the division by its "
        "length. The graph of the target has no such output or no such division.",
        "Leave `halves` out of the package, or export with an exporter whose graph has both.",
    ),
    "OBE197": FailureCode(
        "words-not-aligned",
        "a package for Transformers.js cannot have times of words",
        "The library computes them from the attention of the decoder to the recording, in the heads that "
        "generation_config.json lists as `alignment_heads`. Fused attention is not visible in the graph.",
        "Leave `word_timestamps` out, leave `optimize` out of the target, or add `alignment_heads` to the checkpoint.",
    ),
    "OBE198": FailureCode(
        "graph-not-of-genai",
        "onnxruntime-genai cannot run the graph of a target",
        "It feeds ids, mask, positions, and one array of keys and one of values per layer. A graph that takes anything "
        "else, or whose config does not say how many tokens it accepts, cannot be described to it.",
        "Export with `exporter: genai`, or with an exporter that writes one graph with keys and values; for a missing "
        "limit, write `max_length` in the export.",
    ),
    "OBE200": FailureCode(
        "no-token",
        "there is no token for the Hub, or no keys for S3, or they are not accepted",
        "Uploads need a token with write access. onnxbuild takes it from HF_TOKEN or from `hf auth login`, and from "
        "nowhere else: a manifest must not hold one.",
        "Log in with `hf auth login`, or set HF_TOKEN. For S3, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
    ),
    "OBE201": FailureCode(
        "no-right-to-write",
        "the token may not write to the destination",
        "The token only reads, has no access to this repository, or the repository belongs to somebody else.",
        "Use a token with write access, a repository of yours, or `pull_request: true`.",
    ),
    "OBE202": FailureCode(
        "repository-out-of-reach",
        "the repository is gated or does not exist",
        "A gated repository shows its files only to users whose request its owner has accepted.",
        "Check the name. For a gated repository, request access on its page.",
    ),
    "OBE203": FailureCode(
        "license-to-publish",
        "the license of a published model is unknown, or the card states another one",
        "A model that is made from another one keeps its license, and the Hub shows what the card states.",
        "Write the license of the source: `publish: {license: …}`. Correct the card if it contradicts the source.",
    ),
    "OBE204": FailureCode(
        "card-refused",
        "the Hub refuses the model card",
        "The metadata at the beginning of README.md have a field that the Hub does not know, or a value that it does "
        "not take. The Hub checks them before it takes any file.",
        "The message has the Hub's words for each field. Correct the card in the package.",
    ),
    "OBE205": FailureCode(
        "destination-changed",
        "somebody else has changed the destination",
        "A file was edited since the last publish, the destination has files that no publish has written or the "
        "publication of another model, source or manifest, a tag names other content, or commits arrive while the "
        "files are compared. Nothing of others is overwritten silently.",
        "Take the change into the package, or publish to another place. `overwrite: true` in `publish:` replaces what "
        "is there. A tag that is in use needs a new name. After an upload by somebody else, run it again.",
    ),
    "OBE206": FailureCode(
        "rate-limit",
        "the Hub limits the rate of requests",
        "Many requests came from this address or with this token. onnxbuild has waited as the Hub asked, five times.",
        "Wait some minutes, and run it again.",
    ),
    "OBE207": FailureCode(
        "upload-cut-off",
        "an upload was cut off",
        "The network or the server failed several times, or the place cannot be written.",
        "Run it again: large files that have arrived are not sent again, and nothing is visible before the commit.",
    ),
    "OBE208": FailureCode(
        "upload-refused",
        "the Hub refuses an upload",
        "The answer is none that onnxbuild knows.",
        "The cause has the words of the Hub, and the log has the whole answer.",
    ),
    "OBE209": FailureCode(
        "file-too-large",
        "a file is larger than the Hub takes",
        "The Hub takes files of at most 50 GB. This is found before anything is sent.",
        "Quantize the model, or split its weights into several files of external data.",
    ),
    "OBE210": FailureCode(
        "published-unchecked",
        "a package is not published, because the check with its client was skipped",
        "The client is not installed on this machine, so nobody knows whether it opens the package.",
        "Install the client and run again, or accept it: `publish: {unchecked: true}`.",
    ),
    "OBE230": FailureCode(
        "no-record-of-compilation",
        "the folder of a compiled variant does not say how it is loaded",
        "`compiled.json` is missing, damaged, or of another version of onnxbuild.",
        "Compile it again: `onnxbuild run MANIFEST MODEL/TARGET --force`.",
    ),
    "OBE231": FailureCode(
        "backend-absent",
        "nothing that is installed runs a compiled variant",
        "The plugin that compiled it is not installed where the check runs.",
        "Install the plugin there, or in the toolchain of the model.",
    ),
    "OBE232": FailureCode(
        "foreign-blob",
        "a compiled file is not the one that was compiled, or the runtime does not take it",
        "It was replaced, cut off, or comes from another compilation. What it would compute is not known.",
        "Compile it again. Never mix files of two folders.",
    ),
    "OBE233": FailureCode(
        "blob-of-another-version",
        "a compiled file is of another version of the runtime",
        "Compiled files hold for the version that made them. With another one, they may compute something else.",
        "Compile it again with the version that is installed, or install the one that the message names.",
    ),
    "OBE234": FailureCode(
        "load-property-missing",
        "a property without which a compiled file computes something else is not recorded",
        "The runtime must be told how the file was compiled. OpenVINO computes in bf16 without it, and is silent.",
        "Compile it again; load it with all `properties` of `compiled.json`.",
    ),
    "OBE235": FailureCode(
        "compiler-failed",
        "a compiler failed or was killed",
        "It refuses the graph, or the machine has too little memory.",
        "The message has the end of its output and the command; the log has all of it. `compile.sh` repeats it.",
    ),
    "OBE236": FailureCode(
        "compiler-without-result",
        "a compiler ended without an error and without a result",
        "It has other options or names of files than this version of onnxbuild expects.",
        "Run the command of the message by hand, and report it with the version of the compiler.",
    ),
    "OBE237": FailureCode(
        "compiler-does-not-start",
        "a compiler does not start",
        "It is not executable, or is made for another kind of processor.",
        "Install it again, or remove it from the PATH: the variant is then only prepared.",
    ),
    "OBE238": FailureCode(
        "not-compilable",
        "a backend cannot compile a graph",
        "The graph has an operator or a shape that the backend does not have.",
        "The message has the words of the backend. Fix the shapes, choose other params, or leave the target out.",
    ),
    "OBE240": FailureCode(
        "graph-unfit-for-qaic",
        "a model cannot be written for Cloud AI 100",
        "onnxbuild writes the graph of some families of models, and of some poolings, itself.",
        "Write `producer: qefficient`, and name a toolchain that has the package QEfficient.",
    ),
    "OBE241": FailureCode(
        "outside-the-program",
        "a program for Cloud AI 100 was given what it is not compiled for",
        "A program takes the shapes of `specializations.json` and no others, and its cache has a fixed length.",
        "Compile it for other lengths, or use shorter texts.",
    ),
    "OBE242": FailureCode(
        "qefficient-failed",
        "QEfficient could not write the graph",
        "The package is missing or does not have the model, or its version does not fit transformers.",
        "The message has its own words. Name a toolchain that has QEfficient with the versions that it asks for.",
    ),
    "OBE243": FailureCode(
        "card-failed",
        "a Cloud AI card did not run a program",
        "The runtime of the platform SDK cannot be imported, or it refuses a call: the card is not ready, is in use, "
        "or has too few cores or too little memory for the program.",
        "The message has the call and its status. `qaic-util -q` shows the state of each card.",
    ),
    "OBE244": FailureCode(
        "sdk-of-another-version",
        "the installed compiler for Cloud AI is not of the SDK that a target names",
        "`sdk` decides how the command line and `specializations.json` are written. The version is the one in "
        "`versions/apps.xml` of the SDK that the compiler on the PATH is part of.",
        "Write the version that is installed as `sdk:`, in quotes, or put the other compiler first on the PATH.",
    ),
    "OBE250": FailureCode(
        "graph-of-another-cpu",
        "an optimized graph is for another kind of CPU",
        "`level: all` chooses layouts and kernels for the instructions of the CPU that compiles. On another one, the "
        "graph may fail, or run slower than the plain one.",
        "Compile it on such a machine, or write `level: extended`, which holds for all CPUs.",
    ),
    "OBE251": FailureCode(
        "sample-too-large",
        "a sample is larger than the shape that a variant is compiled for",
        "The program has one shape: longer rows do not fit, and shorter ones are padded if the graph takes a mask.",
        "Use samples that fit (`validate: {sequence: …}`), or compile for a larger `sequence` or other `bounds`.",
    ),
    "OBE252": FailureCode(
        "operator-refused",
        "a runtime does not take an operator or a type of the graph",
        "The runtime's own table has no such operator, and nothing may be left to the CPU.",
        "The message names them and the table. Start from the fp32 graph; another opset may write other operators.",
    ),
    "OBE253": FailureCode(
        "opset-refused",
        "a runtime does not read the opset of the graph",
        "It is newer than the runtime.",
        "Export with the opset that the message names.",
    ),
    "OBE254": FailureCode(
        "integers-refused",
        "a runtime does not take the integers of the graph",
        "TensorRT takes int8 without zero points only; Core ML and WebGPU take no QuantizeLinear.",
        "Compile the fp32 or fp16 graph, or let the backend quantize it (`precision: int8` of tensorrt).",
    ),
    "OBE260": FailureCode(
        "no-best-variant",
        "no variant fulfils what `select:` asks for",
        "A choice has bounds (`subject_to`), and each variant breaks one, or lacks a figure that the choice goes by. "
        "The folder `best` is not written. If an earlier run wrote one, it stays as it was.",
        "Relax a bound, add a target that fulfils all of them, or measure what is missing (`validate`, `benchmark`).",
    ),
    "OBE99": FailureCode(
        "unexplained",
        "an unknown failure",
        "The table has no entry for it, or onnxbuild itself is at fault.",
        "The log has the details; report it, with the log.",
    ),
    "OBE150": FailureCode(
        "one-row",
        "a metric over rows is bounded, and the dataset has a single row",
        "A share of right labels or a correlation over a single row has no spread, so that no interval could show what "
        "the bound is worth.",
        "Add rows to the dataset, raise `samples` or `limit`, or remove the bound.",
    ),
    "OBE151": FailureCode(
        "search-over-several-graphs",
        "a search quantizes a model of graphs that do not run one after another",
        "`quantize: {method: auto}` has one bound over the whole model. It joins the graphs of an encoder-decoder, "
        "whose decoder reads the encoder's states and the cache of the pass before. Other graphs, such as the two of "
        "CLIP, read nothing of each other, so that no single bound is on all of them.",
        "Write `method: dynamic`, with `modules` for the files that need another one.",
    ),
}


def message_of(code: str) -> str:
    """The message of a failure that has nothing to add to the table."""
    return FAILURE_CODES[code].message
