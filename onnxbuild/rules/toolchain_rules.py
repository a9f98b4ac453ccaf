"""Codes of toolchains and plugins: found by `onnxbuild.manifest`, planning and commands, described here."""

from __future__ import annotations

from onnxbuild.rules.rule import Rule, described

RULES: tuple[Rule, ...] = (
    described("OB043", "broken-plugin", """
        An installed plugin for a step kind cannot be loaded.

        Why: its entry point raises an exception, or does not name a `Kind` of that name.
        Fix: repair or uninstall it.
        """),
    described("OB044", "unknown-toolchain", """
        A model names a toolchain that is not defined.

        Bad:
            models:
              bert: {source: local:bert, toolchain: tf5, targets: [fp32]}
        Good:
            toolchains:
              tf5: {requirements: ["transformers==5.23.0", "torch==2.13.0", "onnxscript"]}
            models:
              bert: {source: local:bert, toolchain: tf5, targets: [fp32]}
        """),
    described("OB048", "toolchain-definition", """
        A toolchain with neither requirements nor an interpreter, with both, or with an interpreter that fails.

        Bad:
            toolchains:
              tf5: {}
        Good:
            toolchains:
              tf5: {python: /opt/tf5/bin/python}
        """),
    described("OB049", "toolchain-not-locked", """
        The packages of a toolchain are not in the lock file, and the run must stay offline.

        Why: a run resolves them once and writes them down, but not with `--offline`.
        Fix: run `onnxbuild lock MANIFEST` where the package index can be reached.
        """),
    described("OB080", "interpreter-not-understood", """
        The Python version or the packages of a toolchain's interpreter cannot be read from its folders.

        Why: a plan starts no interpreter. It reads `pyvenv.cfg` and the names of the folders around the executable.
        Fix: name the interpreter of a virtual environment, `VENV/bin/python`, and not a script that starts another one.
        """),
    described("OB081", "requirement-not-a-name", """
        A requirement of a toolchain is not the name of a package with versions.

        Why: pip also takes options, paths, archives and URLs, and no hash in the lock file covers what they bring.
        Bad:
            toolchains:
              tf5: {requirements: ["--index-url=https://example.com", "transformers @ https://example.com/t.whl"]}
        Good:
            toolchains:
              tf5: {requirements: ["transformers>=5.23,<6"]}
        """),
    described("OB105", "toolchain-conflict", """
        The requirements of a toolchain cannot be resolved together.

        Why: optimum-onnx 0.1.0 requires transformers below 4.58, and newer models need transformers 5.
        Fix: requirements of one toolchain must be compatible; give the other model a separate toolchain.
        """),
)  # fmt: skip
