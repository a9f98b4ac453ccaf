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
)  # fmt: skip
