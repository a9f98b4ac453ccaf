"""The bodies of requests. A field that is not here is refused, so that nothing is silently ignored."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

Texts = str | list[str]
# Larger numbers do not fit into a frame to the process of a model.
_Count = Annotated[int, Meta(ge=1, le=(1 << 31) - 1)]
_Seed = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
_MODEL = Annotated[str, Meta(description="a name that /v1/models lists; may be left out if the server has one model")]


class Embeddings(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of /v1/embeddings, as OpenAI defines it."""

    input: Annotated[Any, Meta(description="a text, or a list of texts")]
    model: _MODEL = ""
    encoding_format: Annotated[
        Literal["float", "base64"], Meta(description="numbers, or little-endian float32 in base64")
    ] = "float"
    dimensions: Annotated[int | None, Meta(description="refused unless it is what the model has")] = None
    user: Annotated[str | None, Meta(description="not used")] = None


class Rerank(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of /v1/rerank, as Cohere and Jina define it."""

    query: str
    documents: Annotated[list[str | dict[str, str]], Meta(description='texts, or objects with a "text"')]
    model: _MODEL = ""
    top_n: Annotated[_Count | None, Meta(description="how many results, the best first; all by default")] = None
    return_documents: Annotated[bool, Meta(description="whether results repeat the texts")] = False


class Classify(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of /classify."""

    input: Annotated[Texts, Meta(description="a text, or a list of texts")]
    model: _MODEL = ""
    top_k: Annotated[_Count | None, Meta(description="how many labels, the likeliest first; all by default")] = None


class TokenClassify(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of /token-classify."""

    input: Annotated[Texts, Meta(description="a text, or a list of texts")]
    model: _MODEL = ""
    aggregation: Annotated[
        Literal["simple", "none"], Meta(description="whether neighbouring tokens of one entity become one")
    ] = "simple"


class StreamOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """What a stream has besides text."""

    include_usage: Annotated[bool, Meta(description="whether a last event has the numbers of tokens")] = False


class _Writing(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What both addresses that write text have."""

    model: _MODEL = ""
    max_tokens: Annotated[_Count | None, Meta(description="the most tokens of the completion")] = None
    temperature: Annotated[
        Annotated[float, Meta(ge=0, le=2)] | None,
        Meta(description="0 takes the likeliest token; by default what the model's generation_config.json says, or 1"),
    ] = None
    top_p: Annotated[
        Annotated[float, Meta(gt=0, le=1)] | None,
        Meta(description="draw from the likeliest tokens that have this probability together"),
    ] = None
    seed: Annotated[_Seed | None, Meta(description="the same seed draws the same tokens, on this machine")] = None
    stop: Annotated[
        str | Annotated[list[str], Meta(max_length=4)] | None, Meta(description="texts that end the completion")
    ] = None
    stream: Annotated[bool, Meta(description="send the text while it is written, as server-sent events")] = False
    stream_options: StreamOptions | None = None
    n: Annotated[Literal[1], Meta(description="one completion per request")] = 1
    presence_penalty: Annotated[float, Meta(ge=0, le=0, description="not supported")] = 0
    frequency_penalty: Annotated[float, Meta(ge=0, le=0, description="not supported")] = 0
    user: Annotated[str | None, Meta(description="not used")] = None

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop texts; an empty one stops nothing."""
        given = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(filter(None, given))


class Completions(_Writing, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body of /v1/completions, as OpenAI defines it."""

    prompt: Annotated[str | list[str], Meta(description="a text, or a list of one text")]


class Part(Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a message."""

    text: str
    type: Literal["text"] = "text"


class Message(Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody said."""

    role: str
    content: str | list[Part]

    @property
    def text(self) -> str:
        """The content as one text."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ChatCompletions(_Writing, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body of /v1/chat/completions, as OpenAI defines it."""

    messages: Annotated[list[Message], Meta(min_length=1)]
    max_completion_tokens: Annotated[_Count | None, Meta(description="the same as `max_tokens`")] = None
