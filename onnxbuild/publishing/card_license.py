"""The license in the metadata of a model card: what the Hub shows beside the name of a repository."""

from __future__ import annotations

import re

LICENSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+()-]{0,95}")
_FENCE = "---\n"
_FIELD = re.compile(r"^license:[ \t]*(.*?)[ \t]*$", re.MULTILINE)


def with_license(card: str, license: str, base_model: str = "") -> str:  # noqa: A002 - the word of the card
    """The card with the license in its metadata; other text stays as it is. An empty card gets its first lines.

    Errors: ValueError for a card that states another license, and for a text that is none.
    """
    if not license:
        return card
    if not LICENSE.fullmatch(license):
        raise ValueError(f"the license `{license}` is no word that the metadata of a card can have")
    metadata, body = parts_of_card(card)
    stated = _FIELD.search(metadata)
    if stated is not None:
        if stated[1].strip("'\"").lower() != license.lower():
            raise ValueError(f"the card states the license `{stated[1]}`, not `{license}`")
        return card
    lines = [f"license: {license}"]
    if base_model and not re.search(r"^base_model:", metadata, re.MULTILINE):
        lines.append(f"base_model: {base_model}")
    lines += [] if card else ["library_name: onnx", "tags:", "- onnx"]
    return f"{_FENCE}{metadata}{''.join(line + chr(10) for line in lines)}{_FENCE}{body}"


def parts_of_card(card: str) -> tuple[str, str]:
    """The metadata of a card and what follows them."""
    text = card.replace("\r\n", "\n")
    if text.startswith(_FENCE):
        metadata, fence, body = text[len(_FENCE) :].partition(f"\n{_FENCE}")
        if fence:
            return f"{metadata}\n", body
    return "", f"\n{text}" if text else ""
