"""A model card: README.md for the folder of a model, with everything that was measured and how to load the files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple
from urllib.parse import quote

from onnxbuild.deliver.best_variant import in_words
from onnxbuild.report.card.card_tables import accuracy, files, packages, speed, steps, variants
from onnxbuild.report.card.javascript_snippets import javascript_snippet
from onnxbuild.report.card.limits import limits
from onnxbuild.report.card.loading_sections import backend_sections, example
from onnxbuild.report.card.metadata import front_matter
from onnxbuild.report.card.python_snippets import python_snippet
from onnxbuild.report.card.subject import Origin, Subject
from onnxbuild.report.evidence.figure_tables import meanings
from onnxbuild.report.evidence.front import tradeoffs
from onnxbuild.report.evidence.words import environment
from onnxbuild.report.markdown_text import code, escaped, link
from onnxbuild.report.result import result_table
from onnxbuild.tables.choices import BEST

_HUB = "https://huggingface.co/"
_INTERVALS = (
    "An interval is the 95 % interval of the value. "
    "One named `difference` is that of the difference to the reference's value on the same rows."
)


class Picture(NamedTuple):
    """A plot beside the card: the name of its file, and the words for those who cannot see it."""

    file: str
    title: str
    description: str


def card_page(subject: Subject, pictures: Sequence[Picture] = ()) -> str:
    """The whole text. `pictures`: files beside it."""
    parts = [
        f"# {escaped(subject.model)} (ONNX)",
        _about(subject),
        "## Which file to choose",
        *_choice(subject),
        variants(subject),
        *(escaped(note) for note in result_table.notes(one.row for one in subject.variants)),
        *(f"![{escaped(one.title)}: {escaped(one.description)}](<{one.file}>)" for one in pictures),
        "## How to load it",
        "The examples run in the folder of this file.",
        "### Python",
        *example("python", python_snippet(subject.task, subject.best)),
        *_compiled(subject),
        "### JavaScript",
        *_javascript(subject),
        *_packages(subject),
        *measured(subject),
        "## Limits",
        *(f"- {line}" for line in limits(subject)),
        "## Provenance",
        *_provenance(subject),
    ]
    return front_matter(subject) + "\n" + joined(parts)


def joined(parts: Sequence[str]) -> str:
    """The parts with an empty line between them, except between the items of a list."""
    text = ""
    for before, part in zip(("", *parts), parts, strict=False):
        text += ("\n" if before.startswith("- ") and part.startswith("- ") else "\n\n" if text else "") + part
    return text + "\n"


def _about(subject: Subject) -> str:
    sources = " with ".join(map(source_in_words, subject.origins)) or "a model"
    task = f" for {escaped(subject.task)}" if subject.task else ""
    return f"ONNX versions of {sources}{task}, built, validated and measured with onnxbuild."


def source_in_words(origin: Origin) -> str:
    """A source, with a link if it is on the Hub."""
    if origin.repo:
        return link(origin.repo, f"{_HUB}{quote(origin.repo)}")
    return f"{origin.words} {code(origin.name)}" if origin.name else origin.words


# -- the choice -------------------------------------------------------------------------------------------------------


def _choice(subject: Subject) -> Iterator[str]:
    """What was chosen, else which variants are worth a choice."""
    if subject.chosen is not None and subject.chosen.best is not None:
        yield f"The folder {code(BEST)} is a copy of {code(subject.chosen.best.variant.target)}: {_reason(subject)}."
        return
    for one in tradeoffs(subject.delivered):
        names = [variant.target for variant in subject.delivered if variant.name in one.front]
        which = " and ".join(filter(None, (", ".join(map(code, names[:-1])), *map(code, names[-1:]))))
        if names:
            yield f"No other variant beats {which} in both figures: {escaped(one.words)}, and {escaped(one.unit)}."


def _reason(subject: Subject) -> str:
    assert subject.chosen is not None, "BUG: nothing was chosen"
    return escaped(in_words(subject.chosen).partition(": ")[2].partition(", ")[2])


# -- the other sections -----------------------------------------------------------------------------------------------


def _compiled(subject: Subject) -> Iterator[str]:
    """How the compiled variants are loaded, apart from what the example of the best one shows already."""
    shown = subject.best.compiled.backend if subject.best.compiled is not None else None
    compiled = [folder for _, folder in subject.named() if folder.compiled is not None]
    yield from backend_sections([one for one in compiled if one.compiled is None or one.compiled.backend != shown])


def _javascript(subject: Subject) -> Iterator[str]:
    if subject.of_graphs is None:
        yield "All variants here are compiled for runtimes that have no JavaScript."
    else:
        yield from example("js", javascript_snippet(subject.task, subject.of_graphs))


def _packages(subject: Subject) -> Iterator[str]:
    """What was packaged for the clients of the model, if anything was."""
    found = packages(subject)
    if found:
        yield "## Packages"
        yield "Each folder is for one client, and was checked with it where the client was installed."
        yield found


def measured(subject: Subject) -> Iterator[str]:
    """The tables of accuracy and speed, where there are any figures."""
    accurate, fast = accuracy(subject), speed(subject)
    if accurate:
        yield "## Accuracy"
        yield f"Each variant is compared with the model that it was made from. {_INTERVALS}"
        yield accurate
        yield from (f"- {code(name)}: {escaped(meaning)}" for name, meaning in meanings(subject.evidence).items())
    if fast:
        yield "## Speed"
        yield "p50 and p90 are percentiles of milliseconds per call. A speed-up has the range of the rounds beside it."
        yield fast


def _provenance(subject: Subject) -> Iterator[str]:
    for origin in subject.origins:
        yield f"- source: {source_in_words(origin)}{pinned(origin)}"
    yield f"- command: {code(f'onnxbuild run {subject.manifest} {subject.model}')}"
    # What a machine lacked says nothing about the files.
    lines = (line for line in environment(subject.evidence) if not line.endswith(" absent"))
    yield from (f"- {escaped(line)}" for line in lines)
    yield f"{code('onnxbuild.json')} in each folder has every parameter, digest and measurement."
    yield files(subject)
    yield "Parameters are those that differ from the default."
    yield steps(subject)


def pinned(origin: Origin) -> str:
    """The revision and the digest of a source, where they are known."""
    revision = f", revision {code(origin.revision)}" if origin.revision else ""
    return revision + (f", digest of its files {code(origin.digest)}" if origin.digest else "")
