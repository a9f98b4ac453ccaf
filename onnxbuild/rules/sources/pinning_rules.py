"""The rule that asks for pins: a source on the Hub whose revision may move."""

from __future__ import annotations

from collections.abc import Iterator

from onnxbuild.diagnostics import Diagnostic, fault
from onnxbuild.planning.lock_file import hub_name, hub_uses
from onnxbuild.rules.rule import Rule, World, rule

_COMMIT_LENGTH = 40


@rule("OB101", "unpinned-revision", severity="warning")
def unpinned_revision(world: World) -> Iterator[Diagnostic]:
    """A Hub source that neither a commit id nor the lock file pins.

    Why: `main` moves, so two machines would build different models from one manifest.
    Fix: `onnxbuild lock` writes onnxbuild.lock; commit it.
    Bad:
        source: hub:openai-community/gpt2            # and no onnxbuild.lock
    Good:
        source: hub:openai-community/gpt2            # and onnxbuild.lock beside the manifest
    """
    for use in hub_uses(world.manifest):
        revision = hub_name(use.text)[1]
        is_commit = len(revision) == _COMMIT_LENGTH and all(one in "0123456789abcdef" for one in revision)
        if use.key not in world.lock.sources and not is_commit:
            yield fault(
                "OB101",
                f"`{use.written}` is not pinned: `{revision}` may move",
                span=use.span,
                hint=f"`onnxbuild lock {world.manifest.path}` pins it",
                severity="warning",
            )


RULES: tuple[Rule, ...] = (unpinned_revision,)
