"""Types of arguments: each turns the text of one argument into a value, or says what was expected."""

from __future__ import annotations

import argparse

from onnxbuild.secrets import is_secret_name, register

_MOST_DIGITS = 6
_LAST_PORT = 65_535
_CLIENTS = ("node", "wasm", "webgpu")
_LONGEST_SECONDS = 4e6  # 46 days; the longest wait of Python on Windows is 49
_LONGEST_SHOWN = 60
_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "": 1}


def name_and_value(text: str) -> tuple[str, str]:
    """`NAME=VALUE` as a pair."""
    name, separator, value = text.partition("=")
    if not separator or not name:
        # The text may be a secret, so only the part that names it is shown.
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, found `{_shown(name)}`")
    if is_secret_name(name):
        register(value)
    return name, value


def path(text: str) -> str:
    """A path. An empty one is refused: it would be the current folder, which nobody means."""
    if not text:
        raise argparse.ArgumentTypeError("expected a path, found nothing")
    return text


def variable(text: str) -> str:
    """The name of an environment variable, or its beginning with `*`."""
    if not text or "=" in text or "*" in text[:-1]:
        raise argparse.ArgumentTypeError(f"expected the name of a variable such as TOKEN or S3_*, found `{text}`")
    return text


def dtypes(text: str) -> tuple[str, ...]:
    """Dtypes of Transformers.js, separated by commas."""
    return _listed(text, ("fp32", "fp16", "q8", "int8", "uint8", "q4", "q4f16", "bnb4"), "dtype")


def clients(text: str) -> tuple[str, ...]:
    """Clients of Transformers.js, separated by commas; `none` is none."""
    return () if text.strip() == "none" else _listed(text, _CLIENTS, "client", instead="`none`, or ")


def _listed(text: str, known: tuple[str, ...], what: str, *, instead: str = "") -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in known:
            expected = f"{instead}some of {', '.join(known)}"
            raise argparse.ArgumentTypeError(f"`{_shown(name)}` is no {what}: expected {expected}")
    return names


def positive(text: str) -> int:
    """An integer from 1 to a million."""
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"expected a number from 1, found `{_shown(text)}`")
    return int(text)


def port(text: str) -> int:
    """The number of a port; 0 is any free one."""
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS and int(text) <= _LAST_PORT):
        raise argparse.ArgumentTypeError(f"expected a port from 0 to {_LAST_PORT}, found `{_shown(text)}`")
    return int(text)


def seconds(text: str) -> float:
    """A duration in seconds, above zero."""
    number = _number(text)
    if number is None or not 0 < number <= _LONGEST_SECONDS:
        raise argparse.ArgumentTypeError(f"expected a number of seconds, found `{_shown(text)}`")
    return number


def milliseconds(text: str) -> float:
    """A duration in milliseconds, zero or more."""
    number = _number(text)
    if number is None or not 0 <= number <= _LONGEST_SECONDS:
        raise argparse.ArgumentTypeError(f"expected a number of milliseconds, found `{_shown(text)}`")
    return number


def days(text: str) -> float:
    """A duration in days, zero or more."""
    number = _number(text)
    if number is None or not number >= 0:
        raise argparse.ArgumentTypeError(f"expected a number of days, found `{_shown(text)}`")
    return number


def size(text: str) -> int:
    """A number of bytes, with a decimal unit such as `20GB` or without one."""
    digits = text.rstrip("BKMGTbkmgt")
    number, factor = _number(digits), _UNITS.get(text[len(digits) :].upper())
    if number is None or factor is None or number < 0:
        raise argparse.ArgumentTypeError(f"expected a size such as 20GB, found `{_shown(text)}`")
    return int(number * factor)


def _number(text: str) -> float | None:
    """A finite number; None for any other text."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if number - number == 0 else None  # infinity and NaN differ from themselves


def _shown(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
