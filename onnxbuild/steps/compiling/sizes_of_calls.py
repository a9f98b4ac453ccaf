"""The sizes for which a backend compiles, as far as the manifest says them: calls of rows and tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise

from onnxbuild.steps.exporters import EXPORTERS
from onnxbuild.steps.kind import Context, Fault
from onnxbuild.tables.positions import may_read_text
from onnxbuild.tables.tasks import AUDIO_SIZES, PAST_SIZES, sizes_besides_tokens

# Options of TensorRT with the shapes of each input, which a person may write instead of `shapes`.
PROFILES = tuple(f"trt_profile_{end}_shapes" for end in ("min", "opt", "max"))
_SHAPE = re.compile(r"([^:,\s]+):([1-9]\d{0,9}(?:x[1-9]\d{0,9})*)")
# Exporters that leave every axis free. Others fix those of which the model takes one size only.
_FREE_AXES = ("optimum",)
_EXAMPLE = "`input_ids:1x128,attention_mask:1x128`"

Shapes = Mapping[str, tuple[int, ...]]


def check_tokens(name: str, context: Context, hint: str, *, takes_audio: bool = False) -> Iterator[Fault]:
    """OB825 for a model whose graph has free sizes besides rows and tokens, as far as that is known before it exists.

    `takes_audio`: samples of audio in place of tokens are taken.
    """
    found = sizes_besides_tokens(context.task)
    why = f"graphs of the task `{context.task}` also depend on the {found}"
    if found is None and not may_read_text(context.config) and not takes_audio:
        found, why = "sizes of other inputs", "the model does not read text"
    exporters = EXPORTERS if found == PAST_SIZES else _FREE_AXES
    if found is not None and context.exporter in exporters and not (takes_audio and found == AUDIO_SIZES):
        message = f"`{name}` compiles a graph for a number of rows and tokens, and {why}"
        yield Fault(code="OB825", field="backend", message=message, hint=hint)


def check_profiles(options: Mapping[str, str], context: Context) -> Iterator[Fault]:
    """OB824 for profiles among the options that contradict each other, OB805 for `shapes` beside them."""
    missing = [name for name in PROFILES if name not in options]
    if len(missing) == len(PROFILES):
        return
    if "shapes" in context.written:
        message = "`shapes` has no effect beside the profiles in `options`"
        yield Fault(code="OB805", field="shapes", message=message, hint="remove one of the two")
    if missing:
        message = f"the profile in `options` has no `{missing[0]}`"
        yield Fault(code="OB824", field="options", message=message, hint=f"write all of {', '.join(PROFILES)}")
        return
    profiles = {name: _shapes(options[name]) for name in PROFILES}
    unread = [name for name, shapes in profiles.items() if shapes is None]
    if unread:
        message = f"`{unread[0]}: {options[unread[0]]}` is no list of shapes"
        yield Fault(code="OB824", field="options", message=message, hint=f"write it as {_EXAMPLE}")
        return
    for (low, least), (high, most) in pairwise((name, shapes or {}) for name, shapes in profiles.items()):
        wrong = next((one for one in sorted({*least, *most}) if not _is_within(least.get(one), most.get(one))), None)
        if wrong is not None:
            message = f"`{wrong}` of `{low}` is not within `{high}`"
            hint = "write each input in all profiles, with sizes that do not shrink from `min` to `opt` to `max`"
            yield Fault(code="OB824", field="options", message=message, hint=hint)
            return


def _shapes(text: str) -> Shapes | None:
    """The shape of each input in a profile; None for a text that is no profile."""
    parts = [_SHAPE.fullmatch(part.strip()) for part in text.split(",")]
    found = {part[1]: tuple(map(int, part[2].split("x"))) for part in parts if part is not None}
    return found if len(found) == len(parts) else None


def _is_within(least: tuple[int, ...] | None, most: tuple[int, ...] | None) -> bool:
    if least is None or most is None or len(least) != len(most):
        return False
    return all(low <= high for low, high in zip(least, most, strict=True))
