"""What libraries say when they fail, what it means, and what helps: a table to read, to list and to extend.

A pattern is searched, whatever the case, in the exception's type, text and notes and then in the end of the log; the
first that matches wins, so the particular stands above the general, and within the text memory above all.

`NOTICED` are things that a log says of a step which succeeded all the same.
"""

from __future__ import annotations

from typing import NamedTuple


class Known(NamedTuple):
    """One known failure; `hint` and `headline` may quote groups of the pattern as {1}, {2}."""

    code: str
    pattern: str
    headline: str
    hint: str
    transient: bool = False


class Noticed(NamedTuple):
    """What a log says of a step that went well and that someone should know; `means` comes before the line itself."""

    code: str
    pattern: str
    means: str


_MEMORY = (
    r"(?:CUDA out of memory|Failed to allocate memory for requested buffer|bad_alloc"
    r"|DefaultCPUAllocator: (?:can't allocate|not enough) memory|MemoryError|Cannot allocate memory"
    r"|exit (?:status|code) 137\b|SIGKILL)"
)

# What a worker notes on whatever is raised while it reads data, so that the table can tell what ran out of memory.
CALIBRATING = "while calibrating"

KNOWN: tuple[Known, ...] = (
    # Memory first: it shows up inside every other failure.
    Known(
        "OBE30",
        rf"{_MEMORY}.*{CALIBRATING}",
        "out of memory while the data was read through the graph",
        "fewer tokens of a row (`sequence`) need less, then `calibration: minmax`, which keeps no histograms",
    ),
    Known(
        "OBE05",
        _MEMORY,
        "out of memory",
        "run fewer actions at once (`-j 1`), or build on a machine with more memory: an export holds the weights about"
        " twice; of a decoder, a task without `-with-past` traces less",
    ),
    Known(
        "OBE52",
        r"No space left on device|Disk quota exceeded",
        "the disk is full",
        "free some space, or `onnxbuild gc`; TMPDIR says where steps keep what they work on",
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
        "the commit in onnxbuild.lock is gone: `onnxbuild lock --upgrade` pins the newest one",
    ),
    Known(
        "OBE15",
        r"RepositoryNotFoundError|Repository Not Found|is not a local folder and is not a valid model identifier"
        r"|Invalid username or password|401 Client Error|403 Client Error|Unauthorized|Forbidden",
        "the repository does not exist, or is private",
        "check its name; for a private one set HF_TOKEN to a token that may read it",
    ),
    Known(
        "OBE15",
        r"OfflineModeIsEnabled|outgoing traffic has been disabled|offline mode is enabled",
        "the model is not on this machine, and the network is switched off",
        "run once without `--offline` and without HF_HUB_OFFLINE, or use `local:`",
    ),
    Known(
        "OBE15",
        r"couldn.t connect to|ConnectError|ConnectionError|Connection refused|Connection reset"
        r"|Name or service not known|Temporary failure in name resolution|Max retries exceeded"
        r"|ReadTimeout|ConnectTimeout|LocalEntryNotFoundError"
        r"|50[0234] (Server Error|Client Error)|Bad Gateway|Service Unavailable|Gateway Time-?out|429 Client Error"
        r"|IncompleteRead|RemoteProtocolError|Consistency check failed",
        "the Hub could not be reached",
        "check the network; HF_ENDPOINT names another address",
        transient=True,
    ),
    Known(
        "OBE14",
        r"contains custom code which must be executed|Do you wish to run the custom code|trust_remote_code",
        "the model comes with code of its own, which is not run",
        "read it; `export: {trust_remote_code: true}` lets the model's steps run it, with the commit in `source:`",
    ),
    # The checkpoint.
    Known(
        "OBE17",
        r"serious vulnerability issue in .?torch\.load",
        "the weights are a pickle, which this torch does not load",
        "use the repository's safetensors, convert the .bin file to them, or name a toolchain with `torch>=2.6`",
    ),
    Known(
        "OBE16",
        r"SafetensorError|HeaderTooLarge|InvalidHeaderDeserialization|MetadataIncompleteBuffer|incomplete metadata"
        r"|invalid load key|PytorchStreamReader|unexpected EOF|failed finding central directory",
        "the weights file is damaged",
        "fetch it again: it was cut short, or is not what its name says (a Git LFS pointer?)",
    ),
    Known(
        "OBE16",
        r"Cannot determine framework from given checkpoint location|does not appear to have a file named"
        r"|Error no file named|Could not find model weights",
        "the checkpoint holds no weights that can be used",
        "it needs model.safetensors or pytorch_model.bin: merge an adapter into its base model first"
        " (`merge_and_unload` of peft), and of weights of TensorFlow, Flax or GGUF use the PyTorch original",
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
        "the weights do not have the shapes that config.json says",
        "config.json and the weights are of different models: fetch both again",
    ),
    # Task and architecture.
    Known(
        "OBE01",
        r"task (name )?could not be automatically inferred|Could not find the proper task name"
        r"|Cannot infer the task from a (local directory|model repo with a subfolder) yet"
        r"|Hub is not reachable and we cannot infer the task",
        "couldn't determine the model task automatically",
        "set `task:` on the model: `architectures` in config.json tells it, BertForSequenceClassification is"
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
        "a sentence-transformer exports as `feature-extraction`; for another task set `library: transformers`",
    ),
    Known(
        "OBE02",
        r"(?:checkpoint|model) (?:type|of type)[^`]*`(\S+?)`.*does not recognize this architecture"
        r"|does not recognize this architecture",
        "this version of transformers does not know the architecture",
        "it is the version of transformers, not the exporter: optimum-onnx 0.1.0 holds it below 4.58, so give the model"
        " a toolchain with a newer one and `exporter: transformers`",
    ),
    Known(
        "OBE02",
        r"is a custom or unsupported architecture|is not supported yet (for|with)|doesn't support task .* for the"
        r"|only supports the tasks|(?<!model type )is not supported yet\. Only"
        r"|Unrecognized (configuration class|model in)|Should have a `model_type` key",
        "model architecture not supported by the exporter",
        "try `exporter: transformers`, for a decoder `genai`, or a newer optimum-onnx; else write a function that"
        " exports it with the config of its nearest family: docs/how-to/own-exporter.md",
    ),
    Known(
        "OBE02",
        r"Config dummy inputs are not a subset of the model inputs: (\{.*?\}) vs (\{.*?\})",
        "the exporter's config feeds {1}, and the model takes {2}",
        "derive the config from another family, or give `forward` its inputs by name: docs/how-to/own-exporter.md",
    ),
    Known(
        "OBE13",
        r"Could not infer the pad token id|Cannot handle batch sizes > 1 if no padding token",
        "the model has no padding token",
        "set `pad_token_id:` in `export:` (`eos_token_id` of config.json serves); batches of one row, such as"
        " `shapes: [[1, 8]]`, need none",
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
        "set `opset: {3}` or higher in `export:`; 18 is the default",
    ),
    Known(
        "OBE08",
        r"Exporting the operator '?(aten::\w+)'? to ONNX opset version (\d+) is not supported",
        "the exporter has no {1} at opset {2}",
        "try `opset: 18` or higher, or `attention: eager` in `export:`; `exporter: transformers` uses torch.export,"
        " which knows more operators",
    ),
    Known(
        "OBE08",
        r"Unsupported onnx_opset_version|Unsupported ONNX opset version",
        "the exporter does not know this opset",
        "set `opset:` to 14 … 23 in `export:`; 18 is the default",
    ),
    Known(
        "OBE09",
        r"Constraints violated \((\w+)\)|Failed to export the model with torch\.export|satisfy the generated guard",
        "an axis that has to be free was fixed while tracing",
        "`exporter: optimum` (TorchScript) fixes none, and `attention: eager` has fewer branches; in a function of your"
        " own give each free axis an example of 2 or more, ids and mask one Dim, and positions a `max`",
    ),
    Known(
        "OBE10",
        r"Opset (\d+) is lower than the recommended minimum opset(?: \((\d+)\))?",
        "opset {1} is lower than what is recommended for this model",
        "set `opset: 18`, the default, or higher in `export:`",
    ),
    Known(
        "OBE11",
        r"version of Transformers does not allow .*Minimum required is (\S+?), got:? (\S+)",
        "transformers {2} is too old for this model, which needs {1}",
        "a toolchain with `transformers>={1}`: below 4.58 optimum exports there, from 5 on `exporter: transformers`",
    ),
    Known(
        "OBE11",
        r"Unsupported PyTorch version.*Minimum required is (\S+?), got:? (\S+)",
        "PyTorch {2} is too old for this model, which needs {1}",
        '`pip install "torch>={1}"` in its toolchain',
    ),
    Known(
        "OBE11",
        r"Minimum required is .*got:|Unsupported PyTorch version",
        "a library of the toolchain is too old for this model",
        "install the constraints file of this release, or name a toolchain with newer versions",
    ),
    Known(
        "OBE12",
        r"ResolutionImpossible|conflicting dependencies",
        "packages that were to be installed exclude each other",
        "give each exporter a toolchain of its own (`toolchains:`), apart from what serves the model: optimum-onnx"
        " 0.1.0 holds transformers below 4.58, and newer models need 5",
    ),
    Known(
        "OBE20",
        r"exceeds maximum protobuf size of 2GB|exceeded maximum protobuf size|larger than the 2GiB limit"
        r"|Failed to serialize proto",
        "the model does not fit into one file of 2 GB",
        "a function of your own has to write weights beside the graph (`external_data=True`) and to check it by its"
        " path; for a step of onnxbuild, report it",
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
        "mend generation_config.json, or what config.json says of generation: temperature and top_p go with"
        " `do_sample: true`; the log names what is wrong",
    ),
    Known(
        "OBE04",
        r"not within the set tolerance|values not close enough",
        "output mismatch: the exporter's own check finds larger differences than it allows",
        "below 1e-3 it is noise of fp32, and its bound (`atol`) too tight; beyond that try `attention: eager`, and an"
        " `optimize` step less: the validation of onnxbuild tells by output how much, and which step",
    ),
    Known(
        "OBE04",
        r"Output shapes do not match|output names do not match|does not have the exact same outputs",
        "output mismatch: the graph's outputs have other names or shapes than the model's",
        "the config that the exporter has for this model type is at fault: name the outputs of `task:`, or export with"
        " a config of your own: docs/how-to/own-exporter.md",
    ),
    Known(
        "OBE03",
        r"The post-processing of the ONNX export failed|Unable to merge decoders",
        "ONNX export failed after tracing, while the graphs were merged",
        "`exporter: transformers` merges none; a function of your own may call main_export with `no_post_process=True`",
    ),
    Known(
        "OBE03",
        r"_Map_base::at|TorchScript|torch\.jit|torch\.onnx|TracingCheckError|SymbolicValueError|OnnxExporterError"
        r"|(?:^|[\n.]|: )Unsupported: ",
        "ONNX export failed",
        "try `attention: eager` in `export:`, `opset: 18`, or the other tracer: `exporter: optimum` is TorchScript,"
        " `transformers` torch.export; the log holds the exporter's own words",
    ),
    # Optimize.
    Known(
        "OBE21",
        r"Incomplete symbolic shape inference|failed in shape inference",
        "the optimizer cannot infer the shapes of this graph",
        "use `optimize: O1`, which infers none, or for O4 O2 and then `precision: fp16`; in a script of your own"
        " `disable_shape_inference=True`. In a log alone the line is harmless: ONNX Runtime goes on without shapes",
    ),
    Known(
        "OBE22",
        r"Tried to use ORTOptimizer for the model type ([\w-]+)|doesn't support the graph optimization of ([\w-]+)"
        r"|([\w-]+) model type is not supported yet|Unsupported model type: [\w-]+ for",
        "the optimizer knows no fusions for this model type",
        "use `optimize: O1`, which needs to know nothing of the family, or none",
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
        "use `optimize: O1`, or for O4 O2 and then `precision: fp16`, which infers no shapes; report it to ONNX Runtime"
        " with the model's name",
    ),
    Known(
        "OBE26",
        r"Type parameter \(\w+\) of Optype \((\w+)\) bound to different types",
        "the graph mixes precisions at {1}",
        "start from an fp32 export (`dtype: fp32`) and convert once: `precision: {dtype: fp16, keep_fp32: [{1}],"
        " keep_io_types: true}`",
    ),
    # Quantize.
    Known(
        "OBE27",
        r"Requested static quantization.*no calibration ranges"
        r"|Either calibration_data_reader or an existing calibration_cache_path",
        "static quantization has no data to take ranges from",
        "name one of `datasets:` (`quantize: {method: static, dataset: …}`); `method: dynamic` needs none",
    ),
    Known(
        "OBE28",
        r"Quantization parameters are not specified for param (\S+)",
        "a tensor has no range to quantize by",
        "the data never reached it: try `calibration: minmax`, name its operator in `operators`, optimize first (O1"
        " folds what is constant), or add its node to `exclude`",
    ),
    Known(
        "OBE29",
        r"Histogram has not been collected",
        "a calibrator was asked for ranges before it had any data",
        "its reader gave nothing: see that it yields rows under the graph's own input names, and anew for each reading",
    ),
    Known(
        "OBE31",
        r"Could not find an implementation for ConvInteger\((\d+)\) node with name '?([^'\s]+)",
        "this runtime has no kernel for ConvInteger with these integer types",
        "onnxruntime 1.24.4 and up has one; before that leave Conv out (`operators: [MatMul]`), exclude `{2}`, or use"
        " `method: static` or unsigned weights",
    ),
    Known(
        "OBE31",
        r"Could not find an implementation for "
        r"(MatMulNBits|MatMulBnb4|GatherBlockQuantized|GroupQueryAttention|MultiHeadAttention)\((\d+)\) node with name"
        r" '?([^'\s]+)",
        "this runtime has no kernel for {1} as the graph has it",
        "it is ONNX Runtime's own, and each release has it for more types: use a newer onnxruntime, or leave"
        " `precision:` out, since on the CPU it is fp32 that has kernels",
    ),
    Known(
        "OBE31",
        r"Could not find an implementation for (\w+)\((\d+)\) node with name '?([^'\s]+)",
        "this runtime cannot run {1} as the graph has it",
        "add `{3}` to `exclude`, or leave {1}'s float operator out of `operators`",
    ),
    Known(
        "OBE31",
        r"Could not find an implementation for (\w+)\((\d+)\)",
        "this runtime cannot run {1} in the type that the graph has it in",
        "ONNX Runtime made that node of another one, which has no kernel for its type: on the CPU bf16 and many an"
        " operator in fp16 have none; keep it in fp32, or use a newer onnxruntime",
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
        "activations and weights may be: dynamic U8 with S8 or U8; static U8 with S8 or U8, S8 with S8 (as QDQ);"
        " never S8 with U8. The presets are such pairs",
    ),
    Known(
        "OBE34",
        r"quantization is currently not supported for models with subgraphs|Found too many ONNX model files",
        "a graph with branches cannot be quantized this way",
        "use `method: dynamic`, or export the parts too: each is quantized, and the decoders are merged afterwards",
    ),
    Known(
        "OBE35",
        r"doesn't support int4 data type|may not be a valid model",
        "4-bit weights need opset 21",
        "set `opset: 21` in `export:`; `method: weight-only` writes MatMulNBits, which any opset takes",
    ),
    Known(
        "OBE28",
        r"Unable to find data type for weight_name='([^']+)'",
        "the type of `{1}` is not known, so it cannot be quantized",
        "the graph may be quantized already; otherwise add its node to `exclude`",
    ),
    # Loading.
    Known(
        "OBE36",
        r"Unsupported model IR version: (\d+), max supported IR version: (\d+)",
        "the model has IR version {1}, this ONNX Runtime reads up to {2}",
        "use a newer onnxruntime (1.31 reads 13), or export with a lower `opset:`, which the IR version follows: opset"
        " 18 has 8, 21 has 10, 23 has 11",
    ),
    Known(
        "OBE36",
        r"only \*?guarantees\*? support for models stamped with official released onnx opset"
        r"|Opset \d+ is under development",
        "the opset is newer than this ONNX Runtime",
        "export with a lower `opset:` (18 is the default), or use a newer onnxruntime (1.31 takes 26)",
    ),
    Known(
        "OBE37",
        r"Required inputs \((\[.*?\])\) are missing from input feed",
        "the graph's inputs {1} were not fed",
        "feed what `session.get_inputs()` names, and no more: zeros serve for token_type_ids; a cache starts empty",
    ),
    Known(
        "OBE37",
        r"Invalid (?:input|feed input) name:? ?(\S+)",
        "the graph has no input {1}",
        "tokenizer and graph disagree: feed what `session.get_inputs()` names, and drop the rest",
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
        "an input is of another type than the graph takes",
        "token ids, masks and positions are int64: `.astype(numpy.int64)`",
    ),
    Known(
        "OBE38",
        r"indices element out of data bounds, idx=(-?\d+) must be within the inclusive range \[-2,\s*1\]",
        "an index {1} is outside a table of two rows, which are types of tokens",
        "the order of the inputs is mixed up: feed them by name",
    ),
    Known(
        "OBE38",
        r"Name:\s*'([^']*position[^']*)'.*indices element out of data bounds, idx=(-?\d+) must be within the inclusive"
        r" range \[(-?\d+),\s*(-?\d+)\]",
        "position {2} is outside the model's table, which ends at {4}",
        "the text is longer than the model takes: truncate it, or give shorter sequences",
    ),
    Known(
        "OBE38",
        r"indices element out of data bounds, idx=(-?\d+) must be within the inclusive range \[(-?\d+),\s*(-?\d+)\]",
        "an index {1} is outside a table of {2} to {3}",
        "a token id above the vocabulary: use the tokenizer that belongs to the model",
    ),
    Known(
        "OBE39",
        r"Got invalid dimensions for input|Invalid rank for input",
        "an input has another shape than the graph takes",
        "an axis was fixed at export: export with it free, or pad to the length that the graph has",
    ),
    Known(
        "OBE40",
        r"External data path|should be stored in .* but it doesn't exist|cannot get file size|escapes model directory"
        r"|multiple hard links|potential hardlink attack",
        "the model's external data cannot be read",
        "an .onnx file and its data move as one: bring both, under their first names",
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
        "the execution provider that was asked for is not there",
        "for CUDA install onnxruntime-gpu instead of onnxruntime, with the CUDA and cuDNN that its release names, or"
        " set `device: cpu`; `onnxbuild doctor` lists the providers that are there",
    ),
    Known(
        "OBE53",
        r"(?:ModuleNotFoundError|ImportError|PackageNotFoundError): .*?(?:No module named|requires the?) '?`?([\w.-]+)",
        "the toolchain lacks `{1}`",
        "install the extra that brings it: `pip install onnxbuild[optimum]`",
    ),
    # What says little by itself: last, so that anything more particular is found first.
    Known(
        "OBE29",
        r"truth value of an array with more than one element is ambiguous",
        "an array stood where one number was expected, as in a histogram of a batch of several rows",
        "calibrate with batches of one row, of equal shape; `quantize: {method: static}` of onnxbuild does",
    ),
    Known(
        "OBE03",
        r"TracerWarning",
        "ONNX export failed after a branch was traced",
        "a branch on the values of a tensor was frozen: try `attention: eager`, or `exporter: transformers`",
    ),
)

NOTICED: tuple[Noticed, ...] = (
    Noticed(
        "OBE19",
        r"generation config is invalid and will not be saved",
        "the model's generation config is invalid and was not written; generation_config.json of the checkpoint, where"
        " it has one, was carried over as it is",
    ),
    Noticed(
        "OBE04",
        r"not within the set tolerance|does not have the exact same outputs",
        "the exporter's own check found differences, and it went on; what counts is the validation",
    ),
    Noticed("OBE10", r"is lower than the recommended minimum opset", "the opset is lower than the exporter recommends"),
    Noticed(
        "OBE43",
        r"nodes were not assigned to the preferred execution providers"
        r"|Specified provider .* is not in available provider names|EP Error",
        "some or all of the graph runs on the CPU rather than on the provider that was asked for",
    ),
    Noticed(
        "OBE35",
        r"doesn't support int4 data type",
        "the graph was raised to opset 21 for 4-bit weights, and may be invalid",
    ),
)
