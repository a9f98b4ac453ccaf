"""Codes of the command line and the machine: found by the commands themselves, described here."""

from __future__ import annotations

from onnxbuild.rules.rule import Rule, described

RULES: tuple[Rule, ...] = (
    described(
        "OB040",
        "store-unusable",
        """
        The local store cannot be opened or made.

        Why: a read-only file system, a file where a folder should be, a database that is none.
        Fix: name another folder with `--store DIR` or ONNXBUILD_STORE.
        """,
    ),
    described(
        "OB041",
        "no-such-code",
        """
        `explain` was asked for a code that there is not.

        Fix: `docs/reference/codes.md` lists them all.
        """,
    ),
    described(
        "OB042",
        "no-manifest-run",
        """
        `explain` was asked for an action, and no manifest has been run here to which it could belong.

        Fix: name the manifest: `onnxbuild explain ID -m MANIFEST`.
        """,
    ),
    described(
        "OB043",
        "broken-plugin",
        """
        An installed plugin for a step kind cannot be loaded.

        Why: its entry point raises, or names something that is no `Kind` of that name.
        Fix: repair or uninstall it.
        """,
    ),
    described(
        "OB044",
        "unknown-toolchain",
        """
        A model names a toolchain that is not defined.

        Bad:
            models:
              bert: {source: local:bert, toolchain: tf5, targets: [fp32]}
        Good:
            toolchains:
              tf5: {requirements: ["transformers==5.23.0", "torch==2.13.0", "onnxscript"]}
            models:
              bert: {source: local:bert, toolchain: tf5, targets: [fp32]}
        """,
    ),
    described(
        "OB048",
        "toolchain-definition",
        """
        A toolchain that is neither a list of requirements nor an interpreter, is both, or whose interpreter fails.

        Bad:
            toolchains:
              tf5: {}
        Good:
            toolchains:
              tf5: {python: /opt/tf5/bin/python}
        """,
    ),
    described(
        "OB049",
        "toolchain-not-locked",
        """
        The packages of a toolchain are not in the lock file, and nobody may be asked for them.

        Why: a run resolves them once, but not with `--offline`.
        Fix: `onnxbuild lock MANIFEST` where the package index can be reached.
        """,
    ),
)
