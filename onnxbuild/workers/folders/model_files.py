"""Folders of model files: listing them, and copying what a step does not change."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from onnxbuild.protocol import CheckFailed, Tell
from onnxbuild.tables.checkpoint_files import companions, is_onnx_part

_CHUNK_BYTES = 64 << 20


def files_below(root: Path) -> tuple[str, ...]:
    """Names of all files below `root`, POSIX style, sorted."""
    return tuple(sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()))


def onnx_names(root: Path) -> tuple[str, ...]:
    """Names of the ONNX graphs below `root`, sorted. Errors: CheckFailed OBE41 if there are none."""
    names = tuple(name for name in files_below(root) if name.endswith(".onnx"))
    if not names:
        raise CheckFailed("OBE41", "the input has no .onnx file", notes=[("holds", ", ".join(files_below(root)))])
    return names


def bytes_below(root: Path) -> int:
    """The size of all files below a folder."""
    return sum((root / name).stat().st_size for name in files_below(root))


def carry_along(source: Path, destination: Path, besides: Collection[str]) -> None:
    """Copy everything except graphs and their data (`besides`): tokenizer, configs, modules."""
    for name in files_below(source):
        if not is_onnx_part(name) and name not in besides and not (destination / name).exists():
            copy_model_file(source / name, destination / name)


def carry_companions(source: Path, destination: Path) -> None:
    """Copy the files that loaders read beside the weights, unless the destination already has them."""
    for name in companions(files_below(source)):
        if not (destination / name).exists():
            copy_model_file(source / name, destination / name)


def copy_files(source: Path, names: Iterable[str], destination: Path, tell: Tell) -> int:
    """Copy `names` and report progress; returns bytes. Errors: CheckFailed OBE16 if a file is missing."""
    wanted = list(names)
    for name in wanted:
        if not (source / name).is_file():
            raise CheckFailed(
                "OBE16", f"`{name}` is missing", notes=[("hint", "it existed when the plan was made: run again")]
            )
    total = sum((source / name).stat().st_size for name in wanted)
    done = 0
    for name in wanted:
        for chunk_bytes in _copy(source / name, destination / name):
            done += chunk_bytes
            tell(f"copying {name}", done, total)
    return done


def copy_model_file(source: Path, destination: Path) -> None:
    """Copy one file's content; the copy is a separate file, never a link."""
    for _ in _copy(source, destination):
        pass


def _copy(source: Path, destination: Path) -> Iterator[int]:
    """Copy in large steps, and yield the bytes of each.

    copy_file_range lets the file system share blocks or copy inside the kernel; not every pair of file systems can.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as reading, destination.open("wb") as writing:
        left = os.fstat(reading.fileno()).st_size
        while left > 0:
            moved = _move_chunk(reading.fileno(), writing.fileno(), min(left, _CHUNK_BYTES))
            if moved == 0:
                break
            left -= moved
            yield moved


def _move_chunk(reading: int, writing: int, count: int) -> int:
    try:
        return os.copy_file_range(reading, writing, count)
    except (OSError, AttributeError):  # between file systems, on an old kernel, or not on Linux
        chunk = os.read(reading, count)
        written = 0
        while written < len(chunk):
            written += os.write(writing, chunk[written:])
        return len(chunk)
