"""Codes of the structure of a manifest: keys, types, values, names, references. Found by `onnxbuild.manifest`."""

from __future__ import annotations

from onnxbuild.rules.rule import Rule, described

RULES: tuple[Rule, ...] = (
    described("OB001", "unknown-key", """
        A key that the language does not have.

        Why: if a misspelt key were ignored, the default would apply and nobody would notice.
        Bad:
            targets:
              int8: {quantize: {method: dynamic, per_chanel: true}}
        Good:
            targets:
              int8: {quantize: {method: dynamic, per_channel: true}}
        """),
    described("OB004", "undefined-reference", """
        A reference, an alias or a `-D` option whose name is not defined.

        Why: an empty value instead would build something that nobody asked for.
        Bad:
            vars: {prompt: "Once upon a time"}
            # … prompts: ["${vars.promt}"]
        Good:
            vars: {prompt: "Once upon a time"}
            # … prompts: ["${vars.prompt}"]
        """),
    described("OB006", "output-collision", """
        Two models have the same name, and so the same output folder. Names that differ only in case count as the same.

        Why: the second would overwrite the first, on macOS and Windows also if one is `Bert` and the other `bert`.
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
        A matrix with more points than anyone wants to build.

        Why: axes multiply; ten thousand models are a mistake, not a plan.
        Fix: split the matrix into several models, or leave out points with `exclude:`.
        """),
    described("OB011", "wrong-type", """
        A value whose type its key does not accept.

        Why: YAML distinguishes numbers, booleans and strings; guessing would be wrong for somebody.
        Bad:
            export: {opset: "18"}
        Good:
            export: {opset: 18}
        """),
    described("OB012", "missing-key", """
        A required key is missing.

        Why: there is no default that would suit everyone.
        Bad:
            quantize: {bits: 4}
        Good:
            quantize: {method: weight-only, bits: 4}
        """),
    described("OB013", "value-not-allowed", """
        A value that is not one of the allowed ones, or is out of range.

        Why: the step would fail on it later, after minutes of export.
        Bad:
            optimize: O5
        Good:
            optimize: O3
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
    described("OB019", "not-available", """
        A key of the language that this version does not implement yet.

        Why: ignoring it would look like success.
        Fix: remove it, or install a version that has it.
        """),
    described("OB023", "bad-name", """
        A name that cannot be a folder name and part of a selector.

        Why: output folders are copied between systems, and Windows has no folder named `aux`, `con.v1` or `v1.`.
        Fix: use at most 100 letters, digits, `.`, `_` and `-`, and begin with a letter or a digit.
        Bad:
            models: {"org/model": {source: "hub:org/model", targets: [o2]}}
        Good:
            models: {model: {source: "hub:org/model", targets: [o2]}}
        """),
    described("OB024", "unknown-step-kind", """
        A step whose kind is neither built in nor provided by a plugin.
        """),
    described("OB025", "reference-not-allowed", """
        A reference where none is allowed: to the environment outside `store:` and `publish:`, or any in `include:`.

        Why: the environment holds secrets, and a value that gets into a key or a log is no longer secret.
        Bad:
            models: {m: {source: "hub:${env.REPO}", targets: [o2]}}
        Good:
            vars: {repo: org/name}
            models: {m: {source: "hub:${vars.repo}", targets: [o2]}}
        """),
    described("OB061", "environment-not-permitted", """
        A reference to an environment variable that the user has not permitted, or in a place where its value would be
        exposed.

        Why: whoever writes a manifest chooses the address to which the value is sent. In the host or the path of a URL,
        the value would also reach name servers and logs.
        Fix: permit the variable with `--allow-env NAME` or `allow_env` in `~/.config/onnxbuild/config.toml`, and use it
        as the user, the password or the query of the URL.
        Bad:
            store: {remote: "s3://${env.BUCKET}/onnxbuild"}
        Good:
            store: {remote: "webdavs://ci:${env.PASSWORD}@example.org/onnxbuild"}
        """),
    described("OB033", "bad-regression", """
        An entry of `regressions:` names no figure that builds have, or its value is no bound.

        Why: a bound that can never be broken looks like a check.
        Bad:
            regressions: {latency: "5%", accuracy: "+1%"}
        Good:
            regressions: {latency.p50: "+5%", accuracy: "-1%"}
        """),
    described("OB034", "bad-choice", """
        A `select:` that can never choose, or that would choose a worse variant: an unknown figure, a condition of
        another form, a figure that nothing measures, no goal or two, a goal or a condition the wrong way around
        (`minimize: throughput`), a condition that no value fulfils, an accuracy for which the validation has no right
        answers, or a target that is called `best`.

        Why: the choice is made after everything was built and measured, which would be in vain.
        Bad:
            select: {minimize: latency, subject_to: {cosine_mean: 0.99}}
        Good:
            select: {minimize: latency.p50, subject_to: {cosine_mean: ">= 0.99"}}
        """),
    described("OB032", "contradiction", """
        Two keys that contradict each other.

        Bad:
            targets: {a: {optimize: O2, steps: [{quantize: {method: dynamic}}]}}
        Good:
            targets: {a: {steps: [{optimize: O2}, {quantize: {method: dynamic}}]}}
        """),
)  # fmt: skip
