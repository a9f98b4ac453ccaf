"""The bodies of requests. A field that is not here is refused, so that nothing is silently ignored."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

Texts = str | list[str]
_Count = Annotated[int, Meta(ge=1)]
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
