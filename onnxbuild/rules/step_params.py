"""Codes that the checks of step kinds raise: each is found in `onnxbuild.steps`, and described here."""

from __future__ import annotations

from onnxbuild.rules.rule import Rule, described

RULES: tuple[Rule, ...] = (
    described("OB107", "floating-extra-code", """
        The checkpoint's own Python code may run, and nothing pins it.

        Why: what was read and trusted today may be other code tomorrow. A lock entry does not do: a first run writes
        it with the newest commit.
        Bad:
            source: hub:org/model
            export: {trust_remote_code: true}
        Good:
            source: hub:org/model@0123456789abcdef0123456789abcdef01234567
            export: {trust_remote_code: true}
        """),
    described("OB201", "trust-remote-code", """
        The checkpoint brings Python code of its own, and the manifest does not allow it to run.

        Why: it would run with your rights.
        Fix: read the code; then `export: {trust_remote_code: true}`, with the commit in `source:`.
        """),
    described("OB301", "unsupported-architecture", """
        A model type that the exporter does not know, or an exporter that there is not.

        Why: the export would fail after the download.
        Fix: another exporter (optimum, transformers 5's own, onnxruntime-genai's), or a function of your own:
        `exporter: path/to/file.py:function`.
        Bad:
            export: {exporter: optimun}
        Good:
            export: {exporter: optimum}
        """),
    described("OB302", "unsupported-task", """
        A task that no exporter knows, or that this exporter does not know for this model type.

        Bad:
            task: text-clasification
        Good:
            task: text-classification
        """),
    described("OB303", "task-not-inferable", """
        The task is not given, and the model's config.json does not tell it.

        Why: the task decides which head and which inputs are exported; a guess would export random weights.
        Fix: write `task:`.
        """),
    described("OB308", "opset-out-of-range", """
        An opset that the exporter cannot write.

        Why: optimum writes 14 to 23 (below, scaled_dot_product_attention does not export), transformers 18 to 23.
        Bad:
            export: {opset: 11}
        Good:
            export: {opset: 18}
        """),
    described("OB325", "field-of-other-exporter", """
        A param or a precision that the chosen exporter does not have.

        Bad:
            export: {exporter: optimum, dtype: q4}
        Good:
            export: {exporter: genai, dtype: q4}
        """),
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

        Why: it refuses after the export, or fuses nothing.
        Bad:
            models: {m: {source: "random:wav2vec2", targets: [{name: o2, optimize: O2}]}}
        Good:
            models: {m: {source: "random:wav2vec2", targets: [{name: o1, optimize: O1}]}}
        """),
    described("OB410", "optimize-after-quantize", """
        Optimize comes after quantize.

        Why: fusions do not match a quantized graph.
        Bad:
            steps: [{quantize: {method: dynamic}}, {optimize: O2}]
        Good:
            steps: [{optimize: O2}, {quantize: {method: dynamic}}]
        """),
    described("OB411", "half-of-int8", """
        Half precision for a graph that is int8 or in half precision already.

        Why: dynamic int8 computes the scales of its activations in fp32, and has no other form.
        Bad:
            targets: [{name: a, quantize: {method: dynamic}, precision: fp16}]
        Good:
            targets: [{name: a, quantize: {method: weight-only}, precision: fp16}]
        """),
    described("OB412", "half-without-kernel", """
        A half precision that the target's device cannot compute in.

        Why: ONNX Runtime has bf16 kernels for CUDA alone; on the CPU MatMul, Add and most others have none, and its
        kernel for NF4 and FP4 weights takes fp32 alone. The graph would not load.
        Bad:
            targets: [{name: a, precision: bf16}]
        Good:
            targets: [{name: a, device: cuda, precision: bf16}]
        """),
    described("OB413", "no-overflow-sought", """
        A param of `precision` that nothing reads: data without `keep_fp32: auto`, or `auto` for bf16.

        Why: `auto` finds what overflows in fp16; bf16 has the range of fp32.
        Bad:
            precision: {dtype: fp16, dataset: reviews}
        Good:
            precision: {dtype: fp16, keep_fp32: auto, dataset: reviews}
        """),
    described("OB501", "static-needs-calibration", """
        Static int8 or GPTQ without a dataset.

        Why: they take ranges and errors from what the model reads.
        Bad:
            quantize: {method: static}
        Good:
            quantize: {method: static, dataset: reviews}
        """),
    described("OB502", "static-on-subgraphs", """
        Static int8 for a model with a merged decoder.

        Why: static quantization does not reach into the branches of a graph.
        Bad:
            models: {t5: {source: "random:t5", targets: [{name: a, quantize: {method: static, dataset: d}}]}}
        Good:
            models: {t5: {source: "random:t5", targets: [{name: a, quantize: {method: dynamic}}]}}
        """),
    described("OB531", "percentile-out-of-range", """
        A percentile that keeps half of the values or fewer, or more than all.

        Bad:
            quantize: {method: static, dataset: d, calibration: percentile, percentile: 0.1}
        Good:
            quantize: {method: static, dataset: d, calibration: percentile, percentile: 99.99}
        """),
    described("OB532", "calibration-reads-text", """
        Calibration with a dataset for a model that reads no text.

        Why: a dataset is read as text; ranges taken of noise in place of pictures or sounds would be wrong.
        Bad:
            models: {vit: {source: "random:vit", targets: [{name: a, quantize: {method: static, dataset: d}}]}}
        Good:
            models: {vit: {source: "random:vit", targets: [{name: a, quantize: {method: dynamic}}]}}
        """),
    described("OB530", "field-of-other-method", """
        A param that the chosen method or algorithm of quantization does not read.

        Bad:
            quantize: {method: dynamic, bits: 8}
        Good:
            quantize: {method: weight-only, bits: 8}
        """),
    described("OB511", "quantize-fp16-input", """
        Quantize of a graph in half precision.

        Why: dynamic quantization of it writes a file that does not load.
        Bad:
            export: {dtype: fp16}
            targets: [{name: a, quantize: {method: dynamic}}]
        Good:
            targets: [{name: a, quantize: {method: dynamic}}]
        """),
    described("OB512", "quantize-quantized", """
        Quantize of a graph that is quantized already.

        Why: a second pass does nothing, or makes the first one worse.
        Bad:
            steps: [{quantize: {method: dynamic}}, {quantize: {method: weight-only}}]
        Good:
            steps: [{quantize: {method: weight-only}}]
        """),
    described("OB610", "unknown-metric", """
        A threshold for a metric that validation does not compute.

        Bad:
            validate: {thresholds: {cosine: 0.99}}
        Good:
            validate: {thresholds: {cosine_mean: 0.99}}
        """),
    described("OB611", "empty-shape", """
        A validation shape without samples or tokens.

        Bad:
            validate: {shapes: [[0, 16]]}
        Good:
            validate: {shapes: [[1, 16]]}
        """),
    described("OB612", "count-below-one", """
        A number of samples, tokens, threads, iterations or rounds below one, or an empty list of them.

        Bad:
            benchmark: {batch: [0]}
        Good:
            benchmark: {batch: [1]}
        """),
    described("OB615", "dataset-not-read", """
        A dataset that validation cannot read, or a field that means nothing without one.

        Why: rows of a dataset are text; `samples` and `sequence` choose among them, and `accuracy_drop` needs labels.
        Bad:
            validate: {samples: 500}
        Good:
            validate: {dataset: reviews, samples: 500}
        """),
    described("OB613", "more-threads-than-cores", """
        A benchmark with more threads than this machine has cores.

        Why: what it measures is the scheduler.
        """, severity="warning"),
    described("OB614", "nothing-to-generate", """
        Generate for a task that writes no text.

        Fix: remove `generate:`, or choose a task that generates.
        """),
    described("OB330", "checkpoint-without-tokenizer", """
        A checkpoint for a task that reads text, without the files of a tokenizer.

        Why: the exported model has no tokenizer either, checks run on seeded token ids instead of text, and `generate`
        and datasets cannot be used.
        Fix: save the tokenizer beside the weights: `tokenizer.save_pretrained(folder)`.
        """, severity="warning"),
    described("OB620", "sequence-too-long", """
        A sequence that is longer than the positions that the model has.

        Why: the model fails on it; rows of a dataset are cut, so that a longer `sequence` has no effect.
        Bad:
            models: {m: {source: {random: gpt2, config: {n_positions: 64}}, benchmark: {sequence: [128]}}}
        Good:
            models: {m: {source: {random: gpt2, config: {n_positions: 64}}, benchmark: {sequence: [32]}}}
        """),
    described("OB621", "dataset-lacks-column", """
        A dataset without a column that a step reads.

        Why: without `columns:`, a role such as `text` is read from the column of that name.
        Bad:
            datasets: {reviews: {source: "file:reviews.jsonl"}}          # {"sentence": …}
        Good:
            datasets: {reviews: {source: "file:reviews.jsonl", columns: {text: sentence}}}
        """),
)  # fmt: skip
