"""What libraries say when they fail, what it means, and what helps: a table to read, to list and to extend.

A pattern is searched, whatever the case, in the exception's type and text and then in the end of the log; the first
that matches wins, so the particular stands above the general, and within the text memory above all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Known(NamedTuple):
    """One known failure; `hint` and `headline` may quote groups of the pattern as {1}, {2}."""

    code: str
    pattern: str
    headline: str
    hint: str
    transient: bool = False


# Codes that workers raise themselves, with what each means; the table below adds those that libraries bring about.
RAISED: Mapping[str, str] = {
    "OBE01": "the task of a model could not be told",
    "OBE02": "the architecture, or the task for it, is not supported",
    "OBE03": "the export failed, or its result is not what was asked for",
    "OBE05": "out of memory",
    "OBE06": "a result holds NaN or infinity",
    "OBE16": "a file of the checkpoint is missing or damaged",
    "OBE22": "the optimizer does not know the model type",
    "OBE24": "the optimizer fused nothing where fusing is expected",
    "OBE37": "an input is of a kind that cannot be fed",
    "OBE39": "an axis that has to be free is fixed",
    "OBE40": "external data is missing, cut short or outside the model's folder",
    "OBE41": "a file is not an ONNX model",
    "OBE48": "quantize quantized nothing",
    "OBE34": "the graph has branches, which the step cannot change",
    "OBE49": "quantize did not make the model smaller",
    "OBE50": "`exclude` names a node that is not there",
    "OBE51": "a tokenizer could not be trained",
    "OBE58": "a dataset gives no rows that can be used",
    "OBE59": "a model that reads no text was given rows of text",
    "OBE67": "an exporter of the manifest's own cannot be used",
    "OBE99": "a failure that is not in the table",
}

KNOWN: tuple[Known, ...] = (
    # Memory first: it shows up inside every other failure.
    Known(
        "OBE05",
        r"CUDA out of memory|Failed to allocate memory for requested buffer|bad_alloc"
        r"|DefaultCPUAllocator: can't allocate|MemoryError|Cannot allocate memory",
        "out of memory",
        "run fewer actions at once (`-j 1`), or build on a machine with more memory",
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
        r"GatedRepoError|(Cannot access|trying to access a) gated repo|awaiting a review"
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
        "read it; `export: {trust_remote_code: true}` lets the export run it, with the commit in `source:`",
    ),
    # The checkpoint.
    Known(
        "OBE17",
        r"serious vulnerability issue in .?torch\.load",
        "the weights are a pickle, which this torch does not load",
        "use the repository's safetensors, or convert the .bin file to safetensors",
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
        "it needs model.safetensors or pytorch_model.bin; merge an adapter into its base model first",
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
        "the task could not be told from the model",
        "set `task:` on the model, such as `task: text-classification`",
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
        "optimum-onnx 0.1.0 holds transformers below 4.58; a newer model needs a toolchain with a newer exporter",
    ),
    Known(
        "OBE02",
        r"is a custom or unsupported architecture|is not supported yet (for|with)|doesn't support task .* for the onnx"
        r"|Unrecognized (configuration class|model in)|Should have a `model_type` key",
        "the architecture is not supported by the exporter",
        "`onnxbuild doctor` lists the model types that this toolchain exports",
    ),
    Known(
        "OBE13",
        r"Could not infer the pad token id|Cannot handle batch sizes > 1 if no padding token",
        "the model has no padding token",
        "set `pad_token_id` in the checkpoint's config.json (the end token's id serves)",
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
        "try `opset: 18` or higher, or `attention: eager` in `export:`",
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
        "try `attention: eager` in `export:`",
    ),
    Known(
        "OBE10",
        r"Opset (\d+) is lower than the recommended minimum opset \((\d+)\)",
        "opset {1} is too low for this model",
        "set `opset: {2}` or higher in `export:`",
    ),
    Known(
        "OBE11",
        r"Minimum required is (.+?), got:? (.+?)[\s.]|Unsupported PyTorch version",
        "a library of the toolchain is too old for this model",
        "install the constraints file of this release, or name a toolchain with newer versions",
    ),
    Known(
        "OBE20",
        r"exceeds maximum protobuf size of 2GB|exceeded maximum protobuf size|larger than the 2GiB limit"
        r"|Failed to serialize proto",
        "the model does not fit into one file of 2 GB",
        "report it: external data should have been used",
    ),
    Known(
        "OBE18",
        r"Requested O4 optimization, but this optimization requires",
        "O4 is fp16 for CUDA",
        "use O2 or O3, or `device: cuda` on a machine that has it",
    ),
    Known(
        "OBE03",
        r"The post-processing of the ONNX export failed|_Map_base::at|Unable to merge decoders|TorchScript|torch\.jit"
        r"|torch\.onnx|TracingCheckError|SymbolicValueError|OnnxExporterError",
        "the export failed",
        "try `attention: eager` in `export:`; the log holds the exporter's own words",
    ),
    # Optimize.
    Known(
        "OBE21",
        r"Incomplete symbolic shape inference|failed in shape inference",
        "the optimizer cannot infer the shapes of this graph",
        "use `optimize: O1`",
    ),
    Known(
        "OBE22",
        r"Tried to use ORTOptimizer for the model type (\w+)|doesn't support the graph optimization of (\w+)"
        r"|(\w+) model type is not supported yet|Unsupported model type: \w+ for",
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
        "use `optimize: O1`; report it to ONNX Runtime with the model's name",
    ),
    Known(
        "OBE26",
        r"Type parameter \(\w+\) of Optype \((\w+)\) bound to different types",
        "the graph mixes precisions at {1}",
        "export with `dtype: fp32` and convert afterwards; an fp16 graph must not be converted twice",
    ),
    # Quantize.
    Known(
        "OBE28",
        r"Quantization parameters are not specified for param (\S+)",
        "a tensor has no range to quantize by",
        "add its node to `exclude`",
    ),
    Known(
        "OBE31",
        r"Could not find an implementation for (\w+)\((\d+)\) node with name '?([^'\s]+)",
        "this runtime cannot run {1} as the graph has it",
        "add `{3}` to `exclude`, or leave {1}'s float operator out of `operators`",
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
        "dynamic mode has unsigned activations: use one of the presets",
    ),
    Known(
        "OBE34",
        r"quantization is currently not supported for models with subgraphs|Found too many ONNX model files",
        "a graph with branches cannot be quantized this way",
        "export the parts too: they are quantized and merged afterwards",
    ),
    Known(
        "OBE35",
        r"doesn't support int4 data type|may not be a valid model",
        "4-bit weights need opset 21",
        "set `opset: 21` in `export:`",
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
        "export with a lower `opset:`, or use a newer onnxruntime",
    ),
    Known(
        "OBE36",
        r"only \*?guarantees\*? support for models stamped with official released onnx opset"
        r"|Opset \d+ is under development",
        "the opset is newer than this ONNX Runtime",
        "export with a lower `opset:`, or use a newer onnxruntime",
    ),
    Known(
        "OBE38",
        r"indices element out of data bounds, idx=(-?\d+) must be within the inclusive range \[(-?\d+),\s*(-?\d+)\]",
        "an index {1} is outside a table of {2} to {3}",
        "a token id above the vocabulary, or a text longer than the model's positions: tokenizer and model disagree",
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
        "CUDA is not there for ONNX Runtime",
        "install onnxruntime-gpu with the CUDA that it wants, or set `device: cpu`",
    ),
    Known(
        "OBE53",
        r"(?:ModuleNotFoundError|ImportError|PackageNotFoundError): .*?(?:No module named|requires the?) '?`?([\w.-]+)",
        "the toolchain lacks `{1}`",
        "install the extra that brings it: `pip install onnxbuild[optimum]`",
    ),
)
