"""Codes of tasks and exports: found by the check of `export`, described here."""

from __future__ import annotations

from onnxbuild.rules.rule import Rule, described

RULES: tuple[Rule, ...] = (
    described("OB301", "unsupported-architecture", """
        A model type that the exporter does not know, or an exporter that does not exist.

        Why: the export would fail after the download.
        Fix: choose another exporter (optimum, transformers, mobius, genai), or write a custom one and name it:
        `export: {exporter: path/to/file.py:function}`.
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
        The task is not given, and cannot be determined from the model's config.json.

        Why: the task determines which head and which inputs are exported; a wrong guess would export random weights, or
        leave a trained head out. The classes in `architectures` have the task under which transformers 4 or 5,
        whichever the toolchain has, registers them. A class that it does not register (GPT2DoubleHeadsModel), or
        registers for two tasks, implies none.
        Fix: set `task:`.
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
        A param or a precision that the chosen exporter does not have, or a param of an export that no target
        starts from.

        Why: it looks as if it did something. `compile: qaic` writes its graph from the checkpoint: where all targets of
        a model do, nothing is exported, and lint warns of what `export:` says.
        Bad:
            export: {exporter: optimum, dtype: q4}
        Good:
            export: {exporter: genai, dtype: q4}
        """),
    described("OB637", "exporter-not-in-toolchain", """
        An exporter whose package the model's toolchain does not have.

        Why: mobius and genai are packages of their own, which no other package brings along.
        Fix: add the requirement that the hint names to the toolchain.
        Bad:
            toolchains:
              five: {requirements: ["transformers==5.23.0", "torch==2.13.0"]}
            models:
              qwen: {source: local:qwen, toolchain: five, export: {exporter: mobius}, targets: [fp32]}
        Good:
            toolchains:
              five: {requirements: ["transformers==5.23.0", "torch==2.13.0", "mobius-onnx==0.1.0", "onnxruntime"]}
            models:
              qwen: {source: local:qwen, toolchain: five, export: {exporter: mobius}, targets: [fp32]}
        """),
    described("OB638", "type-that-fails", """
        A model type that the exporter accepts and does not export right.

        Why: transformers 5 has a class for each of these types, but its exporter cannot take their cache (Mamba), or
        freezes a loop over the text at the length of its sample (MiniMax, xLSTM), so that longer texts are wrong. Two
        types have the same fate with optimum: Longformer has as many windows and rows as the sample, and ViTMAE hides
        other patches in each run. The export would fail after the download, or its validation would.
        Fix: use the exporter that the hint names, in a toolchain that has it.
        """),
    described("OB640", "decoder-without-past", """
        A model of an encoder and a decoder, exported with a past by optimum, which has no past for that decoder.

        Why: optimum reads the past of an `encoder-decoder` or `vision-encoder-decoder` from its config of the decoder's
        own type. BERT and RoBERTa have none there, though transformers lets them write. The export would fail after
        the download.
        Fix: leave `-with-past` out of the task: the graph is right, and slower for long texts.
        """),
    described("OB625", "all-weights-may-be-missing", """
        A pattern of `allow_missing` that matches every name.

        Why: an export fails if an output depends on a weight that the checkpoint lacks. Such a pattern would let a
        model pass that was never trained, because PyTorch fills in what is missing.
        Bad:
            export: {allow_missing: ["*"]}
        Good:
            export: {allow_missing: ["*.final_norm.weight"]}
        """),
)  # fmt: skip
