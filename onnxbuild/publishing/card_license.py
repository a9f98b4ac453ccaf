"""The license in the metadata of a model card: what the Hub shows beside the name of a repository.

The lines are read without YAML: it would take too long for the results in some cards, and a card whose metadata are
damaged still says under which license the model is.
"""

from __future__ import annotations

import re

LICENSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+()-]{0,95}")
_FENCE = "---\n"
_BLOCK = re.compile(r"\A\ufeff?\s*---[ \t]*\r?\n(?:(.*?)\r?\n)??---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
# The value beside a key, and the items of a list below it.
_LINES = r"^(['\"]?){key}\1[ \t]*:(.*)$((?:\n[ \t]*-[ \t].*)*)"
_COMMENT = re.compile(r"(?:^|(?<=\s))#.*$")
_NOTHING = frozenset({"", "~", "null"})
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def text_of_card(data: bytes) -> str:
    """The text of a README.md, which should be UTF-8. Bytes that are not stay as they are, as surrogates."""
    if data.startswith(_UTF_16):
        return data.decode("utf-16", "replace")
    return data.decode("utf-8-sig", "surrogateescape")


def stated_in(metadata: str, key: str) -> tuple[str, ...]:
    """The texts that the metadata of a card give a key, such as `license`: one, or those of a list."""
    found = re.search(_LINES.format(key=key), metadata, re.MULTILINE)
    if found is None:
        return ()
    value = _COMMENT.sub("", found[2]).strip()
    items = [value]
    if not value:
        items = [line.strip()[1:] for line in found[3].split("\n") if line]
    elif value.startswith("[") and value.endswith("]"):
        items = value[1:-1].split(",")
    texts = (_unquoted(_COMMENT.sub("", item).strip()) for item in items)
    return tuple(text for text in texts if text.lower() not in _NOTHING)


def _unquoted(text: str) -> str:
    """A text without its quotes; one that continues on the next line keeps them."""
    is_quoted = len(text) > 1 and text[0] in "'\"" and text[0] == text[-1]
    return text[1:-1].strip() if is_quoted else text


def with_license(card: str, license: str, base_model: str = "") -> str:  # noqa: A002 - the word of the card
    """The card with the license in its metadata; other text stays as it is. An empty card gets its first lines.

    Errors: ValueError for a card that states another license, and for a text that is none.
    """
    if not license:
        return card
    if not LICENSE.fullmatch(license):
        raise ValueError(f"the license `{license}` is no word that the metadata of a card can have")
    metadata, body = parts_of_card(card)
    stated = stated_in(metadata, "license")
    if stated:
        _check_same(stated, stated_in(metadata, "license_name"), license)
        return card
    lines = [f"license: {license}"]
    if base_model and not stated_in(metadata, "base_model"):
        lines.append(f"base_model: {base_model}")
    lines += [] if card else ["tags:", "- onnx"]
    # A key without a value would be there twice.
    metadata = re.sub(r"^license[ \t]*:.*\n", "", metadata, flags=re.MULTILINE)
    return f"{_FENCE}{metadata}{''.join(line + chr(10) for line in lines)}{_FENCE}{body}"


def _check_same(stated: tuple[str, ...], names: tuple[str, ...], license: str) -> None:  # noqa: A002
    """Errors: ValueError where a card states other licenses. `other` is the one that the card names."""
    known = [one.lower() for one in stated]
    if license.lower() not in (*known, *(name.lower() for name in names if "other" in known)):
        words = "the license" if len(stated) == 1 else "the licenses"
        raise ValueError(f"the card states {words} {', '.join(f'`{one}`' for one in stated)}, not `{license}`")


def parts_of_card(card: str) -> tuple[str, str]:
    """The metadata of a card, in lines that end as on Unix, and what follows them."""
    found = _BLOCK.match(card)
    if found is not None:
        metadata = (found[1] or "").replace("\r\n", "\n")
        return f"{metadata}\n" if metadata else "", card[found.end() :]
    text = card.removeprefix("\ufeff")
    return "", f"\n{text}" if text else ""
