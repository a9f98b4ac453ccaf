"""Codes of manifest files and their YAML. Found by `onnxbuild.manifest`, described here."""

from __future__ import annotations

from onnxbuild.rules.rule import Rule, described

RULES: tuple[Rule, ...] = (
    described("OB014", "duplicate-key", """
        A key that appears twice in a mapping, in one file or in two that `include:` joins.

        Why: YAML readers silently keep one of the two, and not always the same one.
        Bad:
            targets:
              o2: {optimize: O2}
              o2: {optimize: O3}
        Good:
            targets:
              o2: {optimize: O2}
              o3: {optimize: O3}
        """),
    described("OB015", "yaml-syntax", """
        The text is not valid YAML, or has more than one document.

        Why: nothing after the fault can be read reliably.
        Bad:
            targets: {o2: {optimize: O2}
        Good:
            targets: {o2: {optimize: O2}}
        """),
    described("OB016", "missing-file", """
        A file, folder or package does not exist, or a file that the command line names cannot be written.

        Why: a path is relative to the file in which it is written, not to the folder in which a command runs.
        `--output` and `--profile` replace only what onnxbuild has written: a mistyped name must not cost a manifest.
        Bad:
            source: local:modles/mine
        Good:
            source: local:models/mine
        """),
    described("OB020", "merge-key", """
        A YAML merge key `<<`.

        Why: it is not part of YAML 1.2, and readers disagree on which value wins.
        Fix: put values that models share under `defaults:`, and steps that they share into a target.
        Bad:
            models:
              a: &base {source: "local:a", targets: [o2]}
              b: {<<: *base, source: "local:b"}
        Good:
            defaults: {targets: [o2]}
            models:
              a: {source: "local:a"}
              b: {source: "local:b"}
        """),
    described("OB021", "too-large", """
        A manifest that is too large or too deeply nested. Its files, and what aliases, references, defaults and
        matrices make of them, count together: at most 1,000 files, 8 MB, 200,000 values, 500,000 values after
        filling in, 25,000 targets of models, 2,000 steps of a target, and 1,000 faults.

        Why: a few lines can stand for more values than memory holds.
        Fix: split it up into several manifests, and keep data in files.
        """),
    described("OB022", "encoding", """
        Bytes that are not UTF-8, or control characters.

        Fix: save the file as UTF-8, and write control characters as escapes in double quotes.
        """),
    described("OB030", "language-version", """
        A manifest written in another version of the language.

        Fix: install an onnxbuild that reads it, or write `onnxbuild: 1`.
        """),
    described("OB002", "cycle", """
        A file includes itself, directly or through others.

        Why: such files cannot be read in any order.
        Bad:
            # a.yaml
            include: [b.yaml]
            # b.yaml
            include: [a.yaml]
        Good:
            # a.yaml
            include: [b.yaml, common.yaml]
            # b.yaml
            include: [common.yaml]
        """),
    described("OB050", "model-as-manifest", """
        A model file is given where a command expects a manifest.

        Why: a manifest says what to build from the model.
        Fix: write the manifest that the hint shows, and give that to the command.
        Bad:
            onnxbuild run model.onnx
        Good:
            # models.yaml
            onnxbuild: 1
            targets: {int8: {quantize: int8}}
            models: {model: {source: "onnx:model.onnx", targets: [int8]}}
        """),
)  # fmt: skip
