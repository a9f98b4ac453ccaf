"""The messages of libraries that fail, what they mean, and what helps: a table to read, to list and to extend.

A pattern is searched for, ignoring case, in the exception's type, text and notes, and then in the end of the log. The
first match wins: specific rows come before general ones, and memory comes before everything.

`NOTICED` are lines in the log of a step that succeeded nevertheless.
"""

from __future__ import annotations

from typing import NamedTuple


class Known(NamedTuple):
    """One known failure; `hint` and `headline` may quote groups of the pattern as {1}, {2}.

    `{reason}` in a headline is the library's own reason, in one line.
    """

    code: str
    pattern: str
    headline: str
    hint: str
    transient: bool = False


class Noticed(NamedTuple):
    """A warning in the log of a step that succeeded; the message is `means`, followed by the line itself."""

    code: str
    pattern: str
    means: str


_MEMORY = (
    r"(?:CUDA out of memory|Failed to allocate memory for requested buffer|bad_alloc"
    r"|DefaultCPUAllocator: (?:can't allocate|not enough) memory|MemoryError|Cannot allocate memory"
    r"|exit (?:status|code) 137\b|SIGKILL)"
)

# The note on every exception raised while a worker reads data: running out of memory then has its own row.
CALIBRATING = "while calibrating"

# Also for what an exporter raises and no row knows.
EXPORT_FAILED = "ONNX export failed: {reason}"
OTHER_TRACER = (
    "try `export: {attention: eager}`, `export: {opset: 18}`, or the other tracer: `export: {exporter: optimum}`"
    " uses TorchScript, `export: {exporter: transformers}` torch.export (in a toolchain with transformers 5); the"
    " log has the exporter's full message"
)
# The notes on exceptions raised while transformers' exporter runs the model to trace it, and while it traces it.
UNTRACEABLE = "while PyTorch ran the model on the inputs to trace"
TRACING = "while torch.export traced the model"

KNOWN: tuple[Known, ...] = (
    # Memory first: it appears inside every other failure.
    Known(
        "OBE30",
        rf"{_MEMORY}.*{CALIBRATING}",
        "out of memory while calibration data ran through the graph",
        "use fewer tokens per row (`sequence`), then `calibration: minmax`, which keeps no histograms",
    ),
    Known(
        "OBE05",
        _MEMORY,
        "out of memory",
        "run fewer actions at once (`-j 1`), or build on a machine with more memory: an export holds the weights"
        " about twice; a decoder's task without `-with-past` needs less",
    ),
    Known(
        "OBE52",
        r"No space left on device|Disk quota exceeded",
        "the disk is full",
        "free some space, or run `onnxbuild gc`; TMPDIR sets where steps keep their working files",
    ),
    # The Hub.
    Known(
        "OBE15",
        r"GatedRepoError|(?<!private or )gated repo|awaiting a review"
        r"|Access to model .* is restricted",
        "the repository is gated",
        "accept its terms on its page, then set HF_TOKEN to a token of that account",
    ),
    Known(
        "OBE15",
        r"RevisionNotFoundError|Invalid rev id|Revision Not Found",
        "the repository has no such revision",
        "the commit in onnxbuild.lock no longer exists: `onnxbuild lock --upgrade` pins the newest one",
    ),
    Known(
        "OBE15",
        r"RepositoryNotFoundError|Repository Not Found|is not a local folder and is not a valid model identifier"
        r"|Invalid username or password|401 Client Error|403 Client Error|Unauthorized|Forbidden",
        "the repository does not exist, or is private",
        "check its name; for a private repository set HF_TOKEN to a token with read access",
    ),
    Known(
        "OBE15",
        r"OfflineModeIsEnabled|outgoing traffic has been disabled|offline mode is enabled",
        "the model is not on this machine, and network access is turned off",
        "run once without `--offline` and without HF_HUB_OFFLINE, or use `local:`",
    ),
    Known(
        "OBE15",
        r"429 (Client Error|Too Many Requests)",
        "the Hub limits the rate of requests",
        "wait some minutes, and run it again; with HF_TOKEN, the Hub allows more requests",
        transient=True,
    ),
    Known(
        "OBE15",
        r"couldn.t connect to|ConnectError|ConnectionError|Connection refused|Connection reset"
        r"|Name or service not known|Temporary failure in name resolution|Max retries exceeded"
        r"|ReadTimeout|ConnectTimeout|LocalEntryNotFoundError"
        r"|50[0234] (Server Error|Client Error)|Bad Gateway|Service Unavailable|Gateway Time-?out"
        r"|IncompleteRead|RemoteProtocolError|Consistency check failed",
        "the Hub could not be reached",
        "check the network; HF_ENDPOINT sets another address",
        transient=True,
    ),
    Known(
        "OBE14",
        r"contains custom code which must be executed|Do you wish to run the custom code|trust_remote_code",
        "the model comes with its own code, which is not run by default",
        "review the code; then `export: {trust_remote_code: true}` lets the model's steps run it, with a commit in"
        " `source:`",
    ),
    # The checkpoint.
    Known(
        "OBE17",
        r"serious vulnerability issue in .?torch\.load",
        "the weights are a pickle, which this torch does not load",
        "use the repository's safetensors files, convert the .bin file to safetensors, or use a toolchain with"
        " `torch>=2.6`",
    ),
    Known(
        "OBE16",
        r"SafetensorError|HeaderTooLarge|InvalidHeaderDeserialization|MetadataIncompleteBuffer|incomplete metadata"
        r"|invalid load key|PytorchStreamReader|unexpected EOF|failed finding central directory",
        "the weights file is damaged",
        "fetch it again: it was cut short, or has another format (a Git LFS pointer?)",
    ),
    Known(
        "OBE16",
        r"Cannot determine framework from given checkpoint location|does not appear to have a file named"
        r"|Error no file named|Could not find model weights",
        "the checkpoint has no weights that can be used",
        "it needs model.safetensors or pytorch_model.bin: an adapter is named with `adapter:`, beside its base"
        " model as the source; instead of TensorFlow, Flax or GGUF weights use the PyTorch original",
    ),
    Known(
        "OBE16",
        r"It looks like the config file at .* is not a valid JSON|is not a valid JSON file|JSONDecodeError",
        "a JSON file of the checkpoint is damaged",
        "fetch the checkpoint again",
    ),
    Known(
        "OBE16",
        r"size mismatch for (\S+?):|You set `?ignore_mismatched_sizes`? to `?False",
        "the shapes of the weights differ from config.json",
        "config.json and the weights belong to different models: fetch both again",
    ),
    Known(
        "OBE16",
        r"Preprocessors for (\S+) need to be available",
        "the checkpoint has no processor, from which the exporter reads the size of its inputs",
        "save it beside the weights with `processor.save_pretrained`: preprocessor_config.json and the tokenizer",
    ),
    Known(
        "OBE02",
        r"Sizes of tensors must match except in dimension.*exporter optimum, task \S+-with-past",
        "optimum sizes the past by other fields of config.json than the model does",
        "set the task without `-with-past`, which needs no past, or use another exporter; it happens where an encoder"
        " and its decoder have different numbers of heads",
    ),
    Known(
        "OBE02",
        r"decoder part of the encoder-decoder model is (\S+) which does not need past",
        "optimum exports the decoder of the model, a {1}, without a past",
        "set the task without `-with-past`: `text2text-generation`, or `image-to-text`",
    ),
    # Task and architecture.
    Known(
        "OBE01",
        r"task (name )?could not be automatically inferred|Could not find the proper task name"
        r"|Cannot infer the task from a (local directory|model repo with a subfolder) yet"
        r"|Hub is not reachable and we cannot infer the task",
        "the task could not be determined automatically",
        "set `task:` on the model; `architectures` in config.json shows it: BertForSequenceClassification is"
        " `text-classification`",
    ),
    Known(
        "OBE02",
        r"only supports the tasks (.+?) for (\S+?)\.",
        "{2} cannot be exported for this task",
        "set `task:` to one of {1}",
    ),
    Known(
        "OBE02",
        r"KeyError: .*Unknown task: ([\w-]+)\. Possible values are",
        "the task `{1}` does not suit this kind of model",
        "a sentence-transformer exports as `feature-extraction`; for another task set `export: {library:"
        " transformers}`",
    ),
    Known(
        "OBE02",
        r"(?:checkpoint|model) (?:type|of type)[^`]*`(\S+?)`.*does not recognize this architecture"
        r"|does not recognize this architecture",
        "this version of transformers does not know the architecture",
        "the cause is the version of transformers, not the exporter: optimum-onnx 0.1.0 limits it to below 4.58, so"
        " use a toolchain with a newer version (see how-to/toolchains in the documentation) and `export: "
        "{exporter: transformers}`",
    ),
    Known(
        "OBE02",
        r"is a custom or unsupported architecture|is not supported yet (for|with)|doesn't support task .* for the"
        r"|only supports the tasks|(?<!model type )is not supported yet\. Only"
        r"|Unrecognized (configuration class|model in)|Should have a `model_type` key",
        "the exporter does not support this model architecture",
        "with transformers 5 (see how-to/toolchains in the documentation) try `export: {exporter: transformers}`, "
        "or for a decoder"
        " `export: {exporter: genai}`, or a newer optimum-onnx; otherwise write a function that exports it with the"
        " config of a similar architecture: see how-to/own-exporter in the documentation",
    ),
    Known(
        "OBE02",
        r"Config dummy inputs are not a subset of the model inputs: (\{.*?\}) vs (\{.*?\})",
        "the exporter's config feeds {1}, and the model takes {2}",
        "derive the config from another architecture, or pass the inputs of `forward` by name:"
        " see how-to/own-exporter in the documentation",
    ),
    Known(
        "OBE02",
        r"`get_seq_length` can only be called on Attention layers",
        "the model's past is not keys and values in every layer, which the exporter needs",
        "choose another exporter: `onnxbuild compare-exporters` tries each",
    ),
    Known(
        "OBE03",
        r"GuardOnDataDependentSymNode|Could not (?:guard on|extract specialized integer from) data-dependent",
        "the model decides by a value that it computes, and torch.export cannot trace both ways",
        "where optimum knows the model type, `export: {exporter: optimum}` traces the way that its sample takes, and"
        " `validate` says up to which length that holds (`export: {max_length: N}` accepts it); otherwise a custom"
        " exporter (see how-to/own-exporter in the documentation)",
    ),
    Known(
        "OBE13",
        r"Could not infer the pad token id|Cannot handle batch sizes > 1 if no padding token",
        "the model has no padding token",
        "set `pad_token_id:` in `export:`, for example to `eos_token_id` of config.json; batches of one row, such"
        " as `shapes: [[1, 8]]`, need none",
    ),
    Known(
        "OBE02",
        r"too many values to unpack|Output names mismatch|not enough values to unpack",
        "the model's head does not give the outputs of this task",
        "set `task:` to the one that `architectures` in config.json names",
    ),
    # Export.
    Known(
        "OBE08",
        r"Exporting the operator '?(aten::\w+)'? to ONNX opset version (\d+) is not supported\. Support .* added in "
        r"version (\d+)",
        "opset {2} has no {1}",
        "set `export: {opset: {3}}` or higher; 18 is the default",
    ),
    Known(
        "OBE08",
        r"Exporting the operator '?(aten::\w+)'? to ONNX opset version (\d+) is not supported",
        "the exporter does not support {1} at opset {2}",
        "try `export: {opset: 18}` or higher, or `export: {attention: eager}`; `export: {exporter: transformers}` in a"
        " toolchain with transformers 5 uses torch.export, which knows more operators",
    ),
    Known(
        "OBE08",
        r"Unsupported onnx_opset_version|Unsupported ONNX opset version",
        "the exporter does not know this opset",
        "set `export: {opset: 18}`, or another from 14 to 23; 18 is the default",
    ),
    Known(
        "OBE09",
        r"Constraints violated \((\w+)\)|Failed to export the model with torch\.export|satisfy the generated guard",
        "an axis that must be dynamic was fixed while tracing: {reason}",
        "`export: {exporter: optimum}` (TorchScript) fixes none, and `export: {attention: eager}` has fewer branches;"
        " in a custom exporter give each dynamic axis an example size of 2 or more, ids and mask a shared Dim, and"
        " positions a `max`",
    ),
    Known(
        "OBE10",
        r"Opset (\d+) is lower than the recommended minimum opset(?: \((\d+)\))?",
        "opset {1} is below the minimum that is recommended for this model",
        "set `export: {opset: 18}`, the default, or higher",
    ),
    Known(
        "OBE11",
        r"version of Transformers does not allow .*Minimum required is (\S+?), got:? (\S+)",
        "transformers {2} is too old for this model, which needs {1}",
        "use a toolchain with `transformers>={1}`: below 4.58 with `export: {exporter: optimum}`, from 5.23 on"
        " with `export: {exporter: transformers}`",
    ),
    Known(
        "OBE11",
        r"Unsupported PyTorch version.*Minimum required is (\S+?), got:? (\S+)",
        "PyTorch {2} is too old for this model, which needs {1}",
        'run `pip install "torch>={1}"` in its toolchain',
    ),
    Known(
        "OBE11",
        r"Minimum required is .*got:|Unsupported PyTorch version",
        "a library of the toolchain is too old for this model",
        "install with the constraints file of this release, or use a toolchain with newer versions",
    ),
    Known(
        "OBE12",
        r"ResolutionImpossible|conflicting dependencies",
        "the packages to install exclude each other",
        "give each exporter its own toolchain (`toolchains:`), separate from the environment that serves the model:"
        " optimum-onnx 0.1.0 limits transformers to below 4.58, and newer models need 5",
    ),
    Known(
        "OBE20",
        r"exceeds maximum protobuf size of 2GB|exceeded maximum protobuf size|larger than the 2GiB limit"
        r"|Failed to serialize proto",
        "the model does not fit into one file of 2 GB",
        "a custom exporter must write the weights to a separate file (`external_data=True`) and check the model by"
        " its path; if a step of onnxbuild failed, report it",
    ),
    Known(
        "OBE18",
        r"Requested O4 optimization, but this optimization requires",
        "O4 is fp16 for CUDA",
        "use O2 or O3, or `device: cuda` on a machine that has it",
    ),
    Known(
        "OBE19",
        r"generation ?config (?:instance )?is invalid",
        "the generation config of the checkpoint is invalid",
        "fix generation_config.json, or the generation settings in config.json: temperature and top_p need"
        " `do_sample: true`; the log names the invalid setting",
    ),
    Known(
        "OBE04",
        r"not within the set tolerance|values not close enough",
        "output mismatch: the exporter's own check finds larger differences than it allows",
        "below 1e-3 it is rounding of fp32, and the exporter's bound (`atol`) is too tight; above that try"
        " `export: {attention: eager}` and a lower `optimize` level: onnxbuild's validation shows how much each output"
        " differs, and after which step",
    ),
    Known(
        "OBE04",
        r"Output shapes do not match|output names do not match|does not have the exact same outputs",
        "output mismatch: the graph's outputs have other names or shapes than the model's",
        "the exporter's config for this model type is wrong: name the outputs of `task:`, or export with a custom"
        " config: see how-to/own-exporter in the documentation",
    ),
    Known(
        "OBE03",
        r"The post-processing of the ONNX export failed|Unable to merge decoders",
        "ONNX export failed after tracing, while the graphs were merged: {reason}",
        "use `export: {exporter: transformers}` in a toolchain with transformers 5, or a custom exporter that calls"
        " main_export with `no_post_process=True`",
    ),
    Known(
        "OBE03",
        r"_Map_base::at|TorchScript|torch\.jit|torch\.onnx|TracingCheckError|SymbolicValueError|OnnxExporterError"
        r"|(?:^|[\n.]|: )Unsupported: ",
        EXPORT_FAILED,
        OTHER_TRACER,
    ),
    # Optimize.
    Known(
        "OBE21",
        r"Incomplete symbolic shape inference|failed in shape inference",
        "the optimizer cannot infer the shapes of this graph",
        "use `optimize: O1`, which infers no shapes, or instead of O4 use O2 and then `precision: fp16`; in your"
        " own script set `disable_shape_inference=True`. A line in the log alone is harmless: ONNX Runtime"
        " continues without shapes",
    ),
    Known(
        "OBE22",
        r"Tried to use ORTOptimizer for the model type ([\w-]+)|doesn't support the graph optimization of ([\w-]+)"
        r"|([\w-]+) model type is not supported yet|Unsupported model type: [\w-]+ for",
        "the optimizer knows no fusions for this model type",
        "use `optimize: O1`, which works for every model type, or leave `optimize:` out",
    ),
    Known(
        "OBE23",
        r"does not support ORTModelForCausalLM models when without/with past models are merged",
        "a merged decoder cannot be optimized",
        "export it again from the checkpoint: the parts are optimized and merged afterwards",
    ),
    Known(
        "OBE25",
        r"Graph is not a DAG",
        "the optimizer made a graph with a cycle",
        "use `optimize: O1`, or instead of O4 use O2 and then `precision: fp16`, which infers no shapes; report it"
        " to ONNX Runtime with the model's name",
    ),
    Known(
        "OBE26",
        r"Type parameter \(\w+\) of Optype \((\w+)\) bound to different types",
        "the graph mixes precisions at {1}",
        "if `precision` failed, keep the operator in fp32: `precision: {dtype: fp16, keep_fp32: [{1}]}`; any other step"
        " needs a graph that is fp32 throughout: export with `dtype: fp32`, and let `precision:` come last",
    ),
    # Quantize.
    Known(
        "OBE27",
        r"Requested static quantization.*no calibration ranges"
        r"|Either calibration_data_reader or an existing calibration_cache_path",
        "static quantization has no data to take ranges from",
        "name one of `datasets:` (`quantize: {method: static, dataset: …}`), or use `quantize: {method: dynamic}`,"
        " which needs no data",
    ),
    Known(
        "OBE28",
        r"Quantization parameters are not specified for param (\S+)",
        "a tensor has no range for its quantization",
        "no data reached it: try `calibration: minmax`, name its operator in `operators`, optimize first (O1 folds"
        " constants), or add its node to `exclude`",
    ),
    Known(
        "OBE29",
        r"Histogram has not been collected",
        "a calibrator was asked for ranges before it had any data",
        "its reader returned nothing: check that it yields rows under the graph's input names, and starts again for"
        " each pass",
    ),
    Known(
        "OBE31",
        r"head_size (?:shall|must) be a multiple of (\d+)\. Got head_size % \d+ == (\d+)",
        "this runtime's attention takes only heads whose size is a multiple of {1}, and the model's leave {2} over",
        "the operator is GroupQueryAttention, which `exporter: genai` writes for every model; other exporters write"
        " attention as plain operators",
    ),
    Known(
        "OBE31",
        r"Could not find an implementation for ConvInteger\((\d+)\) node with name '?([^'\s]+)",
        "this runtime has no kernel for ConvInteger with these integer types",
        "onnxruntime 1.24.4 and newer has one; with an older version leave Conv out (`operators: [MatMul]`),"
        " exclude `{2}`, or use `quantize: {method: static, dataset: …}` or unsigned weights",
    ),
    Known(
        "OBE31",
        r"Could not find an implementation for "
        r"(MatMulNBits|MatMulBnb4|GatherBlockQuantized|GroupQueryAttention|MultiHeadAttention)\((\d+)\) node with name"
        r" '?([^'\s]+)",
        "this runtime has no kernel for {1} with the types in the graph",
        "it is an operator of ONNX Runtime, and newer releases support more types: use a newer onnxruntime, or"
        " leave `precision:` out, because on the CPU fp32 has the most kernels",
    ),
    Known(
        "OBE31",
        r"Could not find an implementation for (\w+)\((\d+)\) node with name '?([^'\s]+)",
        "this runtime cannot run {1} with the types in the graph",
        "add `{3}` to `exclude`, or leave {1}'s float operator out of `operators`",
    ),
    Known(
        "OBE31",
        r"Could not find an implementation for (\w+)\((\d+)\)",
        "this runtime cannot run {1} with the types in the graph",
        "ONNX Runtime created that node from one without a kernel for its type: on the CPU, bf16 and many fp16"
        " operators have none; keep it in fp32, or use a newer onnxruntime",
    ),
    Known(
        "OBE32",
        r"Type 'tensor\(float16\)' of input parameter .* operator \((DynamicQuantizeLinear)\)"
        r"|Only float type is supported\. Weights",
        "the graph is fp16, and quantizing starts from fp32",
        "quantize before the conversion to fp16, or export with `dtype: fp32`",
    ),
    Known(
        "OBE33",
        r"doesn't support data format|Invalid combination of use_static_quantization",
        "this pair of integer types is not supported",
        "valid pairs of activations and weights: dynamic U8 with S8 or U8; static U8 with S8 or U8, and S8 with S8"
        " (as QDQ); never S8 with U8. Every preset is a valid pair",
    ),
    Known(
        "OBE34",
        r"quantization is currently not supported for models with subgraphs|Found too many ONNX model files",
        "a graph with branches cannot be quantized this way",
        "use `quantize: {method: dynamic}`, or export the parts too: each is quantized, and the decoders are merged"
        " afterwards",
    ),
    Known(
        "OBE35",
        r"doesn't support int4 data type|may not be a valid model",
        "4-bit weights need opset 21",
        "set `export: {opset: 21}`; `quantize: {method: weight-only}` writes MatMulNBits, which works with any opset",
    ),
    Known(
        "OBE28",
        r"Unable to find data type for weight_name='([^']+)'",
        "the type of `{1}` is unknown, so it cannot be quantized",
        "the graph may be quantized already; otherwise add its node to `exclude`",
    ),
    # Loading.
    Known(
        "OBE36",
        r"Unsupported model IR version: (\d+), max supported IR version: (\d+)",
        "the model has IR version {1}, and this ONNX Runtime reads at most {2}",
        "use a newer onnxruntime (1.31 reads 13), or export with a lower `opset:`, which determines the IR version:"
        " opset 18 has 8, 21 has 10, 23 has 11",
    ),
    Known(
        "OBE36",
        r"only \*?guarantees\*? support for models stamped with official released onnx opset"
        r"|Opset \d+ is under development",
        "this ONNX Runtime does not support the opset yet",
        "export with a lower `opset:` (18 is the default), or use a newer onnxruntime (1.31 supports 26)",
    ),
    Known(
        "OBE37",
        r"Required inputs \((\[.*?\])\) are missing from input feed",
        "the graph's inputs {1} were not fed",
        "feed exactly what `session.get_inputs()` lists: zeros for token_type_ids, and an empty cache at the start",
    ),
    Known(
        "OBE37",
        r"Invalid (?:input|feed input) name:? ?(\S+)",
        "the graph has no input {1}",
        "the tokenizer and the graph disagree: feed only what `session.get_inputs()` lists",
    ),
    Known(
        "OBE37",
        r"Unexpected input data type\. Actual: \((tensor\(\w+\))\) ?, expected: \((tensor\(\w+\))\)",
        "an input is {1} where the graph takes {2}",
        "token ids, masks and positions are int64: `.astype(numpy.int64)`",
    ),
    Known(
        "OBE37",
        r"Unexpected input data type",
        "an input has another type than the graph takes",
        "token ids, masks and positions are int64: `.astype(numpy.int64)`",
    ),
    Known(
        "OBE38",
        r"indices element out of data bounds, idx=(-?\d+) must be within the inclusive range \[-2,\s*1\]",
        "index {1} is outside a table of two rows, the types of tokens",
        "the order of the inputs is mixed up: feed them by name",
    ),
    Known(
        "OBE38",
        r"Name:\s*'([^']*(?:position|/wpe|pos_emb)[^']*)'.*indices element out of data bounds,"
        r" idx=(-?\d+) must be within the inclusive range \[(-?\d+),\s*(-?\d+)\]",
        "position {2} is outside the model's table, which ends at {4}",
        "the text is longer than the model takes: truncate it, or use shorter sequences",
    ),
    Known(
        "OBE38",
        r"Name:\s*'[^']*(?:word_emb|embed_tokens|tok_emb|/wte|/shared)[^']*'.*indices element out of data bounds,"
        r" idx=(-?\d+) must be within the inclusive range \[(-?\d+),\s*(-?\d+)\]",
        "token {1} is outside the model's vocabulary, which ends at {3}",
        "tokens were added to the tokenizer and the model was not resized: call"
        " `model.resize_token_embeddings(len(tokenizer))` and save both, or use the tokenizer without them",
    ),
    Known(
        "OBE38",
        r"indices element out of data bounds, idx=(-?\d+) must be within the inclusive range \[(-?\d+),\s*(-?\d+)\]",
        "index {1} is outside a table of {2} to {3}",
        "if config.json has `vocab_size` {3} + 1, tokens were added to the tokenizer and not to the model; if it has so"
        " many positions, the text is too long; the node's name says which",
    ),
    Known(
        "OBE38",
        r"IndexError: index out of range in self",
        "a token or a position is outside a table of the PyTorch model",
        "if the text is no longer than `max_position_embeddings`, tokens were added to the tokenizer and the model was"
        " not resized: call `model.resize_token_embeddings(len(tokenizer))` and save both",
    ),
    Known(
        "OBE39",
        r"Got invalid dimensions for input: (past_key_values\S*).*?index: (\d+) Got: (\d+) Expected: (\d+)",
        "the past `{1}` has length {3} in axis {2}, and the graph takes {4}",
        "what made the past computes its sizes from other fields of config.json than the model: with optimum's loader,"
        " set `num_key_value_heads` and `embed_size_per_head` after loading (see how-to/gpt2 in the "
        "documentation); otherwise take"
        " the sizes from `session.get_inputs()`",
    ),
    Known(
        "OBE39",
        r"Got invalid dimensions for input: (\S+).*?index: (\d+) Got: (\d+) Expected: (\d+)",
        "the input `{1}` has length {3} in axis {2}, and the graph takes {4}",
        "the graph was exported for this length alone: pad or resize the input to {4}, or export it again with a"
        " dynamic axis, as `export: {exporter: optimum}` does",
    ),
    Known(
        "OBE39",
        r"Invalid rank for input: (\S+) Got: (\d+) Expected: (\d+)",
        "the input `{1}` has {2} axes, and the graph takes {3}",
        "inputs begin with the axis of the batch: feed one text as [1, tokens], and one picture as [1, channels,"
        " height, width]",
    ),
    Known(
        "OBE39",
        r"Got invalid dimensions for input|Invalid rank for input",
        "an input has another shape than the graph takes",
        "feed what `session.get_inputs()` names; an axis with a number there has one length",
    ),
    Known(
        "OBE40",
        r"External data path|should be stored in .* but it doesn't exist|cannot get file size|escapes model directory"
        r"|multiple hard links|potential hardlink attack",
        "the model's external data cannot be read",
        "copy the .onnx file together with its data file, both under their original names",
    ),
    Known(
        "OBE41",
        r"Protobuf parsing failed|INVALID_PROTOBUF|Error parsing message with type 'onnx\.ModelProto'|DecodeError",
        "a file is not an ONNX model",
        "it is damaged, a Git LFS pointer, or a web page: fetch it again",
    ),
    Known(
        "OBE42",
        r"is not a registered function/op|com\.\w+:(\w+)\(-1\)",
        "the graph has an operator that this runtime does not know",
        "it was fused for another runtime: start from the plain export",
    ),
    Known(
        "OBE43",
        r"Specified provider .* is not in available provider names|Failed to create CUDAExecutionProvider|EP Error"
        r"|Unknown Provider Type|There is no gpu for onnxruntime",
        "the requested execution provider is not available",
        "for CUDA install onnxruntime-gpu instead of onnxruntime, with the CUDA and cuDNN versions that its release"
        " names, or set `device: cpu`; `onnxbuild doctor` lists the available providers",
    ),
    Known(
        "OBE16",
        r"(?:ImportError|ModuleNotFoundError): .*?(?:requires? the|No module named) '?`?(TensorFlow|tensorflow|tf_keras"
        r"|Flax|flax|jax)\b",
        "the checkpoint has no PyTorch weights, only those of {1}",
        "exporters read PyTorch: use the repository's safetensors or .bin files, or convert the checkpoint once with"
        " `from_pretrained(folder, from_tf=True)` or `from_flax=True` where {1} is installed",
    ),
    Known(
        "OBE53",
        r"(?:ModuleNotFoundError|ImportError|PackageNotFoundError): .*?(?:No module named|requires the?) '?`?"
        r"(torch|PyTorch|transformers|optimum|onnx|onnxruntime|onnx_ir|onnxscript|sentence_transformers|sentencepiece|accelerate)"
        r"(?![\w-])",
        "the toolchain lacks `{1}`",
        "install the extra that contains it: `pip install 'onnxbuild[optimum]'`, or `pip install '.[optimum]'` from"
        " a clone; `onnxbuild[transformers]` is the one for `exporter: transformers`",
    ),
    Known(
        "OBE53",
        r"(?:ModuleNotFoundError|ImportError|PackageNotFoundError): .*?(?:No module named|requires the?) '?`?([\w.-]+)",
        "the toolchain lacks `{1}`",
        "this model needs it, and no extra of onnxbuild has it: install it into the model's toolchain, or name it in"
        " `requirements:` under `toolchains:`",
    ),
    # Patterns that say little by themselves come last, so that a more specific one matches first.
    Known(
        "OBE81",
        r"Load model from \S+ failed|INVALID_GRAPH|This is an invalid model|ShapeInferenceError",
        "ONNX Runtime does not load a graph",
        "the cause names the node: the graph is not valid for its opset and IR version; if it is the source, export or"
        " convert it again, and if a step wrote it, try `optimize: O1` before that step, and report it",
    ),
    Known(
        "OBE29",
        r"truth value of an array with more than one element is ambiguous",
        "an array was given where one number was expected, as in a histogram of a batch with several rows",
        "calibrate with batches of one row and of equal shape, as `quantize: {method: static}` of onnxbuild does",
    ),
    Known(
        "OBE03",
        r"TracerWarning",
        "ONNX export failed after a branch was traced: {reason}",
        "a branch on the values of a tensor was frozen: try `export: {attention: eager}`, or `export: {exporter:"
        " transformers}` in a toolchain with transformers 5",
    ),
    # Whatever else PyTorch says there: its first line is the reason.
    Known(
        "OBE92",
        rf"^([^\n]{{1,300}}).*{UNTRACEABLE}",
        "PyTorch does not run the model on the inputs that are made to trace it: {1}",
        "check the sizes in config.json, and that `task:` is what `architectures` names; if the checkpoint runs in"
        " PyTorch, its inputs are of a kind that this exporter does not make: choose another exporter"
        " (`onnxbuild compare-exporters` tries each), or write one: see how-to/own-exporter in the documentation",
    ),
    Known(
        "OBE03",
        rf"^([^\n]{{1,300}}).*{TRACING}",
        "torch.export does not trace the model: {1}",
        "choose another exporter (`onnxbuild compare-exporters` tries each), or a newer transformers; try `export:"
        " {attention: eager}`, which has fewer branches",
    ),
)

NOTICED: tuple[Noticed, ...] = (
    Noticed(
        "OBE19",
        r"generation config is invalid and will not be saved",
        "the model's generation config is invalid and was not written; generation_config.json of the checkpoint, if"
        " any, was copied unchanged",
    ),
    Noticed(
        "OBE04",
        r"not within the set tolerance|does not have the exact same outputs",
        "the exporter's own check found differences and continued; the validation decides",
    ),
    Noticed("OBE10", r"is lower than the recommended minimum opset", "the opset is lower than the exporter recommends"),
    Noticed(
        "OBE43",
        r"Specified provider .* is not in available provider names|EP Error",
        "some or all of the graph runs on the CPU instead of the requested provider",
    ),
    Noticed(
        "OBE35",
        r"doesn't support int4 data type",
        "the graph was converted to opset 21 for 4-bit weights, and may be invalid",
    ),
)
