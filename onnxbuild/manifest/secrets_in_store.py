"""`${env.X}` under `store:`: which variables a manifest may read, and where their values may stand.

A manifest may come from somebody else, and an address is sent to the server that it names. So the user permits each
variable, and its value may be used only where a URL has credentials: in the user information or the query. In the host
or the path, the author of the manifest could receive it from name servers or logs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from onnxbuild.diagnostics import Diagnostic, Span, fault
from onnxbuild.permissions import Permissions

MASK = "\ue000"  # stands for a secret where only its place matters; of Unicode's private use
_SEPARATOR = "://"

# A character with a meaning in a URL would end the part in which a value stands, and what follows would be the host.
_ENDS_USER = re.compile(r"[\s/?#@\\\[\]]")
_ENDS_QUERY = re.compile(r"[\s#]")


class Secrets:
    """The variables that a manifest may read; `used` collects those that it has read."""

    def __init__(self, environment: Mapping[str, str], permissions: Permissions) -> None:
        self._environment, self._permissions = environment, permissions
        self.used: dict[str, str] = {}

    def value(self, name: str, span: Span) -> str | Diagnostic:
        """The value of a variable, or the fault of one that is not permitted or not set. No fault shows a value."""
        if not self._permissions.permits_variable(name):
            message = f"the manifest may not read the environment variable `{name}`"
            hint = f"permit it with `--allow-env {name}`, if you know where the manifest sends it"
            return fault("OB061", message, span=span, hint=hint)
        if name not in self._environment:
            return fault("OB004", f"the environment variable `{name}` is not set", span=span)
        self.used[name] = self._environment[name]
        return self._environment[name]


class Masked(Secrets):
    """The same variables, each with the mask as its value: only their places are of interest."""

    def value(self, name: str, span: Span) -> str | Diagnostic:  # noqa: ARG002 - as in the base class
        """The mask."""
        return MASK


def misplaced(masked: str, secrets: Mapping[str, str], at: Span) -> Iterator[Diagnostic]:
    """The fault of a text in which a secret is in a wrong place, or has a value that would change the other parts."""
    if MASK not in masked:
        return
    user, query, rest = _parts(masked)
    if MASK in rest or "\\" in masked:
        message = "`${env.…}` may stand only in the user, the password or the query of a URL"
        hint = "write the rest of the address out; `--remote` and ONNXBUILD_REMOTE take any address"
        yield fault("OB061", message, span=at, hint=hint)
        return
    for name, value in secrets.items():
        if (MASK in user and _ENDS_USER.search(value)) or (MASK in query and _ENDS_QUERY.search(value)):
            message = f"the value of `{name}` has a character with a meaning in a URL"
            yield fault("OB061", message, span=at, hint="percent-encode it: `@` is `%40`, `/` is `%2F`")


def _parts(text: str) -> tuple[str, str, str]:
    """User information, query, and the rest of a URL. A text that is not a URL counts as the rest."""
    scheme, separator, rest = text.partition(_SEPARATOR)
    if not separator:
        return "", "", text
    address, _, fragment = rest.partition("#")
    before, _, query = address.partition("?")
    authority, _, path = before.partition("/")
    user, _, host = authority.rpartition("@")
    return user, query, f"{scheme}\n{host}\n{path}\n{fragment}"
