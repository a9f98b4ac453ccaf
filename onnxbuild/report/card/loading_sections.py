"""The sections of a card with examples: one example as Markdown, and one for each backend of compiled folders."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from onnxbuild.report.card.compiled_snippets import compiled_snippet
from onnxbuild.report.card.snippets import Snippet
from onnxbuild.report.card.subject import Folder
from onnxbuild.report.markdown_text import block, code, escaped


def example(language: str, snippet: Snippet) -> Iterator[str]:
    """What to install, the lines, and what to know beside them."""
    if snippet.install:
        yield block("sh", snippet.install)
    yield block(language, snippet.lines)
    if snippet.notes:
        yield snippet.notes


def backend_sections(folders: Sequence[Folder]) -> Iterator[str]:
    """A heading and an example for each way in which compiled folders are loaded, with the folders that share it."""
    alike: dict[tuple[str, Snippet], list[Folder]] = defaultdict(list)
    for folder in folders:
        if folder.compiled is not None:
            alike[_way(folder)].append(folder)
    for first, *others in alike.values():
        assert first.compiled is not None, "BUG: only compiled folders were gathered"
        names = ", ".join(code(one.name) for one in (first, *others))
        yield f"### Compiled for {escaped(first.compiled.backend)}: {names}"
        yield from example("python", compiled_snippet(first, first.compiled))
        if others:
            yield f"For the other folders, change `folder`: {', '.join(code(one.name) for one in others)}."


def _way(folder: Folder) -> tuple[str, Snippet]:
    """What folders have in common that are loaded alike: their lines read all else from `compiled.json`."""
    assert folder.compiled is not None, "BUG: the folder is not compiled"
    same = Folder(name="", files=folder.files, graphs={}, compiled=folder.compiled)
    return folder.compiled.backend, compiled_snippet(same, folder.compiled)
