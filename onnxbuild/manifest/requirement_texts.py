"""The requirements of a toolchain: names with versions, as in PEP 508, and nothing else that pip would accept.

pip also takes options, paths, archives and URLs. Each of them would let a manifest read or run something that no hash
in the lock file covers, so none of them is a requirement here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from onnxbuild.diagnostics import Diagnostic, Span, fault
from onnxbuild.manifest.document import Array, Table

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_CLAUSE = r"(?:==|!=|<=|>=|<|>|~=)\s?[A-Za-z0-9.!+_-]+(?:\.\*)?"
# The usual form. Only another one, such as a marker, needs `packaging`, whose import takes as long as a small lint.
_USUAL = re.compile(rf"{_NAME}(?:\[{_NAME}(?:, ?{_NAME})*\])?(?: ?{_CLAUSE}(?:, ?{_CLAUSE})*)?")
_HINT = "write a name with versions, such as `torch==2.13.0` or `transformers>=5.23,<6`"


def requirement_faults(toolchain: Table) -> Iterator[Diagnostic]:
    """OB081 for each requirement and each `sdist` of a toolchain that is not what it must be."""
    for text, at in _texts(toolchain.get("requirements")):
        reason = refusal(text)
        if reason is not None:
            yield fault("OB081", f"`{_on_one_line(text)}` is not a requirement: {reason}", span=at, hint=_HINT)
    for text, at in _texts(toolchain.get("sdist")):
        if re.fullmatch(_NAME, text, re.ASCII) is None:
            hint = "name the packages that pip may build, without versions"
            yield fault("OB081", f"`{_on_one_line(text)}` is not the name of a package", span=at, hint=hint)
    if toolchain.get("sdist") and not toolchain.get("requirements"):
        message = "`sdist` has no effect without `requirements`"
        yield fault("OB081", message, span=toolchain.key_span("sdist"), hint="pip installs nothing for `python:`")


def refusal(text: str) -> str | None:
    """Why a text is not an acceptable requirement; None if it is acceptable."""
    if _USUAL.fullmatch(text):
        return None
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        return f"{str(error).splitlines()[0]}".lower()
    if requirement.url is not None:
        return "it names a URL instead of a version"
    return None


def normal_form(text: str) -> str:
    """An acceptable requirement as pip gets it: written again from what was understood, not the text itself."""
    from packaging.requirements import Requirement

    requirement = Requirement(text)
    assert requirement.url is None, "BUG: the manifest's requirements were checked"
    return str(requirement)


def _on_one_line(text: str) -> str:
    return text if text.isprintable() else repr(text)[1:-1]


def _texts(written: Any) -> Iterator[tuple[str, Span]]:
    """The texts of a list that need no variable any more; the schema reports what is not a list of texts."""
    if isinstance(written, Array):
        yield from (
            (text, at)
            for text, at in zip(written, written.items_at, strict=True)
            if isinstance(text, str) and "${" not in text
        )
