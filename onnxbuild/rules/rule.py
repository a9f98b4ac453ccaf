"""A rule: a code that never changes its meaning, with its check and its page in one docstring."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator

from msgspec import Struct

from onnxbuild.diagnostics import Diagnostic, Severity
from onnxbuild.manifest.spec import Manifest
from onnxbuild.planning.expand import Expansion
from onnxbuild.planning.locked import Lock
from onnxbuild.rules.installed import installed_version


class World(Struct, frozen=True, kw_only=True):
    """Everything that a rule may look at."""

    manifest: Manifest
    lock: Lock
    expansion: Expansion
    # The version of a distribution in this interpreter, None if it is not installed.
    installed: Callable[[str], str | None] = installed_version
    out: str | None = None  # the folder that a run writes to, None for lint


Check = Callable[[World], Iterator[Diagnostic]]


class Rule(Struct, frozen=True, kw_only=True):
    """A code and its page: `summary` is one line, `fix` says how to repair it, `bad` and `good` are examples.

    `check` is None if another stage (reading, planning, a worker) finds the fault.
    """

    code: str
    name: str
    severity: Severity
    summary: str
    why: str = ""
    fix: str = ""
    bad: str = ""
    good: str = ""
    check: Check | None = None


_SECTION = re.compile(r"^(Why|Fix|Bad|Good):[ ]*\n?", re.MULTILINE)


def described(code: str, name: str, text: str, *, severity: Severity = "error", check: Check | None = None) -> Rule:
    """A rule from its page: a summary, then sections `Why:`, `Fix:`, `Bad:` and `Good:`."""
    summary, *parts = _SECTION.split(inspect.cleandoc(text))
    sections = {label.lower(): _body(label, body) for label, body in zip(parts[::2], parts[1::2], strict=True)}
    return Rule(code=code, name=name, severity=severity, summary=" ".join(summary.split()), check=check, **sections)


def rule(code: str, name: str, *, severity: Severity = "error") -> Callable[[Check], Rule]:
    """Decorate a check whose docstring is its page."""
    return lambda check: described(code, name, check.__doc__ or "", severity=severity, check=check)


def _body(label: str, text: str) -> str:
    """A section's text: examples keep their lines, prose is joined."""
    return inspect.cleandoc(f"\n{text}") if label in {"Bad", "Good"} else " ".join(text.split())
