"""Codes of checkpoints: what their files say before anything is downloaded or copied. Found by planning."""

from __future__ import annotations

from onnxbuild.rules.rule import Rule, described

RULES: tuple[Rule, ...] = (
    described("OB630", "shard-missing", """
        A checkpoint in several files of which one is missing.

        Why: the export would fail after everything else has been copied or downloaded. For a `local:` source, the index
        (`model.safetensors.index.json`) names the files. For a `hub:` source, their numbers do (`-of-00003`), and the
        run reads the index before it downloads the weights.
        Fix: download the checkpoint again, or run `git lfs pull` in its folder.
        """),
    described("OB631", "adapter-as-source", """
        A source that is an adapter of peft (LoRA and others), without the model that it belongs to.

        Why: an adapter only has differences to the weights of its base model, which adapter_config.json names.
        Bad:
            models: {m: {source: "local:loras/mine", targets: [fp32]}}
        Good:
            models: {m: {source: "hub:org/base", adapter: "local:loras/mine", targets: [fp32]}}
        """),
    described("OB632", "adapter-left-out", """
        A source with an adapter beside its weights, of which the manifest says nothing.

        Why: transformers applies it if peft is installed, and ignores it otherwise. It must not depend on that.
        Fix: `adapter:` with the same source merges it into the weights, `adapter: none` leaves it out.
        Bad:
            models: {m: {source: "local:both", targets: [fp32]}}
        Good:
            models: {m: {source: "local:both", adapter: "local:both", targets: [fp32]}}
        """),
    described("OB633", "unusable-adapter", """
        An `adapter:` that cannot be merged: it has no weights, is of a kind that adds to the input instead of to the
        weights (prompt tuning, prefix tuning), or the source is ONNX. A warning if it was trained for another model.

        Fix: merge LoRA and its relatives, or IA3, into the checkpoint that `base_model_name_or_path` in
        adapter_config.json names.
        """),
    described("OB634", "quantized-checkpoint", """
        A checkpoint whose weights are quantized in a way that cannot be written out without loss: bitsandbytes, FP8,
        compressed-tensors and others, or GPTQ and AWQ with other than 4 bits or in another layout.

        Why: its weights are read only by kernels for GPUs, and the export would fail in one of five ways.
        Fix: take the unquantized model, whose name the message has where config.json remembers it, and quantize it in
        a target. GPTQ and AWQ with 4 bits are read: `quantize: stored` keeps their weights as they are.
        """),
    described("OB635", "no-stored-codes", """
        `quantize: {method: stored}` for a checkpoint that has no weights in 4 bits that MatMulNBits can express.

        Why: `stored` takes over the codes, scales and zero points of a GPTQ or AWQ checkpoint without loss. A merged
        adapter changes the weights, and with `desc_act` a group of GPTQ does not lie in one piece.
        Bad:
            quantize: stored                     # of a checkpoint with plain weights
        Good:
            quantize: q4
        """),
    described("OB636", "checkpoint-of-another-library", """
        A sentence-transformer that begins neither with a transformer nor with a StaticEmbedding, but with words.

        Why: it has no config.json, and no exporter knows its modules.
        Fix: write a custom exporter: `export: {exporter: path/to/file.py:function}`.
        Bad:
            source: local:words
        Good:
            source: local:words
            export: {exporter: exporters/words.py:export}
        """),
    described("OB651", "no-classes", """
        A checkpoint of timm without classes, for the task `image-classification`.

        Why: with `num_classes: 0` timm returns the features of a picture where its classes would be.
        Fix: export the features.
        Bad:
            models: {m: {source: "local:features", task: image-classification, targets: [fp32]}}
        Good:
            models: {m: {source: "local:features", task: feature-extraction, targets: [fp32]}}
        """),
)  # fmt: skip
