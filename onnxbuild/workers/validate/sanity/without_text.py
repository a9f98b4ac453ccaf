"""Whether a model of text was compared without any text, because nothing beside it makes ids of words."""

from __future__ import annotations

from onnxbuild.tables.positions import may_read_text
from onnxbuild.tables.tasks import reads_text_rows
from onnxbuild.workers.inputs.sample_source import Source

_MESSAGE = (
    "the model has no tokenizer, so it was compared on seeded token ids: what the variant makes of real text was not"
    " judged, and neither was any metric over rows. Save the tokenizer beside the weights"
    " (`tokenizer.save_pretrained`), and run again"
)


def without_text(source: Source, task: str) -> list[str]:
    """A warning for a model of text without a tokenizer; none for one that reads something else."""
    takes_ids = "input_ids" in source.inputs and source.tokenizer is None
    if not (takes_ids and reads_text_rows(task) and may_read_text(source.config)):
        return []
    return [_MESSAGE]
