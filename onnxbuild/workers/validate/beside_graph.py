"""Whether the files beside a graph say the same as those of the reference: tokenizer, names of labels, settings.

Both sides of a comparison read the same ids, so that a wrong tokenizer or wrong names beside a right graph do not show
in any output.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxbuild.workers.folders.configs import read_config
from onnxbuild.workers.inputs.own_rows import all_texts
from onnxbuild.workers.inputs.sample_source import Source
from onnxbuild.workers.inputs.tokenizer import load_tokenizer
from onnxbuild.workers.validate.sanity.settings import other_settings
from onnxbuild.workers.validate.sanity.tokenizer_use import other_use

Difference = tuple[str, str]  # a failure code and its message


def differences(source: Source, reference: Path, longest: int | None, *, trusts_code: bool) -> list[Difference]:
    """What the folder of the variant says otherwise than that of the reference; `longest`: where texts may be cut."""
    found = [
        _other_tokens(source, reference, longest, trusts_code=trusts_code),
        _other_labels(source.config, read_config(reference)),
    ]
    return [*(one for one in found if one is not None), *other_settings(source.folder, reference)]


def _other_tokens(source: Source, reference: Path, longest: int | None, *, trusts_code: bool) -> Difference | None:
    """OBE110 where the two tokenizers give other ids for one of the texts that come with onnxbuild."""
    if not source.reads_text:
        return None
    try:
        right = load_tokenizer(reference, trusts_code=trusts_code)
    except Exception:  # noqa: BLE001 - files of a tokenizer that is not one, beside a checkpoint that can be exported
        return None
    if right is None:
        return None
    for _, text in all_texts():
        wanted, actual = (list(one(text, verbose=False)["input_ids"]) for one in (right, source.tokenizer))
        if actual and wanted != actual:
            place = next((n for n, (a, b) in enumerate(zip(wanted, actual, strict=False)) if a != b), len(wanted))
            got, due = (str(ids[place]) if place < len(ids) else "none" for ids in (actual, wanted))
            return (
                "OBE110",
                f"the tokenizer beside the graph gives id {got} where the reference's gives {due}: `{text}`",
            )
        if not actual:
            return None  # genai saves a tokenizer without words for a checkpoint that has none
    other = other_use(right, source, longest)
    return None if other is None else ("OBE110", other)


def _other_labels(config: Mapping[str, Any], reference: Mapping[str, Any]) -> Difference | None:
    """OBE111 where `id2label` names a class otherwise."""
    actual, wanted = (one.get("id2label") for one in (config, reference))
    if not isinstance(wanted, dict) or not config:
        return None
    if not isinstance(actual, dict):
        named = next((name for number, name in wanted.items() if name != f"LABEL_{number}"), None)
        lost = f"`id2label` beside the graph is missing, so its classes have no names such as `{named}`"
        return None if named is None else ("OBE111", lost)
    for number, name in wanted.items():
        if actual.get(number) != name:
            return "OBE111", f"`id2label` beside the graph calls class {number} `{actual.get(number)}`, not `{name}`"
    return None
