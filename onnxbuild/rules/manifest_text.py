"""Codes of reading a manifest: YAML, structure, references. Found by `manifest` and `plan`, described here."""

from __future__ import annotations

from onnxbuild.rules.rule import Rule, described

RULES: tuple[Rule, ...] = (
    described("OB001", "unknown-key", """
        A key that the language does not have.

        Why: a misspelt key that passes in silence leaves the default in force, and nobody notices.
        Bad:
            targets:
              int8: {quantize: {method: dynamic, per_chanel: true}}
        Good:
            targets:
              int8: {quantize: {method: dynamic, per_channel: true}}
        """),
    described("OB002", "cycle", """
        A file includes itself, directly or through others.

        Why: there is no order in which such files could be read.
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
    described("OB004", "undefined-reference", """
        A reference, an alias or a `-D` option that names nothing.

        Why: an empty value in its place would build something that nobody asked for.
        Bad:
            vars: {prompt: "Once upon a time"}
            # … prompts: ["${vars.promt}"]
        Good:
            vars: {prompt: "Once upon a time"}
            # … prompts: ["${vars.prompt}"]
        """),
    described("OB006", "output-collision", """
        Two models have one name, and would be laid out in one folder.

        Why: the second would overwrite the first.
        Bad:
            models:
              gpt2:
                matrix: {size: [gpt2, gpt2-medium]}
                source: hub:openai-community/${matrix.size}
                targets: [o2]
        Good:
            models:
              "${matrix.size}":
                matrix: {size: [gpt2, gpt2-medium]}
                source: hub:openai-community/${matrix.size}
                targets: [o2]
        """),
    described("OB007", "matrix-explosion", """
        A matrix with more points than anyone means.

        Why: axes multiply; some ten thousand models are a slip of the pen, not a plan.
        Fix: split the matrix into several models, or leave out points with `exclude:`.
        """),
    described("OB011", "wrong-type", """
        A value of another type than its key takes.

        Why: YAML tells numbers, booleans and strings apart; a guess would be wrong for somebody.
        Bad:
            export: {opset: "18"}
        Good:
            export: {opset: 18}
        """),
    described("OB012", "missing-key", """
        A key that has to be there is not.

        Why: there is no default that would suit everyone.
        Bad:
            quantize: {bits: 4}
        Good:
            quantize: {method: weight-only, bits: 4}
        """),
    described("OB013", "value-not-allowed", """
        A value that is none of the allowed ones, or out of range.

        Why: the step kind would fail on it later, after minutes of export.
        Bad:
            optimize: O5
        Good:
            optimize: O3
        """),
    described("OB014", "duplicate-key", """
        A key that stands twice in a mapping, in one file or in two that are joined by `include:`.

        Why: YAML readers keep one of the two in silence, and not always the same one.
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
        The text is not YAML, or not one document.

        Why: nothing after the fault can be relied on.
        Bad:
            targets: {o2: {optimize: O2}
        Good:
            targets: {o2: {optimize: O2}}
        """),
    described("OB016", "missing-file", """
        A file, folder or package that is named is not there.

        Why: a path is relative to the file in which it is written, not to the folder in which a command runs.
        Bad:
            source: local:modles/mine
        Good:
            source: local:models/mine
        """),
    described("OB017", "unknown-target", """
        A model names a target that is not defined.

        Bad:
            targets: {cpu-o2: {optimize: O2}}
            models: {m: {source: "random:bert", targets: [cpu-02]}}
        Good:
            targets: {cpu-o2: {optimize: O2}}
            models: {m: {source: "random:bert", targets: [cpu-o2]}}
        """),
    described("OB018", "nothing-selected", """
        A selector or a name on the command line matches nothing.

        Why: a run that does nothing because of a misspelt name would look like success.
        Bad:
            onnxbuild run models.yaml minilm/int-8
        Good:
            onnxbuild run models.yaml minilm/int8
        """),
    described("OB019", "not-available", """
        A word of the language that this version cannot act on yet.

        Why: passing over it in silence would look like success.
        Fix: remove it, or install a version that has it.
        """),
    described("OB020", "merge-key", """
        A YAML merge key `<<`.

        Why: it is no part of YAML 1.2, and readers disagree on what wins.
        Fix: put what models share under `defaults:`, and steps that they share into a target.
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
        A manifest of absurd size or depth, or aliases that expand without end.

        Why: a few lines of aliases can stand for more values than memory holds.
        Fix: split the manifest up with `include:`, and keep data in files.
        """),
    described("OB022", "encoding", """
        Bytes that are not UTF-8, or control characters.

        Fix: save the file as UTF-8; write control characters as escapes in double quotes.
        """),
    described("OB023", "bad-name", """
        A name that cannot become a folder and a part of a selector.

        Fix: letters, digits, `.`, `_` and `-`, the first a letter or a digit.
        Bad:
            models: {"org/model": {source: "hub:org/model", targets: [o2]}}
        Good:
            models: {model: {source: "hub:org/model", targets: [o2]}}
        """),
    described("OB024", "unknown-step-kind", """
        A step of a kind that is neither built in nor brought by a plugin.
        """),
    described("OB025", "reference-not-allowed", """
        A reference where none may stand: the environment outside `store:` and `publish:`, or any in `include:`.

        Why: the environment holds secrets, and a value that gets into a key or a log is no secret any more.
        Bad:
            models: {m: {source: "hub:${env.REPO}", targets: [o2]}}
        Good:
            vars: {repo: org/name}
            models: {m: {source: "hub:${vars.repo}", targets: [o2]}}
        """),
    described("OB026", "bad-source", """
        A source of no known kind.

        Fix: a model's source begins with `hub:`, `local:`, `package:`, `random:` or `onnx:`.
        Bad:
            source: bert-base-uncased
        Good:
            source: hub:google-bert/bert-base-uncased
        """),
    described("OB027", "unusable-source", """
        A source without weights, or with a config that cannot be read.

        Why: found now it costs nothing; found by the export it costs minutes, and the words are worse.
        """),
    described("OB028", "lfs-pointer", """
        A file of some hundred bytes that stands for weights which Git LFS has not downloaded.

        Fix: `git lfs pull` in the folder.
        """),
    described("OB030", "language-version", """
        A manifest in another version of the language.

        Fix: install an onnxbuild that reads it, or write `onnxbuild: 1`.
        """),
    described("OB031", "bad-lock", """
        The lock file cannot be read.

        Fix: after a merge keep the entries of both sides; or remove the file and run `onnxbuild lock`.
        """),
    described("OB032", "contradiction", """
        Two keys that cannot both be meant.

        Bad:
            targets: {a: {optimize: O2, steps: [{quantize: {method: dynamic}}]}}
        Good:
            targets: {a: {steps: [{optimize: O2}, {quantize: {method: dynamic}}]}}
        """),
)  # fmt: skip
