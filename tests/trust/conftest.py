from pathlib import Path

import pytest
from toys import Bench


@pytest.fixture
def build(tmp_path: Path) -> Bench:
    return Bench(tmp_path)
