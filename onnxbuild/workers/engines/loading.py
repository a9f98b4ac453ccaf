"""What transformers says of each checkpoint that it loads: the weights that it lacks, and those that no module takes.

An exporter loads its model by itself, and says nothing of the weights that it filled in. So its loads are watched.
"""

from __future__ import annotations

import functools
import importlib.util
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

# Weights that a class leaves out of its checkpoints, because it has them by a formula.
_COMPUTED = "Sinusoid"

_NAMED = 3  # of many names, as many as a message shows

Patterns = Mapping[type, Sequence[str]]


class Loaded(Struct, kw_only=True, frozen=True):
    """One load: the weights that were filled in (`missing`) and the keys of the checkpoint without a place (`unknown`).

    Neither weights tied to others nor those that the class computes are missing. `model` is None unless it is kept.
    """

    missing: tuple[str, ...]
    unknown: tuple[str, ...]
    model: Any = None


@contextmanager
def watched(folder: Path, *, keep: bool = False) -> Iterator[list[Loaded]]:
    """The loads from a folder while the block runs; `keep` keeps their models. There are none without transformers."""
    loads: list[Loaded] = []
    base = _model_class()
    if base is None:
        yield loads
        return
    own = base.__dict__["from_pretrained"]

    def from_pretrained(cls: Any, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        name = pretrained_model_name_or_path
        wants_info = kwargs.pop("output_loading_info", False)
        load = functools.partial(own.__func__, cls, name, *args, output_loading_info=True, **kwargs)
        with _told_of_all(base) as patterns:
            try:
                model, info = load()
            except RuntimeError as error:
                _name_mismatched(error, load)
                raise
        if name is not None and Path(name).is_relative_to(folder):
            loads.append(_loaded(model, info, patterns, keep=keep))
        return (model, info) if wants_info else model

    base.from_pretrained = classmethod(from_pretrained)
    try:
        yield loads
    finally:
        base.from_pretrained = own


def _model_class() -> Any:
    """The class whose loads are watched; None where transformers is missing or cannot be imported."""
    if importlib.util.find_spec("transformers") is None:
        return None
    try:
        from transformers import PreTrainedModel
    except Exception:  # noqa: BLE001 - a custom exporter may run beside a torch that transformers does not take
        return None
    return PreTrainedModel


def _name_mismatched(error: RuntimeError, load: Callable[..., Any]) -> None:
    """Add the weights of another size to an error that is about sizes: it names no module, or refers to a log."""
    if "size mismatch" not in str(error) and "ignore_mismatched_sizes" not in str(error):
        return
    _, info = load(ignore_mismatched_sizes=True)
    names = sorted(one if isinstance(one, str) else one[0] for one in info["mismatched_keys"])
    error.add_note(f"weights of another size than config.json implies: {some_of(names)}")


@contextmanager
def _told_of_all(base: type) -> Iterator[Patterns]:
    """Let no class hide a missing weight while the block runs; yields the patterns of the names that each would hide.

    Among those are weights that the outputs depend on, such as the head of a model that does not tie it.
    """
    name = "_keys_to_ignore_on_load_missing"
    patterns = {cls: getattr(cls, name) for cls in _below(base) if vars(cls).get(name)}
    for cls in patterns:
        setattr(cls, name, None)
    try:
        yield patterns
    finally:
        for cls, value in patterns.items():
            setattr(cls, name, value)


def _below(base: type) -> Iterator[type]:
    below: list[type] = base.__subclasses__()
    for cls in below:
        yield cls
        yield from _below(cls)


def _loaded(model: Any, info: Mapping[str, Any], patterns: Patterns, *, keep: bool) -> Loaded:
    missing = sorted(info["missing_keys"])
    computed = _computed(model, missing, patterns) if missing else set()
    return Loaded(
        missing=tuple(name for name in missing if name not in computed),
        unknown=tuple(sorted(info["unexpected_keys"])),
        model=model if keep else None,
    )


def _computed(model: Any, names: Sequence[str], patterns: Patterns) -> set[str]:
    """The names that a class declares absent from its checkpoints and that are no parameters, or a table of waves."""
    kinds: set[type] = {type(module) for module in model.modules()}
    classes = {cls for kind in kinds for cls in kind.__mro__}
    absent = [re.compile(pattern) for cls in classes & patterns.keys() for pattern in patterns[cls]]
    learned = {name for name, weight in model.named_parameters(remove_duplicate=False) if weight.requires_grad}
    declared = {name for name in names if name not in learned and any(one.search(name) for one in absent)}
    tables = {name for name, module in model.named_modules() if _COMPUTED in type(module).__name__}
    return declared | {name for name in names if name.rpartition(".")[0] in tables}


def some_of(names: Sequence[str]) -> str:
    """Names as a message shows them: the first few, and the number of the others."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(f"`{name}`" for name in names[:_NAMED]) + more
