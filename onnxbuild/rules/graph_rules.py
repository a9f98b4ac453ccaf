"""Codes of the steps that change a graph: optimize, quantize, precision. Found by their checks, described here."""

from __future__ import annotations

from onnxbuild.rules.rule import Rule, described

RULES: tuple[Rule, ...] = (
    described("OB401", "o4-requires-gpu", """
        Optimization at O4 for a target that runs on a CPU.

        Why: O4 is fp16 for CUDA.
        Bad:
            targets: {fast: {optimize: O4}}
        Good:
            targets: {fast: {device: cuda, optimize: O4}}
        """),
    described("OB403", "optimizer-lacks-fusions", """
        Optimization at O2 or above for a model type whose fusions the optimizer does not know.

        Why: the optimizer would fail after the export, or fuse nothing.
        Bad:
            models: {m: {source: "random:wav2vec2", targets: [{name: o2, optimize: O2}]}}
        Good:
            models: {m: {source: "random:wav2vec2", targets: [{name: o1, optimize: O1}]}}
        """),
    described("OB410", "optimize-after-quantize", """
        An optimize step after a quantize step.

        Why: fusions do not match a quantized graph.
        Bad:
            steps: [{quantize: {method: dynamic}}, {optimize: O2}]
        Good:
            steps: [{optimize: O2}, {quantize: {method: dynamic}}]
        """),
    described("OB411", "half-of-int8", """
        Half precision for a graph that is already int8 or in half precision.

        Why: dynamic int8 computes the scales of its activations in fp32, and has no other form.
        Bad:
            targets: [{name: a, quantize: {method: dynamic}, precision: fp16}]
        Good:
            targets: [{name: a, quantize: {method: weight-only}, precision: fp16}]
        """),
    described("OB412", "half-without-kernel", """
        A half precision for which the target's device has no kernels.

        Why: ONNX Runtime has bf16 kernels only for CUDA: on the CPU, MatMul, Add and most others have none. Its CPU
        kernel for NF4 and FP4 weights accepts only fp32. The graph would not load.
        Bad:
            targets: [{name: a, precision: bf16}]
        Good:
            targets: [{name: a, device: cuda, precision: bf16}]
        """),
    described("OB413", "no-overflow-sought", """
        A param of `precision` that has no effect: data without `keep_fp32: auto`, or `auto` for bf16.

        Why: `auto` searches for values that overflow in fp16; bf16 has the range of fp32.
        Bad:
            precision: {dtype: fp16, dataset: reviews}
        Good:
            precision: {dtype: fp16, keep_fp32: auto, dataset: reviews}
        """),
    described("OB501", "static-needs-calibration", """
        Static int8 or GPTQ without a dataset.

        Why: both measure the model while it reads text.
        Bad:
            quantize: {method: static}
        Good:
            quantize: {method: static, dataset: reviews}
        """),
    described("OB502", "static-on-subgraphs", """
        Static int8 for a model with a merged decoder.

        Why: static quantization does not reach into the subgraphs of a merged decoder.
        Bad:
            models: {t5: {source: "random:t5", targets: [{name: a, quantize: {method: static, dataset: d}}]}}
        Good:
            models: {t5: {source: "random:t5", targets: [{name: a, quantize: {method: dynamic}}]}}
        """),
    described("OB511", "quantize-fp16-input", """
        A quantize step for a graph in half precision.

        Why: dynamic quantization would write a file that does not load.
        Bad:
            export: {dtype: fp16}
            targets: [{name: a, quantize: {method: dynamic}}]
        Good:
            targets: [{name: a, quantize: {method: dynamic}}]
        """),
    described("OB512", "quantize-quantized", """
        A quantize step for a graph that is already quantized.

        Why: a second pass has no effect, or makes the result worse.
        Bad:
            steps: [{quantize: {method: dynamic}}, {quantize: {method: weight-only}}]
        Good:
            steps: [{quantize: {method: weight-only}}]
        """),
    described("OB530", "field-of-other-method", """
        A param that has no effect with the chosen quantization method or algorithm.

        Bad:
            quantize: {method: dynamic, bits: 8}
        Good:
            quantize: {method: weight-only, bits: 8}
        """),
    described("OB531", "percentile-out-of-range", """
        A percentile that keeps at most half of the values, or more than all of them.

        Bad:
            quantize: {method: static, dataset: d, calibration: percentile, percentile: 0.1}
        Good:
            quantize: {method: static, dataset: d, calibration: percentile, percentile: 99.99}
        """),
    described("OB532", "calibration-reads-text", """
        Calibration with a dataset for a model that reads no text.

        Why: a dataset is read as text, and ranges measured on noise instead of images or audio would be wrong.
        Bad:
            models: {vit: {source: "random:vit", targets: [{name: a, quantize: {method: static, dataset: d}}]}}
        Good:
            models: {vit: {source: "random:vit", targets: [{name: a, quantize: {method: dynamic}}]}}
        """),
    described("OB665", "smoothing-out-of-range", """
        A strength of smoothing that is not between 0 and 1.

        Why: it is the exponent by which the size of a channel moves from the activation into the weight: 0 would move
        nothing, and 1 all of it, whatever the weight is.
        Bad:
            quantize: {method: dynamic, smooth: 7}
        Good:
            quantize: {method: dynamic, smooth: 0.7}
        """),
    described("OB666", "smoothing-reads-text", """
        A strength of smoothing for a model that reads no text.

        Why: the scales come from what a model computes while it reads text. Without a number, such a model is not
        smoothed.
        Bad:
            models: {vit: {source: "random:vit", targets: [{name: a, quantize: {method: dynamic, smooth: 0.7}}]}}
        Good:
            models: {vit: {source: "random:vit", targets: [{name: a, quantize: {method: dynamic}}]}}
        """),
    described("OB667", "bound-of-a-search", """
        A bound in `subject_to` that is none, that points the wrong way, or that the task does not have.

        Why: cosines and the share of equal winners are better when they are larger, divergences when they are smaller.
        Bad:
            quantize: {method: auto, subject_to: {cosine_mean: "< 0.999"}}
        Good:
            quantize: {method: auto, subject_to: {cosine_mean: ">= 0.999"}}
        """),
    described("OB668", "search-impossible", """
        `method: auto` without bounds, or for a model that it cannot search.

        Why: the search takes back nodes until the bounds hold, and measures them on text. It searches one graph, or
        those of an encoder-decoder, which run one after another.
        Bad:
            quantize: {method: auto}
        Good:
            quantize: {method: auto, subject_to: {cosine_mean: ">= 0.999"}}
        """),
    described("OB627", "opset-too-low-for-static", """
        Static quantization of a graph whose opset has no operators for it.

        Why: ONNX has QuantizeLinear from opset 10 on, and one scale for each channel from opset 13 on. The result
        would not load.
        Bad:
            export: {exporter: "mine.py:export", opset: 12}
            targets: [{name: a, quantize: {method: static, dataset: d}}]
        Good:
            export: {exporter: "mine.py:export", opset: 18}
            targets: [{name: a, quantize: {method: static, dataset: d}}]
        """),
)  # fmt: skip
