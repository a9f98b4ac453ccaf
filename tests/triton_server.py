"""A small server that speaks the KServe v2 protocol as Triton does, over a model repository. It is not Triton.

It refuses what Triton refuses: another name, type or shape than the config states, and a batch above the largest.
"""

from __future__ import annotations

import json
import signal
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import onnxruntime
from loopback import Loopback

from onnxbuild.workers.package.repositories.triton_contract import read_config_file
from onnxbuild.workers.package.repositories.triton_stand_in import run_python_model

TYPES = {"BOOL": np.bool_, "INT32": np.int32, "INT64": np.int64, "FP32": np.float32}
NAMES = {np.dtype(value).name: name for name, value in TYPES.items()}


class Refused(Exception):  # noqa: N818 - as it reads
    """A request that Triton would refuse."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        triton = self.server.triton
        triton.asked.append(self.path)
        if self.path == "/v2":
            return self._json(200, {"name": "triton", "version": "0.0.loopback"})
        parts = self.path.strip("/").split("/")
        ready = self.path == "/v2/health/ready" or (parts[:2] == ["v2", "models"] and parts[2] in triton.configs)
        return self._json(200 if ready else 400, {})

    def do_POST(self):
        triton = self.server.triton
        triton.asked.append(self.path)
        content = self.rfile.read(int(self.headers["content-length"]))
        head = int(self.headers.get("inference-header-content-length", len(content)))
        try:
            model = triton.model_at(self.path)
            feeds = decoded(json.loads(content[:head]), content[head:])
            check(triton.configs[model], feeds)
            self._answer(model, triton.run(model, feeds))
        except Refused as error:
            self._json(400, {"error": str(error)})

    def _answer(self, model, outputs):
        described, content = [], b""
        for name, array in outputs.items():
            data = np.ascontiguousarray(array).tobytes()
            described.append({
                "name": name, "datatype": NAMES[array.dtype.name], "shape": list(array.shape),
                "parameters": {"binary_data_size": len(data)},
            })  # fmt: skip
            content += data
        head = json.dumps({"model_name": model, "model_version": "1", "outputs": described}).encode()
        self.send_response(200)
        self.send_header("inference-header-content-length", str(len(head)))
        self.send_header("content-length", str(len(head) + len(content)))
        self.end_headers()
        self.wfile.write(head + content)

    def _json(self, status, value):
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def decoded(request, content):
    """The arrays of a request: each is its bytes behind the header, texts with their lengths."""
    feeds = {}
    for one in request["inputs"]:
        size = one["parameters"]["binary_data_size"]
        data, content = content[:size], content[size:]
        feeds[one["name"]] = texts(data, one["shape"]) if one["datatype"] == "BYTES" else np.frombuffer(
            data, TYPES[one["datatype"]]
        ).reshape(one["shape"])  # fmt: skip
    if content:
        raise Refused("bytes are left over")
    return feeds


def texts(data, shape):
    values = []
    while data:
        length = int.from_bytes(data[:4], "little")
        values.append(data[4 : 4 + length])
        data = data[4 + length :]
    return np.array(values, dtype=np.object_).reshape(shape)


def check(config, feeds):
    if feeds.keys() != {one.name for one in config.input}:
        raise Refused(f"`{config.name}` takes {[one.name for one in config.input]}, not {[*feeds]}")
    for one in config.input:
        array = feeds[one.name]
        batch, shape = (array.shape[0], array.shape[1:]) if config.max_batch_size else (0, array.shape)
        if batch > config.max_batch_size:
            raise Refused(f"a batch of {batch} is above {config.max_batch_size}")
        if len(shape) != len(one.dims) or any(dim not in {-1, size} for dim, size in zip(one.dims, shape, strict=True)):
            raise Refused(f"`{one.name}` has the shape {shape}, not {list(one.dims)}")


class Triton(Loopback):
    """Serves the repository in `models`. `asked` has the path of each request."""

    def __init__(self, models: Path, changed: float = 0.0, port: int = 0):
        super().__init__(Handler, "triton", port)
        self.models, self.changed, self.asked = models, changed, []
        self.configs = {path.name: read_config_file(path) for path in models.iterdir() if path.is_dir()}

    @property
    def url(self):
        return f"127.0.0.1:{self._server.server_port}"

    def model_at(self, path):
        parts = path.strip("/").split("/")
        if parts[:2] != ["v2", "models"] or parts[-1] != "infer" or parts[2] not in self.configs:
            raise Refused(f"no model at {path}")
        return parts[2]

    def run(self, name, feeds):
        config = self.configs[name]
        if config.platform == "ensemble":
            values = dict(feeds)
            for step in config.ensemble_scheduling.step:
                found = self.run(step.model_name, {one: values[step.input_map[one]] for one in step.input_map})
                values |= {step.output_map[one]: array for one, array in found.items() if one in step.output_map}
            return {one.name: values[one.name] for one in config.output}
        if config.backend == "python":
            return run_python_model(self.models / name / "1", feeds)
        session = onnxruntime.InferenceSession(self.models / name / "1" / "model.onnx")
        names = [one.name for one in session.get_outputs()]
        return {n: a + np.asarray(self.changed, a.dtype) for n, a in zip(names, session.run(names, feeds), strict=True)}


def main() -> None:
    """`tritonserver --model-repository DIR --http-port PORT …`, for a test that puts it on the PATH."""
    options = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
    assert options["--http-address"] == "127.0.0.1"
    with Triton(Path(options["--model-repository"]), port=int(options["--http-port"])):
        signal.pause()


if __name__ == "__main__":
    main()
