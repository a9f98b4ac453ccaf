"""What a worker does around a library: it keeps noise out, allows code or not, and restores what it changed."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import subprocess
import sys
import warnings
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from onnxbuild.workers.libraries import warm
from onnxbuild.workers.libraries.absent_sklearn import sklearn_hidden
from onnxbuild.workers.libraries.absent_torch import torch_stand_in
from onnxbuild.workers.libraries.quiet import quiet
from onnxbuild.workers.libraries.remote_code import remote_code, with_its_code
from onnxbuild.workers.libraries.warm import WarmParams

VERBOSE = ("optimum", "transformers", "onnxruntime", "onnxscript", "torch.onnx", "sentence_transformers")
KEPT = "optimum.exporters.onnx.convert"


@pytest.fixture
def levels(monkeypatch):
    """Every logger at a level that nothing here sets."""
    for name in (*VERBOSE, KEPT):
        monkeypatch.setattr(logging.getLogger(name), "level", logging.DEBUG)
    monkeypatch.setattr(logging.getLogger(), "level", logging.INFO)
    return lambda: {name or "root": logging.getLogger(name).level for name in (*VERBOSE, KEPT, "")}


class BrokenError(Exception):
    pass


def fail_if(broken: object) -> None:
    if broken:
        raise BrokenError


@pytest.mark.parametrize("broken", [False, True])
def test_libraries_are_quiet_and_loud_again_afterwards(levels, *, broken: bool) -> None:
    before, handlers = levels(), list(logging.getLogger().handlers)
    filters = list(warnings.filters)
    try:
        with quiet():
            assert levels() == {
                **dict.fromkeys((*VERBOSE, "root"), logging.ERROR), KEPT: logging.WARNING,
            }  # fmt: skip
            with warnings.catch_warnings(record=True) as heard:
                warnings.warn("a tracer warning", stacklevel=1)
            assert heard == []
            logging.getLogger().addHandler(logging.NullHandler())  # as onnxruntime's quantizers do
            fail_if(broken)
    except BrokenError:
        assert broken
    assert levels() == before
    assert logging.getLogger().handlers == handlers
    assert warnings.filters == filters


def test_torch_seems_to_be_there_while_it_is_absent(monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    with torch_stand_in():
        from torch import version

        assert version.hip is None
    assert "torch" not in sys.modules
    with pytest.raises(BrokenError), torch_stand_in():
        raise BrokenError
    assert "torch" not in sys.modules


def test_the_real_torch_is_left_alone(monkeypatch) -> None:
    real = ModuleType("torch")
    monkeypatch.setitem(sys.modules, "torch", real)
    with torch_stand_in():
        assert sys.modules["torch"] is real
    assert sys.modules["torch"] is real


def test_scikit_learn_is_hidden_for_a_while(monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, "sklearn", raising=False)
    with sklearn_hidden():
        assert importlib.util.find_spec("sklearn") is None
        with pytest.raises(ImportError):
            importlib.import_module("sklearn")
    assert "sklearn" not in sys.modules
    with pytest.raises(BrokenError), sklearn_hidden():
        raise BrokenError
    assert "sklearn" not in sys.modules


def test_scikit_learn_that_is_imported_stays(monkeypatch) -> None:
    real = ModuleType("sklearn")
    monkeypatch.setitem(sys.modules, "sklearn", real)
    with sklearn_hidden():
        assert sys.modules["sklearn"] is real
    assert sys.modules["sklearn"] is real


_HIDDEN = """
import sys
from onnxbuild.workers.libraries.absent_sklearn import sklearn_hidden
with sklearn_hidden():
    import transformers
from transformers import AutoModel, GenerationMixin
assert "sklearn" not in sys.modules, "transformers imported it"
import sklearn.metrics
"""


@pytest.mark.heavy
def test_transformers_goes_without_scikit_learn() -> None:
    for module in ("transformers", "sklearn"):
        pytest.importorskip(module)
    subprocess.run([sys.executable, "-c", _HIDDEN], check=True)


@pytest.fixture
def transformers(monkeypatch) -> SimpleNamespace:
    """Stands for `transformers.dynamic_module_utils`, which is heavy."""
    library = ModuleType("transformers")
    library.dynamic_module_utils = SimpleNamespace(HF_MODULES_CACHE="/shared")
    monkeypatch.setitem(sys.modules, "transformers", library)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return library.dynamic_module_utils


@pytest.mark.parametrize("broken", [False, True])
def test_the_code_of_a_checkpoint_lives_in_a_folder_of_its_own_that_is_removed(transformers, *, broken: bool) -> None:
    path = list(sys.path)
    sys.modules["transformers_modules.older"] = ModuleType("older")
    try:
        with remote_code(allowed=True):
            scratch = Path(transformers.HF_MODULES_CACHE)
            assert scratch.is_dir()
            assert scratch.name.startswith("onnxbuild-code-")
            assert "transformers_modules.older" not in sys.modules
            sys.modules["transformers_modules"] = sys.modules["transformers_modules.m"] = ModuleType("m")
            sys.modules["transformers_modules_of_others"] = ModuleType("others")
            sys.path.append(str(scratch))
            fail_if(broken)
    except BrokenError:
        assert broken
    others = sys.modules.pop("transformers_modules_of_others", None)
    assert others is not None
    assert not [name for name in sys.modules if name.startswith("transformers_modules")]
    assert transformers.HF_MODULES_CACHE == "/shared"
    assert sys.path == path
    assert not scratch.exists()


def test_without_permission_nothing_changes_for_the_code_of_a_checkpoint(transformers) -> None:
    with remote_code(allowed=False):
        assert transformers.HF_MODULES_CACHE == "/shared"


@pytest.mark.parametrize("trusted", [True, False])
def test_a_worker_runs_inside_with_its_own_arguments(transformers, *, trusted: bool) -> None:
    def run(*given: object) -> dict[str, object]:
        """Documented."""
        return {"given": given, "private": transformers.HF_MODULES_CACHE != "/shared"}

    params = SimpleNamespace(trusts_code=trusted)
    wrapped = with_its_code(run)
    assert wrapped(params, 1, 2, 3) == {"given": (params, 1, 2, 3), "private": trusted}
    assert wrapped.__doc__ == "Documented."


@pytest.mark.parametrize(
    ("config", "modules"),
    [
        ('{"model_type": "xlm-roberta-xl"}', ["transformers.models.xlm_roberta_xl.modeling_xlm_roberta_xl"]),
        ('{"model_type": "wav2vec2"}', ["transformers.models.wav2vec2.modeling_wav2vec2"]),
        ('{"model_type": "a.b"}', []),
        ('{"model_type": "Bert"}', []),
        ("[]", []),
        ("{", []),
        (None, []),
    ],
)
def test_the_module_of_a_model_is_imported_by_its_type(monkeypatch, tmp_path: Path, config, modules) -> None:
    imported: list[str] = []
    monkeypatch.setattr(warm, "importlib", SimpleNamespace(import_module=imported.append))
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    assert warm.run(WarmParams(modules=("a", "b")), {"model": tmp_path}, {}, lambda *_: None) == {}
    assert imported == ["a", "b", *modules]


def test_a_module_that_cannot_be_imported_does_not_keep_others_from_it(monkeypatch) -> None:
    imported: list[str] = []

    def load(name: str) -> None:
        imported.append(name)
        raise ImportError(name)

    monkeypatch.setattr(warm, "importlib", SimpleNamespace(import_module=load))
    assert warm.run(WarmParams(modules=("a", "b")), {}, {}, lambda *_: None) == {}
    assert imported == ["a", "b"]
