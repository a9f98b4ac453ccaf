"""What all tests share: `--update` rewrites expected texts; the diff is the review."""

import pytest


def pytest_addoption(parser):
    parser.addoption("--update", action="store_true", help="rewrite expected texts instead of comparing with them")


@pytest.fixture
def agrees(request):
    """A check that a text equals the content of a file, which `--update` rewrites."""

    def check(path, text):
        if request.config.getoption("--update"):
            path.write_text(text, encoding="utf-8")
        assert path.is_file(), f"{path.name} is not there: `pytest --update` writes it"
        assert text == path.read_text(encoding="utf-8")

    return check
