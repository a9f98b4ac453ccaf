"""What a publish does not replace, delete or take for its own without `overwrite: true`, at any destination."""

from __future__ import annotations

from onnxbuild.protocol import CheckFailed
from onnxbuild.publishing.difference import Difference
from onnxbuild.steps.publish import PublishParams

_MOST = 8  # names in a message


def check_others(params: PublishParams, changes: Difference, *, is_first: bool = False) -> None:
    """Errors: CheckFailed OBE205 for files of others, and for the publication of another model, source or manifest.

    `is_first`: whether no publish has left a list at the destination.
    """
    if changes.is_empty or params.overwrite is True:
        return
    place, names = params.hub or params.shown, ", ".join(changes.foreign[:_MOST])
    elsewhere = "publish to another place, or write `overwrite: true` in `publish:`"
    if changes.other:
        raise _refused(f"{place} {changes.other}", elsewhere)
    if changes.foreign and is_first:
        raise _refused(f"{place} has files of these names, which no publish has written: {names}", elsewhere)
    if changes.foreign:
        hint = "take the change into the package, or write `overwrite: true` in `publish:`"
        raise _refused(f"somebody has changed {names} in {place} since the last publish", hint)


def _refused(message: str, hint: str) -> CheckFailed:
    return CheckFailed("OBE205", message, notes=[("hint", hint)])
