"""Codes of the shared store: found while a run asks it, described here."""

from __future__ import annotations

from onnxbuild.rules.rule import Rule, described

RULES: tuple[Rule, ...] = (
    described(
        "OB045",
        "remote-unreachable",
        """
        The remote store cannot be reached, or is too slow.

        Why: what it holds is built here instead; nothing is wrong with the result.
        Fix: see its address and the credentials; `--offline` does not ask it.
        """,
        severity="warning",
    ),
    described(
        "OB046",
        "remote-damaged",
        """
        The remote store holds an object whose content is not what its name says.

        Why: an upload was cut short, or somebody changed it; it is never used.
        Fix: a run that may write puts it right.
        """,
        severity="warning",
    ),
    described(
        "OB047",
        "no-remote",
        """
        A command needs a remote store, and there is none, or none that it may write to.

        Fix: name one with `--remote URL`, ONNXBUILD_REMOTE or `store: {remote: …}`.
        """,
    ),
)
