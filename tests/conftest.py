"""What all tests share: `--update` rewrites expected texts, and the diff is the review."""

import atexit
import os
import shutil
import tempfile

import pytest

# Libraries that a test imports must not leave files in the home or in the folder for temporary files.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
if "TORCHINDUCTOR_CACHE_DIR" not in os.environ:
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = tempfile.mkdtemp(prefix="onnxbuild-torch-")
    atexit.register(shutil.rmtree, os.environ["TORCHINDUCTOR_CACHE_DIR"], ignore_errors=True)


# Tests write models and datasets into folders of their own, beside the manifest that names them. The rule about what
# a manifest may reach has its own tests, which take the permission away.
os.environ["ONNXBUILD_ALLOW_PATH"] = tempfile.gettempdir()
# The configuration of whoever runs the tests must not decide how they end.
os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp(prefix="onnxbuild-config-")
atexit.register(shutil.rmtree, os.environ["XDG_CONFIG_HOME"], ignore_errors=True)


def pytest_addoption(parser):
    parser.addoption("--update", action="store_true", help="rewrite expected texts instead of comparing with them")


@pytest.fixture
def agrees(request):
    """A check that a text equals the content of a file, which `--update` rewrites."""

    def check(path, text):
        if request.config.getoption("--update"):
            path.write_text(text, encoding="utf-8")
        assert path.is_file(), f"{path.name} is missing: `pytest --update` writes it"
        assert text == path.read_text(encoding="utf-8")

    return check
