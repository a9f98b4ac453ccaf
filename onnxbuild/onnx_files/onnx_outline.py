"""The outline of an ONNX file: what it takes as input, and which files hold its weights, read without a framework.

The engine needs both before it may import onnx, and a worker does not have to parse gigabytes of weights to know them.
An ONNX file is a protobuf message: fields of a number, a type and a value, where a value can be a message again. What
is not needed is skipped, and the weights in the file are never read. The numbers of the fields are those of
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, and never change.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import IO

from msgspec import Struct

from onnxbuild.regular_files import open_regular

# Message → the fields that may contain tensors, with the message that each of them is.
_PARTS: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_GRAPH_INPUT, _GRAPH_OUTPUT, _VALUE_NAME = 11, 12, 1
_OPSET_IMPORT, _DOMAIN, _VERSION = 8, 1, 2
_STANDARD = ("", "ai.onnx")
_TENSOR_NAME, _EXTERNAL_DATA, _DATA_LOCATION = 8, 13, 14
_EXTERNAL = 1
_KEY, _VALUE = 1, 2

DESCRIPTION = "onnxbuild.json"  # what a delivery writes beside a model

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED: Mapping[int, int] = {_FIXED64: 8, _FIXED32: 4}

# Every tensor that refers to a file contains this word, so a small message without it is skipped as a whole.
_MARK = b"location"
_SMALL_BYTES = 1 << 20
# More than any real graph has. A file of somebody else must not keep `lint` busy for minutes.
_DEEPEST, _MOST_FIELDS, _LONGEST_TEXT = 60, 2_000_000, 4096


class NotOnnx(ValueError):  # noqa: N818 - its text says what the file is instead
    """A file is not an ONNX model, or is too large or too deeply nested to be read as one."""


class Outline(Struct, frozen=True):
    """The names that a graph must be fed, and its files of weights as they are written in it, with the bytes needed.

    `opset` is the version of the standard operators, 0 if the file names none. `stated`: weights that are listed as
    inputs, too, as all are up to IR version 3. `outputs`: the names of what it returns.
    """

    inputs: tuple[str, ...]
    data: Mapping[str, int]
    opset: int = 0
    stated: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


def read_outline(path: str | os.PathLike[str]) -> Outline:
    """The outline of the ONNX file at `path`. Errors: NotOnnx; OSError for a file that cannot be read."""
    reader = _Reader()
    with io.BufferedReader(open_regular(path), 1 << 16) as file:
        reader.read("model", file, os.fstat(file.fileno()).st_size, 0)
    if not reader.nodes:
        raise NotOnnx("it has no graph with a node")
    inputs = tuple(name for name in reader.inputs if name not in reader.stored)
    stated = tuple(name for name in reader.inputs if name in reader.stored)
    return Outline(inputs, dict(sorted(reader.data.items())), reader.opset, stated, tuple(reader.outputs))


def below_its_folder(location: str) -> str | None:
    """The normal form of a location, relative to the folder of its graph; None if it is absolute or may lead out."""
    path = PurePosixPath(location)
    if path.is_absolute() or PureWindowsPath(location).anchor or ".." in path.parts or not path.name:
        return None
    return path.as_posix()


def is_description(location: str) -> bool:
    """Whether a location is that of the description, which would overwrite the weights."""
    return location.casefold() == DESCRIPTION


class _Reader:
    """Collects what one file says."""

    def __init__(self) -> None:
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        self.stored: set[str] = set()  # names of the weights of the outermost graph
        self.data: dict[str, int] = {}
        self.nodes = 0
        self.opset = 0
        self._fields_left = _MOST_FIELDS

    def read(self, message: str, file: IO[bytes], end: int, depth: int) -> None:
        """Read a message up to `end`, and all messages in it that may have tensors."""
        if depth > _DEEPEST:
            raise NotOnnx("its graphs are nested too deeply")
        outermost = message == "graph" and depth == 1
        for number, length in self._fields(file, end):
            part = _PARTS[message].get(number)
            if part == "tensor":
                self._tensor(file, file.tell() + length, outermost=outermost)
            elif part is not None:
                self.nodes += part == "node"
                self._part(part, file, length, depth + 1)
            elif message == "model" and number == _OPSET_IMPORT:
                self._opset(file, file.tell() + length)
            elif outermost and number in {_GRAPH_INPUT, _GRAPH_OUTPUT}:
                name = self._texts(file, file.tell() + length).get(_VALUE_NAME, "")
                (self.inputs if number == _GRAPH_INPUT else self.outputs).append(name)

    def _part(self, message: str, file: IO[bytes], length: int, depth: int) -> None:
        if length > _SMALL_BYTES or message == "graph":
            self.read(message, file, file.tell() + length, depth)
            return
        content = file.read(length)
        if _MARK in content:
            self.read(message, io.BytesIO(content), length, depth)

    def _opset(self, file: IO[bytes], end: int) -> None:
        domain, version = "", 0
        for number, value in self._fields(file, end, varints=True):
            if number == _DOMAIN:
                domain = _text(file, value)
            elif number == _VERSION:
                version = value
        if domain in _STANDARD:
            self.opset = version

    def _tensor(self, file: IO[bytes], end: int, *, outermost: bool) -> None:
        name, external, entries = "", False, dict[str, str]()
        for number, value in self._fields(file, end, varints=True):
            if number == _TENSOR_NAME:
                name = _text(file, value)
            elif number == _DATA_LOCATION:
                external = value == _EXTERNAL
            elif number == _EXTERNAL_DATA:
                entry = self._texts(file, file.tell() + value)
                entries[entry.get(_KEY, "")] = entry.get(_VALUE, "")
        if outermost:
            self.stored.add(name)
        if external:
            location = entries.get("location", "")
            until = _number(entries.get("offset")) + _number(entries.get("length"))
            self.data[location] = max(until, self.data.get(location, 0))

    def _texts(self, file: IO[bytes], end: int) -> dict[int, str]:
        """The first two fields of a message as texts; a value's name and an entry's key and value are among them."""
        wanted = (_KEY, _VALUE)
        return {number: _text(file, length) for number, length in self._fields(file, end) if number in wanted}

    def _fields(self, file: IO[bytes], end: int, *, varints: bool = False) -> Iterator[tuple[int, int]]:
        """The number of each field, and the length of its bytes, at which the file then stands.

        With `varints` also the fields that are integers, with their value.
        """
        place = file.tell()
        while place < end:
            self._fields_left -= 1
            if self._fields_left < 0:
                raise NotOnnx("it has too many parts")
            tag = _varint(file)
            number, kind = tag >> 3, tag & 7
            value = _FIXED[kind] if kind in _FIXED else _varint(file) if kind in {_VARINT, _BYTES} else -1
            place = file.tell() + (0 if kind == _VARINT else value)
            if value < 0 or number == 0 or place > end:
                raise NotOnnx("its content is damaged, or has another format")
            if kind == _BYTES or (varints and kind == _VARINT):
                yield number, value
            file.seek(place)


def _varint(file: IO[bytes]) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            break
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:  # noqa: PLR2004 - the last byte of a number lacks the highest bit
            return value
    raise NotOnnx("its content is damaged, or has another format")


def _text(file: IO[bytes], length: int) -> str:
    if length > _LONGEST_TEXT:
        raise NotOnnx("it has a name of extreme length")
    return file.read(length).decode("utf-8", errors="surrogateescape")


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() and len(text) < 20 else 0  # noqa: PLR2004 - fits 64 bits
