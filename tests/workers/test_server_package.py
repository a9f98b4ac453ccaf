"""The package `server`: its app runs without onnxbuild, gives the answers of the model, and its test notices others."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from families import run_step, scratch
from small_models import classifier
from test_packages import with_other_numbers

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.packaging.package_kind import ClientParams
from onnxbuild.steps.packaging.server_package import REQUIRED, ServerParams
from onnxbuild.workers.package import client_checks
from onnxbuild.workers.package.servers.server_client import run as check
from onnxbuild.workers.package.servers.server_folder import run as write

pytestmark = pytest.mark.heavy


def packaged(model, onnx=None):
    params = ServerParams(task=model.task, graphs={"": "t"})
    return run_step(write, params, "package", **{"model": model.checkpoint, "graph-t": onnx or model.onnx})


def by_name(*given):
    """Call the check as a run does, which names its arguments."""
    return check(**dict(zip(("params", "inputs", "outputs", "progress"), given, strict=True)))


def checked(package):
    with contextlib.chdir(scratch()):
        return run_step(by_name, ClientParams(graphs={"": "t"}), "report", model=package)[0]


@pytest.fixture(scope="module")
def package() -> Path:
    facts, folder = packaged(classifier())
    assert facts["addresses"] == ["/classify"]
    assert facts["graphs"] == ["model/model.onnx"]
    return folder


def test_the_recorded_answers_are_those_of_the_torch_model(package: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    (case,) = json.loads((package / "golden.json").read_text())["cases"]
    model = AutoModelForSequenceClassification.from_pretrained(classifier().checkpoint).eval()
    tokenizer = AutoTokenizer.from_pretrained(classifier().checkpoint)
    feeds = tokenizer(case["body"]["input"], padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        expected = model(**feeds).logits.softmax(-1).numpy()
    found = np.array([list(row["scores"].values()) for row in case["answer"]["data"]])
    assert [*case["answer"]["data"][0]["scores"]] == ["NEGATIVE", "NEUTRAL", "POSITIVE"]
    assert np.abs(found - expected).max() < 1e-5
    assert np.ptp(found, axis=0).max() > 0.1, "the texts have different answers"


def test_the_app_gives_the_recorded_answers_without_onnxbuild(package: Path) -> None:
    facts = checked(package)
    assert facts["client"].startswith(f"fastapi {metadata.version('fastapi')} on uvicorn")
    assert facts["max_difference"]["golden.json"] <= 1e-6
    text = "".join(path.read_text() for path in package.rglob("*.py"))
    assert not re.search(r"^\s*(from|import) (onnxbuild|torch|transformers)\b", text, re.MULTILINE)


def test_a_model_with_other_numbers_fails_the_golden_test(package: Path) -> None:
    changed = with_other_numbers(package, 1.5)
    with pytest.raises(CheckFailed) as error:
        checked(changed)
    assert error.value.failure.code == "OBE190"
    assert "does not give the recorded answers: a number differs by" in error.value.failure.message
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_golden.py"],
        cwd=changed, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "a number differs by" in done.stdout


def test_a_model_that_does_not_open_fails_the_check(package: Path) -> None:
    broken = scratch()
    shutil.copytree(package, broken, dirs_exist_ok=True)
    (broken / "model" / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(CheckFailed) as error:
        checked(broken)
    assert error.value.failure.code == "OBE191"
    assert "ONNX Runtime cannot open the graph" in error.value.failure.notes[0][1]
    (broken / "app.py").write_text("import nothing_of_that_name\n")
    with pytest.raises(CheckFailed) as error:
        checked(broken)
    assert error.value.failure.code == "OBE191"
    assert "nothing_of_that_name" in error.value.failure.notes[0][1]


def test_a_model_that_the_server_cannot_serve_is_not_packaged() -> None:
    model = classifier()
    with_two = scratch()
    shutil.copytree(model.onnx, with_two, dirs_exist_ok=True)
    (with_two / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckFailed) as error:
        packaged(model, with_two)
    assert error.value.failure.code == "OBE191"
    assert "`tokenizer.json` cannot be read" in error.value.failure.notes[0][1]


def test_the_dockerfile_copies_files_that_exist_and_pins_what_was_tested(package: Path) -> None:
    text = (package / "Dockerfile").read_text()
    for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE):
        *sources, _ = line.split()
        assert all((package / source).exists() for source in sources), line
    copied = {name for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE) for name in line.split()[:-1]}
    apart = {"Dockerfile", ".dockerignore", "README.md", "SHA256SUMS"}
    assert {path.name for path in package.iterdir()} - apart == copied
    assert f"FROM python:{sys.version_info.major}.{sys.version_info.minor}-slim" in text
    assert text.index("USER 10001") < text.index('CMD ["uvicorn"')
    assert "/readyz" in text[text.index("HEALTHCHECK") :]
    pinned = dict(line.split("==") for line in (package / "requirements.txt").read_text().splitlines())
    assert pinned == {name: metadata.version(name) for name in REQUIRED}


def test_the_check_is_skipped_without_fastapi(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_checks, "find_spec", lambda name: None if name == "fastapi" else object())
    assert checked(package) == {"skipped": "needs fastapi"}
