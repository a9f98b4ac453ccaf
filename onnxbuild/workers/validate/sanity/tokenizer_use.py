"""Whether a tokenizer that gives the same ids is also used in the same way: pairs, cuts, padding, and back to text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from onnxbuild.workers.inputs.own_rows import own_rows
from onnxbuild.workers.inputs.sample_source import Source

_MOST_TEXT = 80
_CUT = 8  # tokens of a text that is cut


def other_use(right: Any, source: Source, longest: int | None) -> str | None:
    """What the tokenizer beside the graph does otherwise than the right one; None if nothing.

    `longest`: the most tokens that the variant was made for, where it may cut texts earlier.
    """
    return _other_limit(right, source, longest) or next(filter(None, _other_results(right, source)), None)


def _other_results(right: Any, source: Source) -> list[str | None]:
    found = []
    for words, use in _USES.items():
        if "padding" in words and (source.folder / "genai_config.json").is_file():
            continue  # its attention counts the tokens of a row from its start, so it pads otherwise
        wanted, actual = (_result(use, one) for one in (right, source.tokenizer))
        differs = wanted is not None and actual is not None and wanted != actual
        found.append(
            f"the tokenizer beside the graph {words}: {_shown(actual)}, not {_shown(wanted)}" if differs else None
        )
    return found


def _shown(result: Any) -> str:
    text = str(result)
    return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}…"


def _result(use: Callable[[Any], Any], tokenizer: Any) -> Any:
    """What a use gives, None for a tokenizer that has not got it."""
    try:
        return use(tokenizer)
    except Exception:  # noqa: BLE001 - any tokenizer of any checkpoint: some take no pairs, or have no padding
        return None


def _pair(tokenizer: Any) -> Any:
    row = own_rows("pairs")[0]
    encoded = tokenizer(row["text"], row["other"])
    return [list(encoded[name]) for name in ("token_type_ids", "input_ids") if name in encoded]


def _cut(tokenizer: Any) -> Any:
    return list(tokenizer(own_rows("pairs")[0]["text"], truncation=True, max_length=_CUT)["input_ids"])


def _text(tokenizer: Any) -> Any:
    return tokenizer.decode(tokenizer(own_rows("pairs")[0]["text"])["input_ids"], skip_special_tokens=True)


_USES: Mapping[str, Callable[[Any], Any]] = {
    "encodes pairs of texts otherwise": _pair,
    "cuts long texts otherwise": _cut,
    "has another token for padding": lambda tokenizer: tokenizer.pad_token_id,
    "has its padding on another side": lambda tokenizer: tokenizer.padding_side,
    "makes another text of the same ids": _text,
}


def _other_limit(right: Any, source: Source, longest: int | None) -> str | None:
    """A text that is cut earlier than by the reference, and than the variant's own limits say."""
    actual, wanted = (getattr(one, "model_max_length", None) for one in (source.tokenizer, right))
    if not isinstance(actual, int) or wanted is None:
        return None
    due = min(int(wanted), source.positions, *([longest] if longest is not None else []))
    return f"the tokenizer beside the graph cuts texts at {actual} tokens, not {due}" if actual < due else None
