"""What rebuilds: everything on which a result can depend, changed one at a time, and everything on which it cannot.

Real manifests through the real plan; a runner that records its requests replaces the workers.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import structs

from onnxbuild.digest import canonical, digest_bytes
from onnxbuild.execute import assess as assess_module
from onnxbuild.execute.events import SUCCEEDED, ActionFinished, Outcome
from onnxbuild.execute.preview import preview
from onnxbuild.execute.schedule import Policy, execute
from onnxbuild.machine import Machine
from onnxbuild.manifest.load import load_manifest
from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.planning.expand import expand
from onnxbuild.planning.lock_file import read_lock
from onnxbuild.protocol import Request, Response
from onnxbuild.steps import KINDS
from onnxbuild.steps.compiling.backend_kind import CompileParams
from onnxbuild.steps.packaging.package_kind import ClientParams, PackageParams
from onnxbuild.store.store import Store

MACHINE = Machine(cpu="Toy CPU", architecture="x86_64", flags=("avx2",), cores=4)
TASK = "text-generation-with-past"
CONFIG = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}
MANIFEST: Mapping[str, Any] = {
    "onnxbuild": 1,
    "targets": {
        "plain": {},
        "o2": {"optimize": "O2"},
        "int8": {"optimize": "O1", "quantize": {"method": "dynamic", "preset": "avx2"}},
        "q4": {"quantize": {"method": "weight-only"}},
    },
    "models": {
        "m": {
            "source": "local:model",
            "task": TASK,
            "export": {"exporter": "optimum"},
            "targets": ["plain", "o2", "int8", "q4"],
            "validate": {},
            "benchmark": {"threads": [1]},
            "generate": {"prompts": ["a"]},
        },
        "r": {
            "source": {"random": "gpt2", "tokenizer": {"text": "file:text/text.txt", "vocabulary": 300}},
            "task": TASK,
            "export": {"exporter": "optimum"},
            "targets": ["plain"],
            "validate": False,
            "load": False,
        },
        "h": {
            "source": "hub:o/n", "task": TASK, "export": {"exporter": "optimum"}, "targets": ["plain"],
            "validate": False,
            "load": False,
        },
    },
}  # fmt: skip


class Recorder:
    """A runner whose workers write their requests to the outputs, so that later actions see every change."""

    def __init__(self) -> None:
        self.versions: dict[str, str] = {}
        self.python = "cpython-3.11"

    def packages(self, toolchain: str, names: tuple[str, ...]) -> Mapping[str, str]:
        return {name: self.versions.get(name, "1.0") for name in names}

    def identity(self, toolchain: str) -> Mapping[str, str]:
        return {"python": self.python}

    def submit(self, toolchain: str, request: Request, tell: object) -> Future[Response]:
        seen = {
            port: {name: digest_bytes((Path(place) / name).read_bytes()) for name in sorted(os.listdir(place))}
            for port, place in request.inputs.items()
        }
        for place in request.outputs.values():
            (Path(place) / "given").write_bytes(canonical([request.worker, request.params, seen]))
        future: Future[Response] = Future()
        future.set_result(Response(id=request.id))
        return future

    def cancel(self, request_id: str, why: object) -> None: ...

    def close(self) -> None: ...


class Place:
    """A folder with the manifest, its sources and a store in which everything is built."""

    def __init__(self, root: Path, store: Path) -> None:
        self.root, self.store = root, store
        self.runner = Recorder()
        self.kinds: dict[str, Any] = dict(KINDS)
        self.manifest: dict[str, Any] = copy.deepcopy(dict(MANIFEST))

    def furnish(self) -> None:
        """Write the sources, and build."""
        (self.root / "model").mkdir(parents=True)
        self.write("model/config.json", json.dumps(CONFIG))
        self.write("model/model.safetensors", "weights")
        self.write("model/tokenizer.json", "tokenizer")
        self.write("model/vocab.json", "vocabulary")
        (self.root / "text").mkdir()
        self.write("text/text.txt", "some text")
        self.lock("o/n", "c0ffee")
        self.build()

    def write(self, name: str, text: str) -> None:
        (self.root / name).write_text(text)

    def lock(self, repo: str, commit: str) -> None:
        entry = {"commit": commit.ljust(40, "0"), "files": ["config.json", "model.safetensors"], "config": CONFIG}
        self.write("onnxbuild.lock", json.dumps({"version": 1, "sources": {f"hub:{repo}@main": entry}}))

    def graph(self, text: str | None = None) -> ActionGraph:
        path = self.root / "manifest.yaml"
        path.write_text(json.dumps(self.manifest) if text is None else text)
        manifest = load_manifest(str(path), kinds=self.kinds)
        return expand(manifest, self.kinds, read_lock(self.root / "onnxbuild.lock"), MACHINE)

    def build(self) -> None:
        with Store(self.store) as store:
            policy = Policy(scope="test", logs=str(self.root / "logs"))
            events = execute(self.graph(), kinds=self.kinds, store=store, runner=self.runner, policy=policy)
            ended = [event.outcome for event in events if isinstance(event, ActionFinished)]
            assert {one.outcome for one in ended} <= SUCCEEDED, ended

    def plan(self, text: str | None = None) -> dict[str, Outcome]:
        graph = self.graph(text)
        with Store(self.store) as store:
            found = preview(graph, kinds=self.kinds, store=store, runner=self.runner, scope="test")
            return {outcome.id: outcome for outcome in found}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which everything is built, to be copied: a build takes half a second, and there are many tests."""
    root = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assess_module, "this_machine", lambda: MACHINE)
        Place(root / "here", root / "store").furnish()
    return root


@pytest.fixture
def place(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(assess_module, "this_machine", lambda: MACHINE)
    shutil.copytree(built, tmp_path, dirs_exist_ok=True)
    made = Place(tmp_path / "here", tmp_path / "store")
    assert {outcome.outcome for outcome in made.plan().values()} == {"hit"}
    return made


def rebuilt(place: Place) -> set[str]:
    """The actions that would run for their own reason, rather than because an action before them would run."""
    graph, planned = place.graph(), place.plan()
    runs = {name for name, outcome in planned.items() if outcome.outcome == "run"}
    assert {outcome.outcome for outcome in planned.values()} <= {"run", "hit"}
    own = {
        name for name in runs
        if any(not reason.part.startswith("inputs.") for reason in planned[name].reasons)
        or not set(graph.actions[name].needs) & runs
    }  # fmt: skip
    followers = set(graph.with_dependents(own)) if own else set()
    assert runs == followers, "an action that needs one that would run would run, too"
    return own


def parts_changed(place: Place, name: str) -> set[str]:
    return {reason.part for reason in place.plan()[name].reasons}


# -- params -------------------------------------------------------------------------------------------------------

Edit = Callable[[Place], None]


def at(*path: str, value: Any) -> Edit:
    """Set one value of the manifest; a block that was not written begins empty."""

    def edit(place: Place) -> None:
        block: Any = place.manifest
        for key in path[:-1]:
            block = block.setdefault(key, {})
        block[path[-1]] = value

    return edit


def with_a_target_that_is_only_opened(place: Place) -> None:
    place.manifest["models"]["r"] |= {"targets": [{"name": "own"}], "load": True}


def compiled(**block: Any) -> Edit:
    """The model that is not checked gets a target for OpenVINO with these params."""

    def edit(place: Place) -> None:
        place.manifest["datasets"] = {"d": {"source": [{"text": "a"}, {"text": "b"}]}}
        targets = [{"name": "own", "compile": {"backend": "openvino", **block}}]
        place.manifest["models"]["r"] |= {"targets": targets}

    return edit


def calibrated(**block: Any) -> Edit:
    return compiled(quantize="int8", dataset="d", **block)


def built_for(backend: str, **block: Any) -> Edit:
    """The model that is not checked becomes an encoder, with a target for this backend."""

    def edit(place: Place) -> None:
        place.manifest["datasets"] = {"d": {"source": [{"text": "a"}, {"text": "b"}]}}
        of_r = place.manifest["models"]["r"]
        of_r["source"]["random"] = "bert"
        of_r |= {"task": "text-classification", "targets": [{"name": "own", "compile": {"backend": backend, **block}}]}

    return edit


def fewer_rows(backend: str, **block: Any) -> Edit:
    def edit(place: Place) -> None:
        built_for(backend, dataset="d", **block)(place)
        place.manifest["datasets"]["d"]["limit"] = 1

    return edit


def rows_of(backend: str, base: Mapping[str, Any], **changes: Any) -> Mapping[str, tuple[Edit, set[str]]]:
    """A row for each change of a block that begins as `base`."""
    own = {f"r/own:compile-{backend}"}
    return {field: (built_for(backend, **{**base, field: value}), own) for field, value in changes.items()}


INT8 = {"precision": "int8"}
OF_CALIBRATION = {"dataset": "d", "samples": 7, "seed": 7}
RANGED = {"dataset": "d"}
BASES: Mapping[str, Mapping[str, Any]] = {"compile-tensorrt": INT8}
ON_ROWS: Mapping[str, Mapping[str, Any]] = {"compile-qnn": RANGED, "compile-tensorrt": {**INT8, **RANGED}}


def another_row(place: Place) -> None:
    calibrated()(place)
    place.manifest["datasets"]["d"]["limit"] = 1


def checked_with(block: Any) -> Edit:
    """The target `own` of the model, with all checks, compiled or not."""

    def edit(place: Place) -> None:
        place.manifest["models"]["r"] |= {
            "targets": [{"name": "own", **block}], "validate": {}, "benchmark": {"threads": [1]},
            "generate": {"prompts": ["a"]},
        }  # fmt: skip

    return edit


def opened_with(block: Any) -> Edit:
    def edit(place: Place) -> None:
        place.manifest["models"]["r"] |= {"targets": [{"name": "own", **block}], "load": True}

    return edit


def of_m(kind: str, *targets: str) -> set[str]:
    """The actions of a kind. Those of `validate` include that of the graph which `int8` is quantized from."""
    proof = {"m/int8:validate-fp32"} if kind == "validate" and not targets else set()
    return proof | {f"m/{target}:{kind}" for target in targets or ("plain", "o2", "int8", "q4")}


def export(field: str, value: Any) -> tuple[Edit, set[str]]:
    return at("models", "m", "export", field, value=value), {"m:export"}


def dynamic(field: str, value: Any) -> tuple[Edit, set[str]]:
    return at("targets", "int8", "quantize", field, value=value), {"m/int8:quantize"}


def weights(field: str, value: Any) -> tuple[Edit, set[str]]:
    return at("targets", "q4", "quantize", field, value=value), {"m/q4:quantize"}


def halved(field: str, value: Any) -> tuple[Edit, set[str]]:
    return at("targets", "o2", "precision", field, value=value), {"m/o2:precision"}


def bf16(place: Place) -> None:
    """Only for another device, which other steps read too."""
    place.manifest["targets"]["o2"] = {"optimize": "O2", "precision": "bf16", "device": "cuda"}


def check(kind: str, field: str, value: Any) -> tuple[Edit, set[str]]:
    return at("models", "m", kind, field, value=value), of_m(kind)


def random(field: str, value: Any) -> tuple[Edit, set[str]]:
    return at("models", "r", "source", field, value=value), {"r:fetch"}


def another_repository(place: Place) -> None:
    place.manifest["models"]["h"]["source"] = "hub:o/other"
    place.lock("o/other", "c0ffee")


def half(place: Place) -> None:
    """Only targets that do not quantize: quantizers take fp32."""
    place.manifest["models"]["m"]["targets"] = ["plain", "o2"]
    place.manifest["models"]["m"]["export"]["dtype"] = "fp16"


def own_exporter(place: Place) -> None:
    place.write("own.py", "def export(checkpoint, destination, params): ...")
    place.manifest["models"]["m"]["export"]["exporter"] = "own.py:export"


def beside_an_adapter(place: Place) -> None:
    """A repository with both, of which the weights are taken."""
    files = ["adapter_config.json", "adapter_model.safetensors", "config.json", "model.safetensors"]
    entry = {"commit": "c0ffee".ljust(40, "0"), "files": files, "config": CONFIG, "adapter": {"peft_type": "LORA"}}
    place.write("onnxbuild.lock", json.dumps({"version": 1, "sources": {"hub:o/n@main": entry}}))
    place.manifest["models"]["h"]["adapter"] = "none"


def with_an_adapter(place: Place) -> None:
    (place.root / "lora").mkdir(exist_ok=True)
    place.write("lora/adapter_config.json", json.dumps({"peft_type": "LORA"}))
    place.write("lora/adapter_model.safetensors", "adapter")
    place.manifest["models"]["m"]["adapter"] = "local:lora"


def into_a_folder(place: Place) -> None:
    """The layout of old sentence-transformers."""
    (place.root / "model" / "0_Transformer").mkdir()
    for path in [path for path in (place.root / "model").iterdir() if path.is_file()]:
        path.rename(path.parent / "0_Transformer" / path.name)
    place.write("model/modules.json", "[]")


def quantized(place: Place, method: str = "gptq") -> None:
    block = {"quant_method": method, "bits": 4, "group_size": 32}
    place.write("model/config.json", json.dumps({**CONFIG, "quantization_config": block}))


def quantized_with_an_adapter(place: Place) -> None:
    quantized(place)
    with_an_adapter(place)


_TASK = at("models", "m", "task", value="text-generation"), {
    "m:export", *of_m("validate"), *of_m("benchmark"), *of_m("generate"),
}  # fmt: skip
# Steps that open the checkpoint or its tokenizer take it from the export; dynamic int8 reads text to be smoothed.
_TRUST = at("models", "m", "export", "trust_remote_code", value=True), {
    "m:export", "m/int8:quantize", *of_m("validate"), *of_m("benchmark"), *of_m("generate"),
}  # fmt: skip
_DEVICE = at("targets", "o2", "device", value="cuda"), {"m/o2:optimize", "m/o2:benchmark", "m/o2:validate"}
_EIGHT_BITS = weights("bits", 8)[0], {"m/q4:quantize", "m/q4:validate"}


def publishing(**changed: Any) -> tuple[Edit, set[str]]:
    return at("models", "m", "publish", value={"hub": "me/m", "license": "mit", **changed}), {"m:publish"}


# For every field of every kind: an edit that sets it to something else, and the actions that it rebuilds by itself.
_OF_PACKAGE = {"m:package-plain", "m:client-plain"}

_OF_JAVASCRIPT = {"m:package-transformers.js", "m:client-transformers.js"}


def javascript(**block: Any) -> Edit:
    """Give the package for Transformers.js these params."""
    return at("models", "m", "package", value={"transformers.js": {"dtypes": {"q8": "int8"}, **block}})


def on_qaic(**block: Any) -> Edit:
    """The model that is not checked gets a target for Cloud AI 100 with these params."""

    def edit(place: Place) -> None:
        targets = [{"name": "own", "compile": {"backend": "qaic", **block}}]
        place.manifest["models"]["r"] |= {"targets": targets}

    return edit


def encoder_on_qaic(**block: Any) -> Edit:
    """The same for an encoder."""

    def edit(place: Place) -> None:
        on_qaic(**block)(place)
        place.manifest["models"]["r"] |= {"source": {"random": "bert"}, "task": "feature-extraction"}

    return edit


OF_QAIC = {"r/own:compile-qaic"}
OPENVINO = {"compile": "openvino"}
OF_OPENVINO = {"r/own:compile-openvino"}
CHECKED_OPENVINO = {
    *OF_OPENVINO, "r/own:validate", "r/own:benchmark", "r/own:generate",
}  # fmt: skip


def packaging(package: str, /, **block: Any) -> Edit:
    """Give a package of one target these params."""
    return at("models", "m", "package", value={package: {"targets": ["o2"], **block}})


def of_repository(package: str, /, **fields: Any) -> dict[str, tuple[Edit, set[str]]]:
    """A row for each field of a model repository, of which most change nothing that its check has in its key."""
    named = {"name": "other"}
    both, one = {f"m:package-{package}", f"m:client-{package}"}, {f"m:package-{package}"}
    values = {**named, "version": 3, **fields}
    return {field: (packaging(package, **{field: value}), both if field in named else one)
            for field, value in values.items()}  # fmt: skip


def on_another_device(place: Place) -> None:
    place.manifest["targets"]["o2"]["device"] = "cuda"


FIELDS: Mapping[str, Mapping[str, tuple[Edit, set[str]]]] = {
    "fetch": {
        "origin": (at("models", "h", "source", value="local:model"), set()),  # the same model as m's: all is there
        "files": (lambda place: place.write("model/merges.txt", "more"), {"m:fetch"}),
        "repo": (another_repository, {"h:fetch"}),
        "revision": (lambda place: place.lock("o/n", "decaf"), {"h:fetch"}),
        "adapter": (beside_an_adapter, {"h:fetch"}),
        "architecture": (random("random", "gpt_neo")),
        "task": (at("models", "r", "task", value="text-generation"), {"r:fetch", "r:export"}),
        "config": (random("config", {"n_layer": 2})),
        "seed": (random("seed", 1)),
        "tokenizer_vocabulary": (
            random("tokenizer", {"text": "file:text/text.txt", "vocabulary": 301})
        ),
    },
    "prepare": {
        "flatten": (into_a_folder, {"m:fetch", "m:prepare"}),
        "adapter": (with_an_adapter, {"adapters/m:fetch", "m:prepare"}),
        "unpack": (lambda place: quantized(place, "awq"), {"m:fetch", "m:prepare"}),
        "trust_remote_code": (_TRUST[0], _TRUST[1] | {"m:prepare"}),
    },
    "export": {
        "task": _TASK,
        "opset": export("opset", 17),
        "exporter": (own_exporter, {"m:export"}),
        "dtype": (half, {"m:export", *of_m("validate", "plain", "o2")}),
        "library": export("library", "transformers"),
        "attention": export("attention", "eager"),
        "trust_remote_code": _TRUST,
        "pad_token_id": export("pad_token_id", 1),
        "max_length": (export("max_length", 400)[0], {"m:export", *of_m("validate")}),
        "allow_missing": export("allow_missing", ["*.norm.weight"]),
    },
    "optimize": {
        "level": (at("targets", "o2", "optimize", value="O3"), {"m/o2:optimize"}),
        "device": _DEVICE,
    },
    "quantize": {
        "method": (
            at("targets", "int8", "quantize", value={"method": "weight-only"}), {"m/int8:quantize", "m/int8:validate"},
        ),
        "preset": dynamic("preset", "avx512_vnni"),
        "per_channel": dynamic("per_channel", False),
        "operators": dynamic("operators", ["MatMul"]),
        "bits": _EIGHT_BITS,
        "block_size": weights("block_size", 64),
        "symmetric": weights("symmetric", True),
        "accuracy_level": weights("accuracy_level", 1),
        "algorithm": weights("algorithm", "hqq"),
        "exclude": weights("exclude", ["/lm_head/MatMul"]),
        "modules": weights("modules", {"model": {"bits": 8}}),
        "activations": dynamic("activations", 16),
        "calibration": dynamic("calibration", "entropy"),
        "percentile": dynamic("percentile", 99.0),
        "dataset": dynamic("dataset", "other"),
        "samples": dynamic("samples", 32),
        "sequence": dynamic("sequence", 64),
        "seed": dynamic("seed", 1),
        "rows": (at("datasets", "d", "limit", value=1), {"m/int8:quantize"}),
        "smooth": dynamic("smooth", "off"),
        "subject_to": dynamic("subject_to", {"cosine_mean": ">= 0.9"}),
        "minimize": dynamic("minimize", "size"),
        "trust_remote_code": (_TRUST[0], _TRUST[1] - {"m/int8:validate-fp32"}),  # a static one has no step before it
    },
    "precision": {
        "dtype": (
            bf16,
            {f"m/o2:{kind}" for kind in ("optimize", "precision", "validate", "validate-fp32", "benchmark")},
        ),
        "keep_io_types": halved("keep_io_types", False),
        "keep_fp32": halved("keep_fp32", ["Softmax"]),
        "dataset": halved("dataset", "other"),
        "samples": halved("samples", 32),
        "sequence": halved("sequence", 64),
        "seed": halved("seed", 1),
        "rows": (at("datasets", "d", "limit", value=1), {"m/o2:precision"}),
        "trust_remote_code": (_TRUST[0], _TRUST[1] | {"m/o2:precision", "m/o2:validate-fp32"}),
    },
    "validate": {
        "runtime": (checked_with(OPENVINO), CHECKED_OPENVINO),
        "device": _DEVICE,
        "task": _TASK,
        "precision": _EIGHT_BITS,
        "shapes": check("validate", "shapes", [[1, 4]]),
        "dataset": check("validate", "dataset", "other"),
        "samples": check("validate", "samples", 32),
        "sequence": check("validate", "sequence", 64),
        "rows": (at("datasets", "d", "limit", value=1), of_m("validate")),
        "seed": check("validate", "seed", 1),
        "thresholds": check("validate", "thresholds", {"cosine_min": 0.5}),
        "on_failure": check("validate", "on_failure", "warn"),
        "max_length": check("validate", "max_length", 40),
        "trust_remote_code": _TRUST,
    },
    "load": {
        "device": (at("models", "r", "targets", value=[{"name": "own", "device": "cuda"}]), {"r/own:load"}),
        "runtime": (opened_with(OPENVINO), {"r/own:load", "r/own:compile-openvino"}),
    },
    "compile-openvino": {
        "task": (
            at("models", "r", "task", value="text-generation"), {"r:fetch", "r:export", "r/own:compile-openvino"},
        ),
        "trust_remote_code": (
            at("models", "r", "export", "trust_remote_code", value=True), {"r:export", "r/own:compile-openvino"},
        ),
        "precision": (compiled(precision="bf16"), OF_OPENVINO),
        "quantize": (compiled(quantize="int8"), OF_OPENVINO),
        "calibration": (calibrated(calibration="mean"), OF_OPENVINO),
        "subject_to": (calibrated(subject_to={"top1": ">= 0.9"}), OF_OPENVINO),
        "weights": (compiled(weights="int8"), OF_OPENVINO),
        "group_size": (compiled(weights="int4", group_size=64), OF_OPENVINO),
        "bounds": (compiled(bounds={"sequence_length": "1..9"}), OF_OPENVINO),
        "dataset": (calibrated(), OF_OPENVINO),
        "samples": (calibrated(samples=7), OF_OPENVINO),
        "sequence": (calibrated(sequence=7), OF_OPENVINO),
        "seed": (calibrated(seed=7), OF_OPENVINO),
        "rows": (another_row, OF_OPENVINO),
    },
    "compile-qaic": {
        "task": (at("models", "r", "task", value="text-generation"), {"r:fetch", *OF_QAIC}),
        "trust_remote_code": (
            at("models", "r", "export", "trust_remote_code", value=True), OF_QAIC,
        ),
        "producer": (on_qaic(producer="qefficient"), OF_QAIC),
        "prefill_seq_len": (on_qaic(prompt_len=16), OF_QAIC),
        "ctx_len": (on_qaic(ctx_len=64), OF_QAIC),
        "batch_size": (on_qaic(batch_size=2), OF_QAIC),
        "full_batch_size": (on_qaic(full_batch_size=2), OF_QAIC),
        "seq_len": (encoder_on_qaic(seq_len=[32, 128]), OF_QAIC),
        "pooling": (encoder_on_qaic(pooling="cls"), OF_QAIC),
        "num_cores": (on_qaic(num_cores=8), OF_QAIC),
        "num_devices": (on_qaic(num_devices=2), OF_QAIC),
        "mxfp6": (on_qaic(mxfp6=True), OF_QAIC),
        "mxint8_kv": (on_qaic(mxint8_kv=True), OF_QAIC),
        "hw_version": (on_qaic(hw_version="ai200"), OF_QAIC),
        "sdk": (on_qaic(sdk="1.22"), OF_QAIC),
        "options": (on_qaic(options={"mos": 1}), OF_QAIC),
    },
    "compile-ort": {
        **rows_of("ort", {"format": "ort"}, level="basic", type_reduction=True),
        **rows_of("ort", {}, format="ort"),
    },
    "compile-qnn": {
        **rows_of("qnn", {}, precision="a8w8", batch=2, sequence=64, soc_model="60", htp_arch="75", optimization="3"),
        **rows_of("qnn", {}, **OF_CALIBRATION),
        "rows": (fewer_rows("qnn"), {"r/own:compile-qnn"}),
    },
    "compile-tensorrt": {
        **rows_of("tensorrt", INT8, options={"device_id": "1"}, shapes={"max": [4, 300]}, engine_cache=False),
        **rows_of("tensorrt", INT8, sequence=7, precision="fp16", **OF_CALIBRATION),
        "rows": (fewer_rows("tensorrt", **INT8), {"r/own:compile-tensorrt"}),
    },
    "compile-coreml": rows_of("coreml", {}, options={"device_id": "1"}, batch=2, sequence=64),
    **{
        f"compile-{name}": rows_of(name, {}, options={"device_id": "1"})
        for name in ("cuda", "webgpu", "migraphx", "dml")
    },
    "benchmark": {
        "runtime": (checked_with(OPENVINO), CHECKED_OPENVINO),
        "task": _TASK,
        "device": _DEVICE,
        "batch": check("benchmark", "batch", [2]),
        "sequence": check("benchmark", "sequence", [64]),
        "threads": check("benchmark", "threads", [2]),
        "iterations": check("benchmark", "iterations", 21),
        "warmup": check("benchmark", "warmup", 6),
        "rounds": check("benchmark", "rounds", 5),
        "baselines": check("benchmark", "baselines", []),
        "throughput": check("benchmark", "throughput", {"dataset": "d", "texts": 8}),
        "rows": (at("datasets", "d", "limit", value=1), of_m("benchmark")),
        "seed": check("benchmark", "seed", 1),
        "trust_remote_code": _TRUST,
    },
    "generate": {
        "task": _TASK,
        "runtime": (checked_with(OPENVINO), CHECKED_OPENVINO),
        "prompts": check("generate", "prompts", ["b"]),
        "max_new_tokens": check("generate", "max_new_tokens", 65),
        "threads": check("generate", "threads", 2),
        "rounds": check("generate", "rounds", 4),
        "trust_remote_code": _TRUST,
    },
    "tune": {
        "task": (_TASK[0], _TASK[1] | of_m("tune")),
        "precision": (_EIGHT_BITS[0], _EIGHT_BITS[1] | {"m/q4:tune"}),
        "batch": check("tune", "batch", [2]),
        "sequence": check("tune", "sequence", [64]),
        "minimize": check("tune", "minimize", "cpu_time"),
        "maximize": check("tune", "maximize", "throughput"),
        "subject_to": check("tune", "subject_to", {"latency.p50": "<= 9"}),
        "settings": check("tune", "settings", ["threads"]),
        "threads": check("tune", "threads", [1]),
        "iterations": check("tune", "iterations", 41),
        "rounds": check("tune", "rounds", 9),
        "warmup": check("tune", "warmup", 6),
        "seed": check("tune", "seed", 1),
        "trust_remote_code": (_TRUST[0], _TRUST[1] | of_m("tune")),
    },
    **{
        kind: {
            "task": (_TASK[0], _TASK[1] | _OF_PACKAGE),
            "graphs": (at("models", "m", "package", value={"plain": {"targets": ["int8"]}}), _OF_PACKAGE),
            "trust_remote_code": (_TRUST[0], _TRUST[1] | _OF_PACKAGE),
        }
        for kind in ("package-plain", "client-plain")
    },
    "package-server": {"tolerance": (packaging("server", tolerance=0.02), {"m:package-server"})},
    "package-triton": {
        **of_repository(
            "triton",
            max_batch_size=5,
            preferred_batch_sizes=[4],
            max_queue_delay_microseconds=7,
            latest_versions=2,
            instances=3,
            accelerator="openvino",
            warmup=False,
            ensemble=False,
        ),
        "on_cuda": (on_another_device, {*_DEVICE[1], "m:package-triton"}),
    },
    "package-ovms": of_repository("ovms", base_path="/srv/models", target_device="GPU"),
    "publish": {
        "hub": publishing(hub="me/other"),
        "folder": publishing(hub="", folder="site"),
        "s3": publishing(hub="", s3="s3://bucket/m"),
        "oci": publishing(hub="", oci="registry.example/m"),
        "private": publishing(private=False),
        "pull_request": publishing(pull_request=True),
        "tag": publishing(tag="v1"),
        "license": publishing(license="apache-2.0"),
        "overwrite": publishing(overwrite=True),
        "unchecked": publishing(unchecked=True),
    },
    "package-transformers.js": {
        "task": (_TASK[0], _TASK[1] | _OF_JAVASCRIPT),
        "trust_remote_code": (_TRUST[0], _TRUST[1] | _OF_JAVASCRIPT - {"m:client-transformers.js"}),
        "graphs": (javascript(dtypes={"q8": "plain"}), _OF_JAVASCRIPT),
        "default_dtype": (javascript(dtypes={"q8": "int8", "fp32": "plain"}, default_dtype="fp32"), _OF_JAVASCRIPT),
        "chunk_bytes": (javascript(chunk_bytes=77), {"m:package-transformers.js"}),
        "recipes": (
            at("targets", "int8", "quantize", "per_channel", value=False),
            {"m/int8:quantize", "m:package-transformers.js"},
        ),
    },
    "client-transformers.js": {
        "task": (_TASK[0], _TASK[1] | _OF_JAVASCRIPT),
        "graphs": (javascript(dtypes={"fp32": "int8"}), _OF_JAVASCRIPT),
        "clients": (javascript(clients=["wasm"]), {"m:client-transformers.js"}),
        "library": (javascript(library=3), {"m:client-transformers.js"}),
    },
}  # fmt: skip


def with_data(place: Place) -> None:
    place.manifest["datasets"] = {name: {"source": [{"text": "a"}, {"text": "b"}]} for name in ("d", "other")}


def with_tuning(place: Place) -> None:
    place.manifest["models"]["m"]["tune"] = {}


def with_a_package(place: Place) -> None:
    place.manifest["models"]["m"]["package"] = {"plain": {"targets": ["o2"]}}


def with_an_upload(place: Place) -> None:
    with_a_package(place)
    publishing()[0](place)


def with_half(place: Place, **more: Any) -> None:
    with_data(place)
    precision = {"dtype": "fp16", "keep_fp32": "auto", "dataset": "d", **more}
    place.manifest["targets"]["o2"] = {"optimize": "O2", "precision": precision}


def with_static(place: Place, **more: Any) -> None:
    with_data(place)
    place.manifest["targets"]["int8"] = {"quantize": {"method": "static", "dataset": "d", **more}}


def with_a_search(place: Place) -> None:
    search = {"method": "auto", "subject_to": {"cosine_mean": ">= 0.99"}}
    place.manifest["targets"]["int8"] = {"quantize": search}


def with_rows(place: Place) -> None:
    with_data(place)
    place.manifest["models"]["m"]["validate"] = {"dataset": "d"}


def with_texts(place: Place) -> None:
    """A model that reads each text once."""
    with_data(place)
    place.manifest["models"]["m"] |= {"task": "text-classification", "benchmark": {"throughput": {"dataset": "d"}}}
    del place.manifest["models"]["m"]["generate"]


# Fields of an exporter that needs other versions than those installed here: no manifest can set them where tests run.
ELSEWHERE: Mapping[str, Mapping[str, Any]] = {
    "export": {"provider": "cuda", "options": {"int4_block_size": 32}},
    # `insisted` is derived for each precision by itself, and `library` for timm: tests/workers/test_bounds.py and
    # tests/workers/test_timm.py.
    "validate": {"insisted": ["top1"], "library": "timm"},
    "benchmark": {"library": "timm"},
    # The name of the kind says it.
    "compile-openvino": {"backend": "openvino"},
    # It follows from the machine and the level: tests/workers/test_ort_backend.py.
    "compile-ort": {"cpu": "avx2"},
    # The name of the kind says it, and a worker that serves several reads it.
    **{
        kind: {"provider": "cuda"}
        for kind in KINDS
        if kind.startswith("compile-") and hasattr(KINDS[kind].params, "provider")
    },
    # `prompt_len` is another name of `prefill_seq_len`, and is folded into it.
    "compile-qaic": {"backend": "qaic", "prompt_len": 16},
    # It says for which variants a tuning runs, and nothing of the tuning: tests/planning/test_best_only.py.
    "tune": {"only": "best"},
    # Planning follows both, and leaves them out of the key: tests/planning/test_planned_packages.py.
    "package-plain": {"client": False, "targets": ["int8"]},
    # `package` chooses the input; the others come from the source and from HF_ENDPOINT:
    # tests/planning/test_planned_uploads.py.
    "publish": {"package": "plain", "base_model": "o/n", "endpoint": "https://hub.example"},
    "package-transformers.js": {
        "client": False,
        "targets": ["int8"],
        "dtypes": {"q8": "int8"},
        "clients": ["wasm"],
        "library": 3,
        "word_timestamps": True,
        "halves": "beside",  # refused for the model of these tests (OB778)
    },
    "client-transformers.js": {"trust_remote_code": True, "halves": "only", "word_timestamps": True},
    # Planning takes both from the targets and the export: tests/planning/test_planned_packages.py.
    "package-ort-model-package": {"devices": {"gpu": "cuda"}},
    "package-genai": {"max_length": 40},
    # Planning takes it from the backends of the targets: tests/commands/test_compiled_targets.py.
    "client-compiled": {"runtimes": {"ov": {"backend": "openvino", "needs": ["openvino"]}}},
}


@pytest.mark.parametrize(("kind", "field"), [(kind, field) for kind, of in ELSEWHERE.items() for field in of])
def test_a_field_that_no_edit_here_sets_is_in_the_key(kind: str, field: str) -> None:
    make = KINDS[kind].params
    plain, changed = make(), make(**{field: ELSEWHERE[kind][field]})
    assert field not in msgspec.to_builtins(plain)
    assert msgspec.to_builtins(changed)[field] == ELSEWHERE[kind][field]


# What has to be built first, where a field has no meaning in the manifest that all tests begin with.
BEFORE: Mapping[tuple[str, str], Edit] = {
    ("prepare", "flatten"): quantized,
    ("prepare", "adapter"): quantized,
    ("prepare", "unpack"): quantized,
    ("prepare", "trust_remote_code"): quantized_with_an_adapter,
    ("precision", "dtype"): lambda place: with_half(place, keep_fp32=[], dataset=""),
    ("precision", "keep_io_types"): lambda place: with_half(place, keep_fp32=[], dataset=""),
    ("precision", "keep_fp32"): lambda place: with_half(place, keep_fp32=[], dataset=""),
    **{("precision", field): with_half for field in (
        "dataset", "samples", "sequence", "seed", "rows", "trust_remote_code"
    )},
    **{("benchmark", field): with_texts for field in ("throughput", "rows")},
    **{("validate", field): with_rows for field in ("dataset", "samples", "sequence", "rows")},
    **{("compile-openvino", field): compiled() for field in (
        "task", "trust_remote_code", "precision", "quantize", "weights", "bounds"
    )},
    **{("compile-qaic", field): on_qaic() for field in FIELDS["compile-qaic"]},
    **{("compile-qaic", field): encoder_on_qaic() for field in ("seq_len", "pooling")},
    ("compile-openvino", "group_size"): compiled(weights="int4"),
    ("compile-openvino", "dataset"): compiled(quantize="int8"),
    **{("compile-openvino", field): calibrated() for field in (
        "samples", "sequence", "seed", "rows", "subject_to", "calibration"
    )},
    **{
        (kind, field): built_for(kind.removeprefix("compile-"), **BASES.get(kind, {}))
        for kind in FIELDS
        if kind.startswith("compile-") and kind not in {"compile-openvino", "compile-qaic"}
        for field in FIELDS[kind]
    },
    **{(kind, "rows"): built_for(kind.removeprefix("compile-"), **block) for kind, block in ON_ROWS.items()},
    ("compile-ort", "type_reduction"): built_for("ort", format="ort"),
    ("compile-ort", "level"): built_for("ort", format="ort"),
    **{(kind, "runtime"): checked_with({}) for kind in ("validate", "benchmark", "generate")},
    ("load", "runtime"): opened_with({}),
    ("load", "device"): with_a_target_that_is_only_opened,
    **{("tune", field): with_tuning for field in FIELDS["tune"]},
    **{(kind, field): with_a_package for kind in ("package-plain", "client-plain") for field in FIELDS[kind]},
    **{("publish", field): with_an_upload for field in FIELDS["publish"]},
    **{
        (f"package-{name}", field): packaging(name)
        for name in ("server", "triton", "ovms") for field in FIELDS[f"package-{name}"]
    },
    **{
        (kind, field): javascript()
        for kind in ("package-transformers.js", "client-transformers.js") for field in FIELDS[kind]
    },
    **{("quantize", field): with_a_search for field in ("subject_to", "minimize")},
    ("quantize", "percentile"): lambda place: with_static(place, calibration="percentile"),
    **{("quantize", field): with_static for field in (
        "activations", "calibration", "dataset", "samples", "sequence", "seed", "rows", "trust_remote_code"
    )},
}  # fmt: skip


# What every package and every check of one has: planning fills it in alike for all, and `plain` stands for them here.
# What every backend has: planning fills it in alike for all, and `openvino` stands for them here.
OF_BACKENDS = {field.name for field in structs.fields(CompileParams)}
OF_PACKAGES = {field.name for base in (PackageParams, ClientParams) for field in structs.fields(base)}


def test_every_field_of_every_kind_has_a_row() -> None:
    fields = {name: {field.name for field in structs.fields(kind.params)} for name, kind in KINDS.items()}
    fields |= {name: fields[name] - OF_PACKAGES for name, kind in KINDS.items() if kind.package not in {"", "plain"}}
    fields |= {name: fields[name] - OF_BACKENDS for name, kind in KINDS.items() if kind.backend not in {"", "openvino"}}
    lacking = {name: of - FIELDS.get(name, {}).keys() - ELSEWHERE.get(name, {}).keys() for name, of in fields.items()}
    assert {name: of for name, of in lacking.items() if of} == {}, "add a row to FIELDS that sets the new field"


@pytest.mark.parametrize(("kind", "field"), [(kind, field) for kind, of in FIELDS.items() for field in of])
def test_a_changed_param_rebuilds_its_action_and_what_follows(place: Place, kind: str, field: str) -> None:
    edit, expected = FIELDS[kind][field]
    if (kind, field) in BEFORE:
        BEFORE[kind, field](place)
        place.build()
    before = place.graph()
    edit(place)
    assert rebuilt(place) == expected
    after = place.graph()
    changed = [name for name in before.actions.keys() & after.actions if before.actions[name].kind == kind]
    of_field = [name for name in changed if before.actions[name].params != after.actions[name].params]
    if field != "origin":
        assert of_field, "the edit changes an action of this kind"
        for name in of_field:
            assert before.actions[name].params.get(field) != after.actions[name].params.get(field)
            assert any(part.startswith(f"params.{field}") for part in parts_changed(place, name))


# -- files and rows -----------------------------------------------------------------------------------------------


def swap(place: Place, one: str, other: str) -> None:
    left, right = (place.root / name for name in (one, other))
    data = left.read_bytes()
    left.write_bytes(right.read_bytes())
    right.write_bytes(data)


def in_place(place: Place) -> None:
    """One byte, with size and mtime kept."""
    path = place.root / "model" / "model.safetensors"
    status = path.stat()
    with open(path, "r+b") as file:
        file.write(b"W")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


INPUTS: Mapping[str, tuple[Edit, set[str]]] = {
    "weights": (lambda place: place.write("model/model.safetensors", "other weights"), {"m:fetch"}),
    "one byte in place": (in_place, {"m:fetch"}),
    "tokenizer": (lambda place: place.write("model/tokenizer.json", "other"), {"m:fetch"}),
    "config": (lambda place: place.write("model/config.json", json.dumps({**CONFIG, "n_layer": 3})), {"m:fetch"}),
    "two files swap their names": (lambda place: swap(place, "model/tokenizer.json", "model/vocab.json"), {"m:fetch"}),
    "a file more": (lambda place: place.write("model/generation_config.json", "{}"), {"m:fetch"}),
    "a file less": (lambda place: (place.root / "model" / "vocab.json").unlink(), {"m:fetch"}),
    "another format of weights": (
        lambda place: (place.root / "model/model.safetensors").rename(place.root / "model/pytorch_model.bin"),
        {"m:fetch"},
    ),
    "text of a tokenizer": (lambda place: place.write("text/text.txt", "other text"), {"r:fetch"}),
    "rows of a dataset": (at("datasets", "d", "source", value=[{"text": "c"}]), {"m/int8:quantize"}),
    "texts of a throughput": (at("datasets", "d", "source", value=[{"text": "c"}]), of_m("benchmark")),
    "rows to validate with": (at("datasets", "d", "source", value=[{"text": "c"}]), of_m("validate")),
    "weights of an adapter": (
        lambda place: place.write("lora/adapter_model.safetensors", "other"), {"adapters/m:fetch"},
    ),
    "tokenizer of an adapter": (lambda place: place.write("lora/tokenizer.json", "its own"), {"adapters/m:fetch"}),
    "weights below an adapter": (lambda place: place.write("model/model.safetensors", "other weights"), {"m:fetch"}),
    "commit of a hub revision": (lambda place: place.lock("o/n", "decaf"), {"h:fetch"}),
}  # fmt: skip


@pytest.mark.parametrize("name", INPUTS)
def test_a_changed_input_rebuilds_from_its_fetch_on(place: Place, name: str) -> None:
    edit, expected = INPUTS[name]
    firsts = {"rows of a dataset": with_static, "rows to validate with": with_rows, "texts of a throughput": with_texts}
    first = firsts.get(name)
    first = with_an_adapter if name.endswith(" adapter") else first
    if first is not None:
        first(place)
        place.build()
    edit(place)
    assert rebuilt(place) == expected


# -- versions, toolchain, machine ---------------------------------------------------------------------------------

OF_M = {kind: of_m(kind) for kind in ("validate", "benchmark", "generate")}
OPTIMIZED = {"m/o2:optimize", "m/int8:optimize"}
QUANTIZED = {"m/int8:quantize", "m/q4:quantize"}
EXPORTED = {"m:export", "r:export", "h:export"}
CHECKED = {name for of in OF_M.values() for name in of}

PACKAGES: Mapping[str, set[str]] = {
    "onnxruntime": OPTIMIZED | QUANTIZED | CHECKED,
    "onnx": EXPORTED | OPTIMIZED | QUANTIZED,
    "onnx-ir": QUANTIZED,
    "optimum": EXPORTED | OF_M["generate"],
    "optimum-onnx": EXPORTED | OF_M["generate"],
    "transformers": EXPORTED | OPTIMIZED | CHECKED | {"r:fetch", "m/int8:quantize"},  # which reads text
    "torch": EXPORTED | CHECKED | {"r:fetch"},
    "tokenizers": {"r:fetch"},
    "sentence-transformers": EXPORTED | OF_M["validate"] | OF_M["benchmark"],
    **dict.fromkeys(("scipy", "scikit-learn", "seqeval", "sacrebleu", "rouge-score"), OF_M["validate"]),
    "pytest": set(),
}


@pytest.mark.parametrize("name", PACKAGES)
def test_another_version_of_a_package_rebuilds_what_declares_it(place: Place, name: str) -> None:
    place.runner.versions[name] = "2.0"
    own = {one for one, outcome in place.plan().items()
           if any(reason.part == f"packages.{name}" for reason in outcome.reasons)}  # fmt: skip
    assert own == PACKAGES[name]
    assert rebuilt(place) == PACKAGES[name]


def test_every_declared_package_has_a_row(place: Place) -> None:
    declared = {
        name
        for action in place.graph().actions.values()
        for name in KINDS[action.kind].packages(msgspec.convert(action.params, KINDS[action.kind].params))
    }
    assert declared <= PACKAGES.keys()


def test_fp16_exports_are_converted_by_onnxruntime(place: Place) -> None:
    half(place)
    place.build()
    place.runner.versions["onnxruntime"] = "2.0"
    assert "m:export" in rebuilt(place)


def test_another_python_rebuilds_what_runs_frameworks(place: Place) -> None:
    place.runner.python = "cpython-3.12"
    assert rebuilt(place) == EXPORTED | OPTIMIZED | QUANTIZED | CHECKED | {"r:fetch"}


@pytest.mark.parametrize("kind", KINDS)
def test_another_version_of_a_step_kind_rebuilds_its_actions(place: Place, kind: str) -> None:
    place.kinds[kind] = structs.replace(KINDS[kind], version=KINDS[kind].version + 1)
    assert rebuilt(place) == {name for name, action in place.graph().actions.items() if action.kind == kind}


@pytest.mark.parametrize("change", [{"cpu": "Other CPU"}, {"cores": 2}, {"flags": ("avx2", "avx512f")}])
def test_another_machine_rebuilds_what_measures(
    place: Place, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    monkeypatch.setattr(assess_module, "this_machine", lambda: structs.replace(MACHINE, **change))
    assert rebuilt(place) == OF_M["benchmark"] | OF_M["generate"]


# -- what must not count ------------------------------------------------------------------------------------------


def reorder(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reorder(value[key]) for key in reversed(value)}
    return value


def rename_target(place: Place) -> None:
    targets = place.manifest["targets"]
    targets["light"] = targets.pop("q4")
    place.manifest["models"]["m"]["targets"] = ["plain", "o2", "int8", "light"]


def rename_model(place: Place) -> None:
    place.manifest["models"]["another"] = place.manifest["models"].pop("m")


def touch(place: Place) -> None:
    for path in place.root.rglob("*"):
        os.utime(path, (1, 1))


def rewrite(place: Place) -> None:
    """The same content in new files."""
    for path in [*(place.root / "model").iterdir(), *(place.root / "text").iterdir()]:
        copied = path.with_name("copy")
        shutil.copyfile(path, copied)
        copied.replace(path)


def spell_out(place: Place) -> None:
    """Every default that the manifest leaves out."""
    m = place.manifest["models"]["m"]
    m["export"] |= {"opset": 18, "dtype": "fp32", "attention": "auto", "library": "auto"}
    m["validate"] = {"seed": 0, "on_failure": "fail", "shapes": [[1, 8], [1, 64], [4, 32]]}
    place.manifest["targets"]["o2"] = {"optimize": {"level": "O2"}, "device": "cpu"}
    place.manifest["targets"]["q4"]["quantize"] |= {"bits": 4, "block_size": 32, "accuracy_level": 4}


def steps_in_full(place: Place) -> None:
    int8 = place.manifest["targets"]["int8"]
    place.manifest["targets"]["int8"] = {"steps": [{"optimize": int8["optimize"]}, {"quantize": int8["quantize"]}]}


def add_a_model(place: Place) -> None:
    place.manifest["models"] = {
        "first": {"source": {"random": "gpt2", "seed": 9}, "task": TASK, "targets": ["plain"]},
        **place.manifest["models"],
    }


NOTHING: Mapping[str, Edit] = {
    "mtime": touch,
    "new files with the same content": rewrite,
    "order of keys": lambda place: place.manifest.update(reorder(place.manifest)),
    "name of a target": rename_target,
    "name of a model": rename_model,
    "defaults spelt out": spell_out,
    "steps in full": steps_in_full,
    "another model": add_a_model,
    "a README beside the weights": lambda place: place.write("model/README.md", "read me"),
    "weights in a second format": lambda place: place.write("model/tf_model.h5", "the same, for TensorFlow"),
    "a neighbour of a text": lambda place: place.write("text/other.txt", "not named"),
    "a timeout": at("models", "m", "timeout", value=77),
    "a target that nobody uses": at("targets", "unused", value={"optimize": "O3"}),
    "a variable": at("vars", value={"x": 1}),
    "the order of names in a set": at("targets", "q4", "quantize", "exclude", value=[]),
}


@pytest.mark.parametrize("name", NOTHING)
def test_what_cannot_change_a_result_rebuilds_nothing(place: Place, name: str) -> None:
    NOTHING[name](place)
    planned = place.plan()
    runs = {one for one, outcome in planned.items() if outcome.outcome != "hit"}
    assert {one for one in runs if not one.startswith("first")} == set()
    assert bool(runs) == (name == "another model")


def test_comments_and_whitespace_do_not_count(place: Place) -> None:
    text = "# a comment\n\n" + json.dumps(place.manifest, indent=7).replace("\n", "   # here too\n")
    assert {outcome.outcome for outcome in place.plan(text).values()} == {"hit"}


def test_the_place_does_not_count(place: Place, tmp_path: Path) -> None:
    moved = tmp_path / "deep" / "there"
    moved.parent.mkdir()
    place.root.rename(moved)
    place.root = moved
    assert {outcome.outcome for outcome in place.plan().values()} == {"hit"}


@pytest.mark.parametrize(
    "name", ["HF_ENDPOINT", "HF_TOKEN", "HF_HOME", "OMP_NUM_THREADS", "ONNXBUILD_STORE", "PYTHONHASHSEED", "LANG", "TZ"]
)
def test_environment_that_does_not_count(place: Place, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "7")
    assert {outcome.outcome for outcome in place.plan().values()} == {"hit"}


@pytest.mark.parametrize("field", ["exclude", "operators"])
def test_the_order_of_names_that_form_a_set_does_not_count(place: Place, field: str) -> None:
    block = place.manifest["targets"]["int8"]["quantize"]
    block[field] = ["MatMul", "Gather"]
    place.build()
    block[field] = ["Gather", "MatMul", "Gather"]
    assert rebuilt(place) == set()


def test_the_order_in_which_dimensions_are_measured_does_not_count_twice(place: Place) -> None:
    """Equal rows in another order are another table, so the order is part of the key."""
    block = place.manifest["models"]["m"]["benchmark"]
    block["batch"] = [1, 2]
    place.build()
    block["batch"] = [2, 1]
    assert rebuilt(place) == OF_M["benchmark"]
