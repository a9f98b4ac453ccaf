"""Plain scalars, read by the core schema of YAML 1.2.

PyYAML follows YAML 1.1, in which `no` is a boolean, `010` is 8, `1:30` is 90 and `1e-3` is a string.
"""

from __future__ import annotations

import math
import re

Scalar = str | int | float | bool | None

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEAN = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LARGEST_INTEGER = 2**63 - 1  # JSON readers and ONNX disagree about larger numbers
_LONGEST_NUMBER = 400  # digits; Python refuses to read integers of several thousand digits

_FIRST_OF_OTHERS = frozenset("0123456789+-.~nNtTfF")
_CORE_TAG = "tag:yaml.org,2002:"


def plain(text: str) -> Scalar:
    """The value of an unquoted scalar.

    Errors: ValueError with a message for a number that is infinite, not a number, or too large.
    """
    if text and text[0] not in _FIRST_OF_OTHERS:
        return text
    if text in _NULL:
        return None
    if text in _BOOLEAN:
        return _BOOLEAN[text]
    return _number(text)


def tagged(text: str, tag: str) -> Scalar:
    """The value of a scalar with a tag of the core schema (`!!str 5`).

    Errors: ValueError with a message for an unknown tag, or a text that the tag does not allow.
    """
    name = tag.removeprefix(_CORE_TAG)
    if not tag.startswith(_CORE_TAG) or name not in {"str", "int", "float", "bool", "null"}:
        raise ValueError(f"unknown tag `{tag.replace(_CORE_TAG, '!!')}`")
    if name == "str":
        return text
    value = plain(text)
    wanted: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,), "null": (type(None),)}
    if not isinstance(value, wanted[name]) or (isinstance(value, bool) and name != "bool"):
        raise ValueError(f"`{text}` does not have the type of its tag `!!{name}`")
    return float(value) if name == "float" and isinstance(value, int) else value


def _number(text: str) -> Scalar:
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(f"expected a finite number, found `{text}`")
    base = (
        10 if _INTEGER.fullmatch(text) else 8 if _OCTAL.fullmatch(text) else 16 if _HEXADECIMAL.fullmatch(text) else 0
    )
    if base:
        value = int(text if base == 10 else text[2:], base) if len(text) < _LONGEST_NUMBER else _LARGEST_INTEGER + 1  # noqa: PLR2004
        if abs(value) > _LARGEST_INTEGER:
            raise ValueError(f"the number `{_short(text)}` is too large: at most {_LARGEST_INTEGER}")
        return value
    if _FLOAT.fullmatch(text):
        number = float(text)
        if math.isinf(number):
            raise ValueError(f"the number `{_short(text)}` is too large")
        return number
    return text


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."  # noqa: PLR2004
