"""Messages that users got from libraries, by code, and a part of the hint that each must get: the table must cover all.

`test_real_messages.py` provokes in the libraries themselves what is cheap to provoke; these are the rest, and the
wording of other versions.
"""

SEEDS = (
    # The task.
    ("OBE01", "KeyError: The task could not be automatically inferred. Please provide --task", "set `task:`"),
    ("OBE01", "Could not find the proper task name for the model RobertaModel.", "`architectures`"),
    ("OBE01", "The task name could not be automatically inferred.", "set `task:`"),
    ("OBE01", "Cannot infer the task from a local directory yet, please specify it", "set `task:`"),
    ("OBE01", "Cannot infer the task from a model repo with a subfolder yet", "set `task:`"),
    ("OBE01", "Hub is not reachable and we cannot infer the task from a cached model", "set `task:`"),
    # The architecture.
    ("OBE02", "Trying to export a rwkv model, that is a custom or unsupported architecture", "how-to/own-exporter"),
    (
        "OBE02",
        "rwkv is not supported yet for transformers. Only ['bert'] are supported",
        "`export: {exporter: transformers}`",
    ),
    ("OBE02", "rwkv is not supported yet for diffusers.", "how-to/own-exporter"),
    ("OBE02", "rwkv is not supported yet with the onnx backend. Only ['bert'] are supported", "newer optimum-onnx"),
    (
        "OBE02",
        "bert doesn't support task text-to-audio for the onnx backend. Supported tasks are:",
        "how-to/own-exporter",
    ),
    (
        "OBE02",
        "the Optimum ONNX exporter only supports the tasks fill-mask for bert. Please use",
        "set `task:` to one of",
    ),
    ("OBE02", "the Optimum ONNX exporter only supports the tasks", "how-to/own-exporter"),
    ("OBE02", "has model type `new` but Transformers does not recognize this architecture.", "below 4.58"),
    # The export.
    ("OBE03", "The post-processing of the ONNX export failed. Pass the option --no-post-process", "no_post_process"),
    ("OBE03", "IndexError: _Map_base::at", "attention: eager"),
    ("OBE03", "TracerWarning: Converting a tensor to a Python boolean", "attention: eager"),
    (
        "OBE03",
        "torch._dynamo.exc.Unsupported: Call to a function that cannot be traced",
        "`export: {exporter: optimum}` uses Torch",
    ),
    ("OBE03", "Unsupported: generator", "opset: 18"),
    ("OBE03", "GuardOnDataDependentSymNode: Could not guard on data-dependent expression Eq(u0, 1)", "max_length"),
    (
        "OBE02",
        "ValueError: `get_seq_length` can only be called on Attention layers, and the current",
        "compare-exporters",
    ),
    ("OBE31", "Status Message: head_size shall be a multiple of 16. Got head_size % 16 == 8", "plain operators"),
    ("OBE04", "AtolError: The maximum absolute difference … is not within the set tolerance 1e-05", "rounding of fp32"),
    ("OBE04", "\t\t-[x] values not close enough, max diff: 6.75 (atol: 1e-05)", "which step"),
    ("OBE04", "ShapeError: Output shapes do not match between reference model and ONNX", "config"),
    ("OBE04", "ONNX model output names do not match reference model output names.", "config"),
    ("OBE04", "The exported ONNX model does not have the exact same outputs as what is provided", "config"),
    ("OBE05", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB", "-j 1"),
    ("OBE05", "RUNTIME_EXCEPTION : Failed to allocate memory for requested buffer of size 524288000", "-j 1"),
    ("OBE05", "RuntimeException: std::bad_alloc", "-j 1"),
    ("OBE05", "DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes", "more memory"),
    ("OBE05", "DefaultCPUAllocator: not enough memory: you tried to allocate 4 bytes", "more memory"),
    ("OBE05", "CalledProcessError: Command 'export' returned non-zero exit status 137.", "about twice"),
    ("OBE05", "CalledProcessError: Command 'export' died with <Signals.SIGKILL: 9>.", "about twice"),
    (
        "OBE08",
        (
            "Exporting the operator 'aten::scaled_dot_product_attention' to ONNX opset version 13 is not supported. "
            "Support for this operator was added in version 14, try exporting with this version."
        ),
        "`export: {opset: 14}`",
    ),
    (
        "OBE08",
        "Exporting the operator 'aten::fft' to ONNX opset version 18 is not supported.",
        "exporter: transformers",
    ),
    ("OBE09", "TorchExportError: Failed to export the model with torch.export. This is step 1/3", "2 or more"),
    ("OBE09", "UserError: Constraints violated (batch)! For more information", "shared Dim"),
    ("OBE09", "Not all values of batch in the range satisfy the generated guard", "`max`"),
    ("OBE10", "Opset 9 is lower than the recommended minimum opset (11) to export bert.", "opset: 18"),
    ("OBE10", "Opset 9 is lower than the recommended minimum opset", "opset: 18"),
    (
        "OBE11",
        "version of Transformers does not allow for the export of the model. Minimum required is 4.60, got: 4.57",
        "4.60",
    ),
    (
        "OBE11",
        "Unsupported PyTorch version for this model. Minimum required is 2.9, got: 2.8",
        'pip install "torch>=2.9"',
    ),
    ("OBE11", "Unsupported PyTorch version, minimum required is 1.11.0, got: 1.10.0", "torch>=1.11.0"),
    ("OBE12", "ERROR: ResolutionImpossible: for help visit", "`toolchains:`"),
    (
        "OBE12",
        "Cannot install a==1 and b==2 because these package versions have conflicting dependencies.",
        "toolchain",
    ),
    ("OBE13", "Could not infer the pad token id, which is needed in this case", "`pad_token_id:`"),
    ("OBE13", "Cannot handle batch sizes > 1 if no padding token is defined.", "shapes: [[1, 8]]"),
    ("OBE14", "The repository x contains custom code which must be executed to correctly load", "trust_remote_code"),
    ("OBE14", "Do you wish to run the custom code? [y/N]", "commit"),
    ("OBE15", "You are trying to access a gated repo.", "HF_TOKEN"),
    ("OBE15", "gated repo", "HF_TOKEN"),
    ("OBE15", "x is not a local folder and is not a valid model identifier listed on", "check its name"),
    ("OBE15", "We couldn't connect to 'https://hub' to load the files", "network"),
    ("OBE15", "HfHubHTTPError: 401 Client Error: for url: https://hub/api/models/x", "HF_TOKEN"),
    ("OBE15", "HfHubHTTPError: 403 Client Error: for url: https://hub/api/models/x", "HF_TOKEN"),
    (
        "OBE16",
        "Cannot determine framework from given checkpoint location. There should be",
        "an adapter is named with `adapter:`",
    ),
    (
        "OBE16",
        "x does not appear to have a file named pytorch_model.bin but there is a file for TensorFlow",
        "TensorFlow",
    ),
    ("OBE17", "Due to a serious vulnerability issue in `torch.load`, even with", "safetensors"),
    ("OBE18", "Requested O4 optimization, but this optimization requires to do the export on GPU.", "O2 or O3"),
    ("OBE19", "The generation config is invalid and will not be saved : temperature is set", "generation_config.json"),
    (
        "OBE20",
        "This protobuf of onnx model is too large (>2GB), it exceeds maximum protobuf size of 2GB",
        "external_data",
    ),
    ("OBE20", "[libprotobuf ERROR] onnx.ModelProto exceeded maximum protobuf size of 2GB: 2560020480", "external_data"),
    ("OBE20", "The serialized model is larger than the 2GiB limit imposed by the protobuf library.", "by its path"),
    # Optimize.
    ("OBE21", "Exception: Incomplete symbolic shape inference", "disable_shape_inference"),
    ("OBE21", "failed in shape inference <class 'AssertionError'>", "harmless"),
    ("OBE22", "Tried to use ORTOptimizer for the model type xlm-x, but it is not available yet.", "optimize: O1"),
    ("OBE22", "ONNX Runtime doesn't support the graph optimization of xlm-x yet.", "optimize: O1"),
    ("OBE22", "xlm-x model type is not supported yet. Only ['bert'] are supported.", "optimize: O1"),
    ("OBE22", "Unsupported model type: xlm-x for graph fusion", "optimize: O1"),
    (
        "OBE23",
        "ORTOptimizer does not support ORTModelForCausalLM models when without/with past models are merged",
        "merged",
    ),
    ("OBE25", "AssertionError: Graph is not a DAG: end_node=3", "precision: fp16"),
    (
        "OBE26",
        "Type Error: Type parameter (T) of Optype (Add) bound to different types (tensor(float)",
        "keep_fp32: [Add]",
    ),
    # Quantize.
    (
        "OBE27",
        "Requested static quantization in the QuantizationConfig, but no calibration ranges were",
        "method: dynamic",
    ),
    ("OBE27", "Either calibration_data_reader or an existing calibration_cache_path must be provided.", "dataset"),
    ("OBE28", "Quantization parameters are not specified for param /layer/Add_output_0.", "calibration: minmax"),
    ("OBE29", "Histogram has not been collected. Please run collect() first.", "input names"),
    ("OBE29", "The truth value of an array with more than one element is ambiguous.", "one row"),
    ("OBE30", "Failed to allocate memory for requested buffer of size 9\nwhile calibrating", "`sequence`"),
    ("OBE31", "Could not find an implementation for ConvInteger(10) node with name 'c_quant'", "`operators: [MatMul]`"),
    ("OBE31", "Could not find an implementation for MatMulNBits(1) node with name 'q'", "newer onnxruntime"),
    ("OBE31", "Could not find an implementation for QLinearSoftmax(1) node with name 's'", "add `s` to `exclude`"),
    (
        "OBE32",
        "Type 'tensor(float16)' of input parameter (x) of operator (DynamicQuantizeLinear) in node",
        "dtype: fp32",
    ),
    (
        "OBE33",
        "quantization doesn't support data format:activation_type=QuantType.QInt8, weight_type",
        "never S8 with U8",
    ),
    ("OBE33", "Invalid combination of use_static_quantization = False and activations_dtype", "dynamic U8"),
    ("OBE34", "Static quantization is currently not supported for models with subgraphs.", "method: dynamic"),
    ("OBE34", "Found too many ONNX model files in folder. ORTQuantizer does not support", "each is quantized"),
    ("OBE35", "The opset of the input model is under 21 and doesn't support int4 data type.", "MatMulNBits"),
    ("OBE35", "but the generated model may not be a valid model.", "opset: 21"),
    # Loading and running what was made.
    ("OBE36", "Unsupported model IR version: 99, max supported IR version: 13", "lower `opset:`"),
    ("OBE36", "ONNX Runtime only *guarantees* support for models stamped with official released onnx opset", "opset"),
    ("OBE36", "Opset 27 is under development and support for this is limited.", "lower `opset:`"),
    ("OBE37", "Required inputs (['token_type_ids']) are missing from input feed (['input_ids']).", "zeros"),
    ("OBE37", "INVALID_ARGUMENT : Invalid input name: token_type_ids", "get_inputs()"),
    ("OBE37", "Unexpected input data type. Actual: (tensor(int32)) , expected: (tensor(int64))", "int64"),
    (
        "OBE38",
        (
            "Name:'/position_embeddings/Gather' indices element out of data bounds, idx=512 must be within the"
            " inclusive range [-512,511]"
        ),
        "truncate",
    ),
    (
        "OBE38",
        (
            "Name:'/embed_tokens/Gather' indices element out of data bounds, idx=9 must be within the inclusive range"
            " [-9,8]"
        ),
        "resize_token_embeddings",
    ),
    (
        "OBE38",
        "Name:'/type/Gather' indices element out of data bounds, idx=9 must be within the inclusive range [-2,1]",
        "feed them by name",
    ),
    ("OBE38", "IndexError: index out of range in self", "resize_token_embeddings"),
    ("OBE39", "Got invalid dimensions for input: x for the following indices", "get_inputs()"),
    (
        "OBE39",
        "Got invalid dimensions for input: past_key_values.0.key for the following indices index: 1 Got: 4 Expected: 2",
        "embed_size_per_head",
    ),
    (
        "OBE39",
        "Got invalid dimensions for input: x for the following indices\n index: 1 Got: 4 Expected: 2\n Please fix",
        "pad or resize the input to 2",
    ),
    ("OBE39", "Invalid rank for input: x Got: 1 Expected: 2", "axis of the batch"),
    ("OBE16", "ImportError: TFBertModel requires the TensorFlow library but it was not found", "from_tf=True"),
    ("OBE40", "External data path validation failed for initializer: w", "data file"),
    ("OBE40", "External data path does not exist: model.onnx_data", "data file"),
    (
        "OBE40",
        "Data of TensorProto should be stored in model.onnx_data, but it doesn't exist or is not",
        "data file",
    ),
    ("OBE40", "GetFileLength failed: cannot get file size: No such file", "data file"),
    ("OBE40", "External data path: ../weights escapes model directory", "data file"),
    ("OBE41", "INVALID_PROTOBUF : Load model from x.onnx failed:Protobuf parsing failed.", "Git LFS"),
    ("OBE42", "Fatal error: com.acme:Foo(-1) is not a registered function/op", "plain export"),
    ("OBE43", "Specified provider 'CUDAExecutionProvider' is not in available provider names.", "onnxruntime-gpu"),
    ("OBE43", "Failed to create CUDAExecutionProvider. Require cuDNN 9.* and CUDA 12.*", "cuDNN"),
    ("OBE43", "ValueError: Unknown Provider Type: CudaExecutionProvider", "device: cpu"),
    ("OBE43", "*************** EP Error ***************", "doctor"),
)
