import pytest
from outs import Outs


@pytest.fixture
def outs(tmp_path):
    return Outs(tmp_path)
