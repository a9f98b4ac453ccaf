"""The tables of model classes are what the installed transformers of each generation says."""

from pathlib import Path

import pytest
from class_tables import installed, table
from toolchain5 import environment

from onnxbuild.tables import architectures

TABLES = Path(architectures.__file__).parent


def test_the_table_of_transformers_4_is_what_it_says(agrees):
    pytest.importorskip("transformers")
    agrees(TABLES / "model_classes_4.py", table(installed()))


@pytest.mark.heavy
def test_the_table_of_transformers_5_is_what_it_says(agrees):
    python = Path(environment().interpreter(lambda _text: None, lambda *_command: (1, "")))
    (package,) = python.parents[1].glob("[lL]ib/**/site-packages/transformers")
    agrees(TABLES / "model_classes_5.py", table(package))
