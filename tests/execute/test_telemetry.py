"""Workers send no telemetry, and leave nothing in the home of the user."""

import os
import subprocess
import sys

import pytest

from onnxbuild.runners.worker_environment import of_worker


@pytest.mark.heavy
def test_onnxruntime_in_a_worker_leaves_no_file_in_the_home(tmp_path, monkeypatch):
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    environment = of_worker(os.environ, 1, network=False)
    for name in ("HOME", "XDG_CACHE_HOME", "TMPDIR"):
        (tmp_path / name).mkdir()
        environment[name] = str(tmp_path / name)
    subprocess.run([sys.executable, "-c", "import onnxruntime"], env=environment, cwd=tmp_path, check=True)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
