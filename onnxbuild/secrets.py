"""Secrets, and how they are removed from text: none may appear in a terminal, a log, an event or a file that is kept.

A secret is a value that was registered, an environment variable whose name says that it is one, the parts of a URL
before the host and after the path, an access token of the Hub, and a private key that signs results. Each is also
recognized as libraries print it: percent-encoded, in base64, and as a string of JSON, Python, HTML or a shell.

A run with nothing to do uses this module, so it imports nothing that Python has not loaded, and compiles no pattern
before there is a text that needs it (11 ms for all of them).
"""

from __future__ import annotations

import _thread
import contextlib
import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

MASK = "***"
_BLOCK = 1 << 20  # bytes of a file that are read at once

# Shorter values, and short words such as the `runner` of a CI, occur in text that is no secret.
_SHORTEST, _SHORTEST_WORD = 4, 8
_SECRET_NAMES = (
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "CREDENTIALS",
    "_KEY",
    "_PAT",
    "CONNECTION_STRING",
)
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_HTML = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&#x27;"))

# One pass over a text, whatever it is: no part of a pattern can match in two ways.
_URL = r"://[^\s\"'<>`]+"
_WRAP = r"(?:[ \t]*\r?\n[ \t]*)?"  # where a library has wrapped its line
_HUB_PREFIXED = r"\bhf_[A-Za-z0-9]{16,}"
_SIGNING_KEY = r"\bsecret:[A-Za-z0-9._-]{1,64}:[A-Za-z0-9+/=]{8,}"  # as `cache keygen` makes it


class _Known:
    """The forms of every registered secret, the longest first: the short ones may be parts of the long ones."""

    def __init__(self) -> None:
        self.forms: tuple[str, ...] = ()
        self.values: tuple[str, ...] = ()
        self.environment_read = False
        self._lock = _thread.allocate_lock()

    def add(self, values: Iterable[str]) -> None:
        values = {value for value in values if _is_long_enough(value)}
        if values <= set(self.values):
            return
        new = {form for value in values for form in _forms(value)}
        with self._lock:
            self.forms = tuple(sorted({*self.forms, *new}, key=len, reverse=True))
            self.values = (*self.values, *values)


_KNOWN = _Known()


def register(*values: str) -> None:
    """Leave these values out of everything that is printed or kept from now on."""
    _KNOWN.add(line for value in values for line in (value, *value.splitlines()))


def register_url(url: str) -> None:
    """Register the secrets of a URL: user and password, the values of its query, its fragment. A path has none."""
    register(*_secrets_of_url(url))


def is_secret_name(name: str) -> bool:
    """Whether a variable of this name usually holds a secret."""
    return name.upper().replace("-", "_").endswith(_SECRET_NAMES) or name.upper() in {"PASS", "KEY", "PAT"}


def redacted(text: str, *, keep_length: bool = False) -> str:
    """The text with `***` in place of each secret; with `keep_length`, one `*` per character of the secret."""
    if not _KNOWN.environment_read:
        _read_environment(os.environ)
    for form in _KNOWN.forms:
        if form in text:
            text = _without(form, text, keep_length=keep_length)
    if "\n" in text:
        for value in _KNOWN.values:
            text = _without_wrapped(value, text)
    if "://" in text:
        text = re.sub(_URL, lambda match: _without_user_and_query(match[0], keep_length=keep_length), text)
    for mark, pattern in (("hf_", _HUB_PREFIXED), ("secret:", _SIGNING_KEY)):
        if mark in text:
            text = re.sub(pattern, lambda match: _mask(match[0], keep_length=keep_length), text)
    return text


def _without(form: str, text: str, *, keep_length: bool) -> str:
    if form.isdecimal():
        return _without_number(form, text, keep_length=keep_length)
    return text.replace(form, _mask(form, keep_length=keep_length))


def _without_number(form: str, text: str, *, keep_length: bool) -> str:
    """A number as a secret: a short one only where it stands alone, since it occurs in sizes, times and digests."""
    is_short = len(form) < _SHORTEST_WORD
    alone = rf"(?<![\w.]){form}(?!\w|\.\d)" if is_short else rf"[\d.]*{form}(?:\d|e-?\d)*"

    def masked(match: re.Match[str]) -> str:
        mask = _mask(match[2], keep_length=keep_length)
        # The value of a key in JSON, which must stay JSON.
        return f'{match[1]}"{mask}"' if match[1] and not keep_length else f"{match[1] or ''}{mask}"

    return re.sub(rf'(":\s?)?({alone})', masked, text)


def redact_file(path: str) -> None:
    """Take the secrets out of a file that another process wrote. A file that cannot be read stays as it is."""
    from onnxbuild.regular_files import open_regular

    clean = f"{path}.clean"
    with contextlib.suppress(OSError), open_regular(path) as file:
        if all(redacted(block) == block for block in _blocks(file)):
            return
        file.seek(0)
        with open(clean, "wb") as copy:
            copy.writelines(redacted(block).encode("utf-8", "surrogateescape") for block in _blocks(file))
        os.replace(clean, path)


def _blocks(file: io.FileIO) -> Iterator[str]:
    """The text of a file in parts that end with a line, unless lines are very long."""
    lines = io.BufferedReader(file)
    try:
        while block := lines.read(_BLOCK):
            yield (block + lines.readline(_BLOCK)).decode("utf-8", "surrogateescape")
    finally:
        lines.detach()


def shown_command(arguments: Sequence[str]) -> str:
    """A command line as it may be kept: without the values of `-D`, and without the secrets of a URL."""
    return redacted(" ".join(_without_values(arguments)))


def _without_values(arguments: Sequence[str]) -> Iterator[str]:
    before = ""
    for argument in arguments:
        if before == "-D":
            yield f"{argument.partition('=')[0]}=…"
        elif argument.startswith("-D") and argument != "-D":
            yield f"-D{argument[2:].partition('=')[0]}=…"
        else:
            yield argument
        before = argument


def _without_user_and_query(url: str, *, keep_length: bool) -> str:
    """A URL from its `://` on, and what follows it up to a blank. A query may contain another URL; all of it goes."""
    places, mark, query = url.partition("?")
    query, sharp, fragment = query.partition("#")
    if "=" in query:
        query = _mask(query, keep_length=keep_length)
    hosts = [_without_user(place, keep_length=keep_length) for place in places.split("://")]
    return f"{'://'.join(hosts)}{mark}{query}{sharp}{fragment}"


def _without_user(place: str, *, keep_length: bool) -> str:
    host, slash, path = place.partition("/")
    user, at, host = host.rpartition("@")
    return f"{_mask(user, keep_length=keep_length) if at else ''}{at}{host}{slash}{path}"


def _without_wrapped(value: str, text: str) -> str:
    """The text without a secret that a library broke over lines. One of its ends is whole, then."""
    if value[:_SHORTEST] not in text and value[-_SHORTEST:] not in text:
        return text
    pattern = _WRAP.join(map(re.escape, value))
    return re.sub(pattern, lambda match: MASK if "\n" in match[0] else match[0], text)


def _mask(text: str, *, keep_length: bool) -> str:
    # A mask of the length of its secret is not masked again: the carets of a code frame stand below it.
    return text if text.strip("*") == "" and len(text) >= len(MASK) else "*" * len(text) if keep_length else MASK


def _read_environment(environ: Mapping[str, str]) -> None:
    _KNOWN.environment_read = True
    for name, value in environ.items():
        if "://" in value:
            register_url(value)
        elif is_secret_name(name) and not os.path.exists(value):
            register(value)


def _secrets_of_url(url: str) -> Iterator[str]:
    rest, _, fragment = url.partition("://")[2].partition("#")
    rest, _, query = rest.partition("?")
    user, _, password = rest.partition("/")[0].rpartition("@")[0].partition(":")
    values = [pair.partition("=")[2] or pair for pair in query.split("&")]
    for part in (password or user, *values, fragment):
        yield part
        yield _unquoted(part)


def _unquoted(text: str) -> str:
    if "%" not in text:
        return text
    from urllib.parse import unquote

    return unquote(text)


def _is_long_enough(value: str) -> bool:
    return len(value) >= (_SHORTEST_WORD if value.isalpha() else _SHORTEST)


# -- the forms in which libraries print a value ------------------------------------------------------------------------


def _forms(value: str) -> set[str]:
    data = value.encode("utf-8", "surrogateescape" if _is_of_names(value) else "replace")
    quoted = {
        _percent(data, keep) for keep in (_UNRESERVED, _UNRESERVED | frozenset(b"/"), _UNRESERVED | frozenset(b":/"))
    }
    quoted |= {_percent(data, _UNRESERVED).replace("%20", "+")}
    forms = {value, *quoted, *map(str.lower, quoted - {value}), data.hex()}
    forms |= {_as_json(value, ascii_only=False), _as_json(value, ascii_only=True), repr(value)[1:-1]}
    forms |= {_in_html(value), value.replace("'", "'\"'\"'"), *_in_base64(data)}
    return {form for form in forms if len(form) >= _SHORTEST}


def _is_of_names(value: str) -> bool:
    """Whether the lone surrogates of a value are bytes that are not UTF-8, as Python reads them from the system."""
    return not any("\ud800" <= one <= "\udc7f" or "\udd00" <= one <= "\udfff" for one in value)


def _percent(data: bytes, keep: frozenset[int]) -> str:
    return "".join(chr(one) if one in keep else f"%{one:02X}" for one in data)


def _as_json(value: str, *, ascii_only: bool) -> str:
    import json

    return json.dumps(value, ensure_ascii=ascii_only)[1:-1]


def _in_html(value: str) -> str:
    for character, entity in _HTML:
        value = value.replace(character, entity)
    return value


def _in_base64(data: bytes) -> Iterator[str]:
    """The characters that stand for these bytes whatever surrounds them: three texts, one per place in a triple.

    In an HTTP header, the password follows the user, so it can start at any of the three places.
    """
    import binascii

    for before in range(3):
        encoded = binascii.b2a_base64(b"\0" * before + data, newline=False).decode("ascii")
        core = encoded[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]
        if len(core) >= _SHORTEST_WORD:
            yield core
            yield core.replace("+", "-").replace("/", "_")
