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
)  # fmt: skip
