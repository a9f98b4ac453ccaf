"""Codes of packages. Their checks find them while planning; the pages are here."""

from __future__ import annotations

from onnxbuild.rules.rule import Rule, described

RULES: tuple[Rule, ...] = (
    described(
        "OB760",
        "unknown-target-in-package",
        """
        A package names a target that the model does not have.

        Why: the package would lack the file that somebody expects.
        Bad:
            targets: [fp32, int8]
            package: {plain: {targets: [int9]}}
        Good:
            targets: [fp32, int8]
            package: {plain: {targets: [int8]}}
        """,
    ),
    described(
        "OB761",
        "two-targets-for-one-role",
        """
        Two targets would be the same file of a package.

        Why: a client finds a graph by its file name, so each role has one target.
        Fix: name the targets that go in, or give each one its role.
        Bad:
            targets: [fp32, o1]
            package: sentence-transformers
        Good:
            targets: [fp32, o1]
            package: {sentence-transformers: {targets: [fp32]}}
        """,
    ),
    described(
        "OB762",
        "target-unfit-for-package",
        """
        A target cannot go into a package.

        Why: the client of the package cannot load it, or would not use it as it is meant; the message has the reason.
        Fix: leave the target out with `targets:`, or choose another package.
        """,
    ),
    described(
        "OB763",
        "target-named-packages",
        """
        A model with packages has a target that is called `packages`.

        Why: packages are written to `out/MODEL/packages/`, and the target would be written to the same folder.
        Bad:
            targets: [{name: packages}]
            package: plain
        Good:
            targets: [{name: all}]
            package: plain
        """,
    ),
    described("OB764", "role-is-no-name", """
        A role of a package that cannot be a part of a file name.

        Why: the files of a package are named after roles, and must be inside its folder on every system.
        Bad:
            package: {plain: {targets: {"../int8": int8}}}
        Good:
            package: {plain: {targets: {int8: int8}}}
        """),
)  # fmt: skip
