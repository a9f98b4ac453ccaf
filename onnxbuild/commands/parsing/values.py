"""Types of arguments: each turns the text of one argument into a value, or says what was expected."""

from __future__ import annotations

import argparse

_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "": 1}


def name_and_value(text: str) -> tuple[str, str]:
    """`NAME=VALUE` as a pair."""
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, found `{text}`")
    return name, value


def path(text: str) -> str:
    """A path: an empty one would be the current folder, which nobody meant."""
    if not text:
        raise argparse.ArgumentTypeError("expected a path, found nothing")
    return text


def variable(text: str) -> str:
    """The name of an environment variable, or its beginning with `*`."""
    if not text or "=" in text or "*" in text[:-1]:
        raise argparse.ArgumentTypeError(f"expected the name of a variable such as TOKEN or S3_*, found `{text}`")
    return text


def positive(text: str) -> int:
    """An integer from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1, found `{text}`")
    return int(text)


def seconds(text: str) -> float:
    """A duration in seconds, above zero."""
    number = _number(text)
    if number is None or not number > 0:
        raise argparse.ArgumentTypeError(f"expected a number of seconds, found `{text}`")
    return number


def days(text: str) -> float:
    """A duration in days, zero or more."""
    number = _number(text)
    if number is None or not number >= 0:
        raise argparse.ArgumentTypeError(f"expected a number of days, found `{text}`")
    return number


def size(text: str) -> int:
    """A number of bytes, with a decimal unit such as `20GB` or without one."""
    digits = text.rstrip("BKMGTbkmgt")
    number, factor = _number(digits), _UNITS.get(text[len(digits) :].upper())
    if number is None or factor is None:
        raise argparse.ArgumentTypeError(f"expected a size such as 20GB, found `{text}`")
    return int(number * factor)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
