"""The card of a package, among its files and its checksums: results decide its text, so no step can write it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from onnxbuild.digest import digest_bytes
from onnxbuild.execute.events import Outcome
from onnxbuild.planning.action_graph import Variant
from onnxbuild.publishing.sha256_sums import sha256_of_bytes
from onnxbuild.publishing.uploaded_files import CARD, SUMS_OF_PACKAGE, with_sum
from onnxbuild.store.content import File, Tree
from onnxbuild.store.store import Store

# The text of the card of a package, from the one that the package came with (empty if it has none).
CardOf = Callable[[Variant, bytes, Mapping[str, Outcome]], bytes]


def with_card(
    content: Tree, variant: Variant, card_of: CardOf, outcomes: Mapping[str, Outcome], store: Store
) -> tuple[Tree, Mapping[str, bytes]]:
    """The files of a package with its card, and the texts among them that the store does not have. Errors: OSError."""
    places = {file.name: store.content.path(file.digest) for file in content.files}
    card = card_of(variant, places[CARD].read_bytes() if CARD in places else b"", outcomes)
    texts = {CARD: card}
    if SUMS_OF_PACKAGE in places:
        sums = places[SUMS_OF_PACKAGE].read_text(encoding="utf-8")
        texts[SUMS_OF_PACKAGE] = with_sum(sums, sha256_of_bytes(card)).encode()
    kept = [file for file in content.files if file.name not in texts]
    made = [File(name, digest_bytes(text), len(text)) for name, text in texts.items()]
    return Tree(tuple(sorted((*kept, *made), key=lambda file: file.name))), texts
