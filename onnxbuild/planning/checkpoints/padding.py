"""A token of padding that the model has no row for: a tokenizer got it, and the model was not resized."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from onnxbuild.diagnostics import Diagnostic, Span, fault
from onnxbuild.planning.local_files import LocalFiles
from onnxbuild.regular_files import read_regular
from onnxbuild.tables.positions import text_part

_FILE = "tokenizer_config.json"
_LARGEST = 8 << 20  # bytes


def outside_vocabulary(local: LocalFiles, root: str, config: Mapping[str, Any], at: Span) -> Diagnostic | None:
    """OB626 for a checkpoint whose tokenizer pads with an id beyond the model's vocabulary."""
    vocabulary = text_part(config).get("vocab_size")
    found = _padding(local, root)
    if found is None or not isinstance(vocabulary, int) or found[0] < vocabulary:
        return None
    number, token = found
    return fault(
        "OB626",
        f"the tokenizer pads with `{token}`, which has the id {number}, and the model's vocabulary ends at"
        f" {vocabulary - 1}",
        span=at,
        hint="call `model.resize_token_embeddings(len(tokenizer))` and save both, or set another `pad_token`, such as"
        " the end token; batches of several texts fail otherwise, in PyTorch too",
        severity="warning",
    )


def _padding(local: LocalFiles, root: str) -> tuple[int, str] | None:
    """The id and the text of the token of padding, where it is one that was added to the tokenizer."""
    path = os.path.join(root, _FILE)
    local.files[path] = None
    try:
        # In the Hub's cache it is a link; `stay_inside` has checked where it leads.
        config = json.loads(read_regular(os.path.realpath(path), _LARGEST))
        token = _text(config["pad_token"])
        ids = [int(number) for number, one in config["added_tokens_decoder"].items() if _text(one) == token]
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return None  # whoever reads texts says what is wrong with it
    return (ids[0], str(token)) if ids and token is not None else None


def _text(token: Any) -> Any:
    return token["content"] if isinstance(token, Mapping) else token
