"""What all tests share: `--update` rewrites expected texts, and the diff is the review."""

import atexit
import os
import shutil
import tempfile
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from onnxbuild import secrets

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


KNOWN_SKIPS = Path(__file__).with_name("may_be_skipped.txt")


def pytest_addoption(parser):
    parser.addoption("--update", action="store_true", help="rewrite expected texts instead of comparing with them")
    parser.addoption("--thorough", action="store_true", help="the tests that try a part of their cases, with all cases")
    parser.addoption(
        "--known-skips-only",
        action="store_true",
        help=f"fail if a test is skipped that {KNOWN_SKIPS.name} does not list",
    )


def pytest_configure(config):
    # With xdist, the reports of all workers arrive in the main process.
    if config.getoption("--known-skips-only") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(KnownSkips(), "known-skips")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--thorough"):
        others = {item for item in items if "amount" not in getattr(item, "fixturenames", ())}
        items[:] = [item for item in items if item not in others]
        config.hook.pytest_deselected(items=list(others))


class KnownSkips:
    """Fails the run if a test was skipped that is not on the list, so that no test is left out unseen."""

    def __init__(self):
        lines = KNOWN_SKIPS.read_text(encoding="utf-8").splitlines()
        self.known = [line.partition("  ")[0] for line in lines if line and not line.startswith("#")]
        self.unknown = {}

    def _note(self, report):
        is_xfail = hasattr(report, "wasxfail")
        if report.skipped and not is_xfail and not any(fnmatchcase(report.nodeid, one) for one in self.known):
            self.unknown[report.nodeid] = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""

    pytest_runtest_logreport = _note
    pytest_collectreport = _note

    def pytest_sessionfinish(self, session):
        if self.unknown and session.exitstatus in {0, 5}:
            session.exitstatus = 1

    def pytest_terminal_summary(self, terminalreporter):
        for name, reason in sorted(self.unknown.items()):
            terminalreporter.line(f"SKIPPED, and not in tests/{KNOWN_SKIPS.name}: {name} ({reason})", red=True)


@pytest.fixture(autouse=True)
def only_its_own_secrets(monkeypatch):
    """What one test registers as a secret must not be masked in the texts of the next one."""
    monkeypatch.setattr(secrets, "_KNOWN", secrets._Known())


@pytest.fixture(scope="session")
def amount(request):
    """Chooses between a part that has each kind, which every run tries, and all, which `make thorough` tries."""
    return lambda part, full: full if request.config.getoption("--thorough") else part


@pytest.fixture
def agrees(request):
    """A check that a text equals the content of a file, which `--update` rewrites."""

    def check(path, text):
        if request.config.getoption("--update"):
            path.write_text(text, encoding="utf-8")
        assert path.is_file(), f"{path.name} is missing: `pytest --update` writes it"
        assert text == path.read_text(encoding="utf-8")

    return check
