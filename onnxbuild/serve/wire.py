"""What passes between the server and the process of a model: MessagePack values, each behind its length.

A frame is four bytes with the length in network order, then that many bytes. Vectors travel as float32 in the order of
this machine, because both processes run on it.
"""

from __future__ import annotations

import struct
from typing import BinaryIO, Literal

import msgspec
from msgspec import Struct

Ability = Literal["embed", "classify", "rerank", "tag", "generate"]
Ended = Literal["", "stop", "length"]

LENGTH = struct.Struct("!I")


class Item(Struct, frozen=True, array_like=True):
    """One text, or a pair of texts."""

    text: str
    pair: str | None = None


class Entity(Struct, frozen=True, array_like=True):
    """A token with a label, by its place in the text."""

    label: str
    score: float
    start: int
    end: int


class Row(Struct, frozen=True, array_like=True):
    """The answer for one item, and how many tokens the model read for it."""

    tokens: int
    vector: bytes = b""
    scores: tuple[float, ...] = ()
    entities: tuple[Entity, ...] = ()


class About(Struct, frozen=True):
    """What a model can do, as its process found when it opened the folder."""

    abilities: tuple[Ability, ...]
    positions: int  # tokens that one item may have
    dimensions: int = 0
    labels: tuple[str, ...] = ()
    has_chat: bool = False


class Sampling(Struct, frozen=True, kw_only=True):
    """How tokens are chosen; None is what the model's `generation_config.json` says."""

    max_tokens: int
    whole: bool  # whether a prompt with less room than `max_tokens` is refused
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()


# -- to the process of a model ----------------------------------------------------------------------------------------


class Batch(Struct, frozen=True, tag="batch"):
    """Items to run together. `ability` says what is wanted of them."""

    id: int
    ability: Ability
    items: tuple[Item, ...]


class Prompt(Struct, frozen=True, tag="prompt"):
    """A text to continue; with `messages`, a conversation for the chat template."""

    id: int
    sampling: Sampling
    text: str = ""
    messages: tuple[dict[str, str], ...] = ()


class Cancel(Struct, frozen=True, tag="cancel"):
    """Nobody waits for the rest of a prompt any more."""

    id: int


# -- from the process of a model --------------------------------------------------------------------------------------


class Ready(Struct, frozen=True, tag="ready"):
    """The model is open."""

    about: About


class Unusable(Struct, frozen=True, tag="unusable"):
    """The model cannot be opened; the process ends."""

    message: str


class Rows(Struct, frozen=True, tag="rows"):
    """The answers for the items of a batch, in their order."""

    id: int
    rows: tuple[Row, ...]


class Piece(Struct, frozen=True, tag="piece"):
    """More text of a completion, and at the end why it ended. `tokens`: those of the prompt and of the completion."""

    id: int
    text: str
    ended: Ended = ""
    tokens: tuple[int, int] = (0, 0)


class Refusal(Struct, frozen=True, tag="refusal"):
    """A request that this model cannot answer. `is_fault`: the request is right, and the model failed."""

    id: int
    message: str
    is_fault: bool = False


ToModel = Batch | Prompt | Cancel
FromModel = Ready | Unusable | Rows | Piece | Refusal

_ENCODER = msgspec.msgpack.Encoder()
TO_MODEL = msgspec.msgpack.Decoder(ToModel)
FROM_MODEL = msgspec.msgpack.Decoder(FromModel)


def framed(value: ToModel | FromModel) -> bytes:
    """A value as the bytes of one frame."""
    content = _ENCODER.encode(value)
    return LENGTH.pack(len(content)) + content


def read_frame(stream: BinaryIO) -> bytes | None:
    """The content of the next frame; None at the end of the stream."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    content = stream.read(length)
    return content if len(content) == length else None
