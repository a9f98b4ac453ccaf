import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from outs import Outs


@pytest.fixture
def outs(tmp_path):
    return Outs(tmp_path)
