"""The license that a source states: in the card of its repository, its README.md, its config.json or its LICENSE file.

Nothing is guessed. A text that is not the name of a license, or not exactly a license that is known, states none.
"""

from __future__ import annotations

import re
from typing import Any

from msgspec import Struct

from onnxbuild.digest import digest_bytes
from onnxbuild.publishing.card_license import parts_of_card, stated_in, text_of_card

LICENSE_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,39}")
_OTHER = "other"
_OTHER_NAME = re.compile(r"[\w .,()+-]{1,80}")
_LINK = re.compile(r"https?://[\w./%#?=&+-]{1,300}")  # a file of the source is not among those of a package
_SPDX = re.compile(r"SPDX-License-Identifier:\s*(\S+)\s*$", re.MULTILINE)
# The part of a license that is the same for every owner, and the digest of its words.
_SAME_FOR_ALL = {
    "Apache-2.0": (
        re.compile(r"TERMS AND CONDITIONS FOR USE, REPRODUCTION.*END OF TERMS AND CONDITIONS", re.DOTALL),
        "00221fa5b67d3cff0cf1d829409628393618e8a9c958d3e5dc4989312b0b1d33",
    ),
    "MIT": (
        re.compile(r"Permission is hereby granted, free of charge.*", re.DOTALL),
        "145d2d3163a27cd860bfb906378848983c2c986bc9858e128f9b788c90c619be",
    ),
}
_TOP = 500  # characters at the beginning of a file, where a name stands for the whole of it
_MOST_BESIDE = 2000  # characters beside that part: names of owners, and the appendix of Apache's


def license_name(value: Any) -> str | None:
    """A value that is the name of a license, also as the only one of a list."""
    value = value[0] if isinstance(value, list) and len(value) == 1 else value
    return value if isinstance(value, str) and _NAME.fullmatch(value) and value.lower() != "null" else None


def license_of_card(answer: Any) -> str | None:
    """What the Hub knows of the card of a repository, from its answer about a revision."""
    card = answer.get("cardData") if isinstance(answer, dict) else None
    return license_name(card.get("license")) if isinstance(card, dict) else None


def license_of_readme(data: bytes) -> str | None:
    """What the metadata at the beginning of a README.md state."""
    metadata, _ = parts_of_card(text_of_card(data))
    return license_name(list(stated_in(metadata, "license")))


class OtherLicense(Struct, frozen=True):
    """What a card says of a license for which the Hub has no word (`license: other`): its name, and its address."""

    name: str | None = None
    link: str | None = None


def other_license(license: str | None, name: Any, link: Any) -> OtherLicense:  # noqa: A002 - the word of the card
    """The name and the address beside `license: other`, if they have the form of such; nothing for other licenses."""
    if license != _OTHER:
        return OtherLicense()
    return OtherLicense(
        name if isinstance(name, str) and _OTHER_NAME.fullmatch(name) else None,
        link if isinstance(link, str) and _LINK.fullmatch(link) else None,
    )


def other_license_of_card(answer: Any) -> OtherLicense:
    """The same of the card of a repository, from the Hub's answer about a revision."""
    card = answer.get("cardData") if isinstance(answer, dict) else None
    card = card if isinstance(card, dict) else {}
    return other_license(license_of_card(answer), card.get("license_name"), card.get("license_link"))


def other_license_of_readme(data: bytes) -> OtherLicense:
    """The same of the metadata at the beginning of a README.md."""
    metadata, _ = parts_of_card(text_of_card(data))
    name, link = (next(iter(stated_in(metadata, key)), None) for key in ("license_name", "license_link"))
    return other_license(license_of_readme(data), name, link)


def license_of_text(data: bytes) -> str | None:
    """The license whose text a LICENSE file has, or that it names by its SPDX identifier."""
    text = text_of_card(data)
    if named := _SPDX.search(text[:_TOP]):
        return license_name(named[1])
    parts = {name: (form.search(text), digest) for name, (form, digest) in _SAME_FOR_ALL.items()}
    found = {name: (part[0], digest) for name, (part, digest) in parts.items() if part}
    if len(found) != 1:  # a file with two licenses says which part has which
        return None
    name, (part, digest) = found.popitem()
    is_all = len(text) - len(part) <= _MOST_BESIDE
    return name if is_all and digest_bytes(" ".join(part.split()).encode("utf-8", "replace")) == digest else None
