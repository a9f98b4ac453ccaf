"""What the execution providers of ONNX Runtime accept, as their documents say it: opsets, operators, integers.

A row can be checked without the device. `refused` are operators that fail the whole graph. What is in neither list runs
on the CPU beside the device: it costs copies, and is reported.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

# Whether the zero points of integers must be 0, and what is not taken at all.
Integers = Literal["symmetric", "any", "none"]


class RuntimeLimits(Struct, frozen=True, kw_only=True):
    """The limits of one provider. `operators`: those that the device computes, None where no list is published.

    `opset`: the last one that it reads. `version`: that of the document.
    """

    provider: str
    version: str
    source: str
    opset: int
    integers: Integers
    refused: frozenset[str] = frozenset()
    operators: frozenset[str] | None = None
    no_types: frozenset[str] = frozenset()  # element types that no operator takes


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_DYNAMIC_INTEGERS = _words("DynamicQuantizeLinear MatMulInteger ConvInteger DynamicQuantizeMatMul MatMulIntegerToFloat")
_BLOCKED_WEIGHTS = _words("MatMulNBits MatMulBnb4 GatherBlockQuantized")

_TENSORRT_REFUSES = _words(
    """
    AffineGrid Bernoulli BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Col2Im CenterCropPad Compress
    ConcatFromSequence DFT Det ImageDecoder MaxRoiPool MaxUnpool MelWeightMatrix Multinomial NegativeLogLikelihoodLoss
    Optional OptionalGetElement OptionalHasElement QLinearConv QLinearMatMul RegexFullMatch SequenceAt
    SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength SequenceMap SoftmaxCrossEntropyLoss
    """
)

_COREML = _words(
    """
    Add ArgMax AveragePool Cast Ceil Clip Concat Conv ConvTranspose Cos DepthToSpace Div Elu Erf Exp GatherND Gemm Gelu
    GlobalAveragePool GlobalMaxPool GridSample GroupNormalization HardSigmoid Identity InstanceNormalization
    LayerNormalization LeakyRelu MatMul MaxPool Max Mul Pow PRelu Range Reciprocal ReduceSum ReduceMean ReduceMax Relu
    Reshape Resize Round Shape Sin Slice Softplus Split Sub Sigmoid Softmax Sqrt Squeeze Tanh Tile Transpose Unsqueeze
    QuickGelu FusedConv Constant
    """
)

QNN_OPERATORS = _words(
    """
    Abs Add And ArgMax ArgMin Asin Atan AveragePool BatchNormalization Cast Clip Concat Constant Conv ConvTranspose Cos
    DepthToSpace DequantizeLinear Div Elu Equal Exp Expand Flatten Floor Gather GatherElements GatherND Gelu Gemm
    GlobalAveragePool Greater GreaterOrEqual GridSample HardSwish Identity InstanceNormalization LRN LayerNormalization
    LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization MatMul Max MaxPool Min Mul Neg Not Or PRelu Pad Pow
    QuantizeLinear ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Relu Reshape Resize Round ScatterND Shape Sigmoid
    Sign Sin Slice Softmax SpaceToDepth Split Sqrt Squeeze Sub Tanh Tile TopK Transpose Unsqueeze Where Erf
    """
)

LIMITS: dict[str, RuntimeLimits] = {
    "tensorrt": RuntimeLimits(
        provider="TensorrtExecutionProvider",
        version="TensorRT 10.15",
        source="onnx-tensorrt on GitHub: operators.md",
        opset=24,
        integers="symmetric",
        refused=_DYNAMIC_INTEGERS | _BLOCKED_WEIGHTS | _TENSORRT_REFUSES,
    ),
    "cuda": RuntimeLimits(
        provider="CUDAExecutionProvider",
        version="ONNX Runtime 1.31",
        source="onnxruntime on GitHub: OperatorKernels.md",
        opset=24,
        integers="any",
    ),
    "webgpu": RuntimeLimits(
        provider="WebGpuExecutionProvider",
        version="ONNX Runtime 1.31",
        source="onnxruntime on GitHub: webgpu-operators.md",
        opset=24,
        integers="none",
        refused=_DYNAMIC_INTEGERS,
        no_types=_words("float64 uint16 int16"),
    ),
    "coreml": RuntimeLimits(
        provider="CoreMLExecutionProvider",
        version="ONNX Runtime 1.31, MLProgram",
        source="onnxruntime on GitHub: coreml_supported_mlprogram_ops.md",
        opset=24,
        integers="none",
        refused=_DYNAMIC_INTEGERS | _BLOCKED_WEIGHTS,
        operators=_COREML,
        no_types=_words("float64"),
    ),
    "migraphx": RuntimeLimits(
        provider="MIGraphXExecutionProvider",
        version="ROCm 7.0",
        source="onnxruntime.ai: MIGraphX-ExecutionProvider.html",
        opset=24,
        integers="any",
    ),
    "dml": RuntimeLimits(
        provider="DmlExecutionProvider",
        version="DirectML 1.15",
        source="onnxruntime.ai: DirectML-ExecutionProvider.html",
        opset=20,
        integers="any",
    ),
}
