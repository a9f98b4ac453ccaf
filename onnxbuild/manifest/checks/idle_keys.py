"""Keys of a model that ask for nothing: an empty `package:` or `publish:` that turns nothing of `defaults:` off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from onnxbuild.diagnostics import Span
from onnxbuild.manifest.document import Table

_KEYS = ("package", "publish")


class IdleKey(Struct, frozen=True):
    """A key without effect. `beside_defaults`: a mapping without entries, which leaves those of `defaults:` as is."""

    key: str
    span: Span
    beside_defaults: bool = False


def idle_keys(written: Table, defaults: Table, merged: Table) -> Iterator[IdleKey]:
    """The keys without effect of a model's own block, of `defaults:`, and of what both make."""
    for key in _KEYS:
        is_turned_off = key in written and _asks(defaults.get(key))
        if key in merged and not _asks(merged[key]) and not is_turned_off:
            yield IdleKey(key, merged.key_span(key))
        elif _is_empty_table(written.get(key)) and _asks(merged.get(key)):
            yield IdleKey(key, written.key_span(key), beside_defaults=True)


def _asks(value: Any) -> bool:
    """Whether a value asks for something. `{plain: false}` does not."""
    if isinstance(value, Table):
        return any(one is not False for one in value.values())
    return bool(value)


def _is_empty_table(value: Any) -> bool:
    return isinstance(value, Table) and not value
