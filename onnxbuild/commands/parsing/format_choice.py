"""The format of what a command writes: as asked for, or by the suffix of the file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import TypeVar

Format = TypeVar("Format", bound=str)


def format_by_suffix(
    format: Format | None,  # noqa: A002 - the option's name
    output: str | None,
    suffixes: Mapping[str, Format],
    otherwise: Format,
) -> Format:
    """The requested format, else that of the file's suffix, else `otherwise`.

    Errors: ValueError if the two contradict each other, or if only the suffix could decide and it is unknown.
    """
    suffix = PurePath(output).suffix.lower() if output else ""
    by_suffix = suffixes.get(suffix)
    if output and by_suffix is None and format is None:
        raise ValueError(f"`{output}` has none of the suffixes {', '.join(suffixes)}: add one, or `--format FORMAT`")
    if by_suffix is not None and format is not None and by_suffix != format:
        raise ValueError(f"`--format {format}` contradicts `--output {output}`, which is {by_suffix}")
    return format or by_suffix or otherwise
