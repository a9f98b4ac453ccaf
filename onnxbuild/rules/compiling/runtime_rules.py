"""Codes of the backends `ort`, `qnn`, and those of ONNX Runtime's providers."""

from __future__ import annotations

from onnxbuild.rules.rule import Rule, described

RULES: tuple[Rule, ...] = (
    described(
        "OB820",
        "param-of-other-format",
        """
        A param of `compile: ort` has no effect with the format.

        Why: the types of operators are listed for builds of ONNX Runtime that load its own format.
        Bad:
            compile: {backend: ort, type_reduction: true}
        Good:
            compile: {backend: ort, format: ort, type_reduction: true}
        """,
    ),
    described(
        "OB821",
        "growing-shapes",
        """
        A backend that compiles for one shape gets a graph whose inputs grow.

        Why: decoders and encoder-decoders keep a past that is longer with each token. `qnn` and `coreml` compile for
        sizes that are known in advance.
        Bad:
            task: text-generation-with-past
            compile: qnn
        Good:
            task: text-classification
            compile: qnn
        """,
    ),
    described(
        "OB822",
        "integers-of-other-kind",
        """
        A backend cannot run a graph that is quantized in this way.

        Why: TensorRT only takes int8 without zero points, Core ML and WebGPU take no integers, and the HTP needs every
        operator in integers. The int8 of `quantize:` is made for CPUs, and has zero points.
        Bad:
            quantize: int8
            compile: tensorrt
        Good:
            compile: {backend: tensorrt, precision: int8, dataset: words}
        """,
    ),
    described(
        "OB823",
        "opset-too-high",
        """
        A runtime does not read the opset of the graph.

        Why: DirectML stops at opset 20. The runtime refuses the graph, or computes all of it on the CPU.
        Bad:
            export: {opset: 21}
            compile: dml
        Good:
            export: {opset: 18}
            compile: dml
        """,
    ),
    described(
        "OB824",
        "shapes-out-of-order",
        """
        The shapes of a TensorRT engine are not in order.

        Why: the engine is built for calls from `min` to `max`, and its kernels are chosen for `opt`. Each is the number
        of rows and of tokens. Profiles among the `options` need all three for each input, such as
        `trt_profile_opt_shapes: "input_ids:1x128,attention_mask:1x128"`.
        Bad:
            compile: {backend: tensorrt, shapes: {min: [1, 1], opt: [1, 512], max: [8, 128]}}
        Good:
            compile: {backend: tensorrt, shapes: {min: [1, 1], opt: [1, 128], max: [8, 512]}}
        """,
    ),
    described(
        "OB825",
        "sizes-besides-tokens",
        """
        A backend compiles for a number of rows and tokens, and the graph depends on other sizes, too.

        Why: `tensorrt`, `coreml` and `qnn` compile for sizes that are known in advance, and a manifest only states
        rows and tokens. Pictures have a height and a width, audio has a length in samples, multiple choice has a
        number of choices, and the past of a decoder grows.
        Bad:
            task: image-classification
            compile: tensorrt
        Good:
            task: text-classification
            compile: tensorrt
        """,
    ),
)
