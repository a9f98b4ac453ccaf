"""Workers send no telemetry, and leave nothing in the home of the user."""

import subprocess
import sys

import pytest

from onnxbuild.runners import worker_process


@pytest.mark.heavy
def test_onnxruntime_in_a_worker_leaves_no_file_in_the_home(tmp_path, monkeypatch):
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    environment = worker_process._environment(1)
    for name in ("HOME", "XDG_CACHE_HOME", "TMPDIR"):
        (tmp_path / name).mkdir()
        environment[name] = str(tmp_path / name)
    subprocess.run([sys.executable, "-c", "import onnxruntime"], env=environment, cwd=tmp_path, check=True)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
