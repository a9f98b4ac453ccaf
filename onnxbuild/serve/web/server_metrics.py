"""What `/metrics` shows. Labels are names of models and of addresses, never what a client chose."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from onnxbuild.serve.running.crew_of_model import Counted
from onnxbuild.serve.running.served_model import ServedModels

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_ITEMS = (1, 2, 4, 8, 16, 32, 64, 128)


class ServerMetrics:
    """The metrics of one server."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        labels = ("address", "status")
        self._requests = Counter("onnxbuild_requests", "answered requests", labels, registry=registry)
        self._seconds = Histogram(
            "onnxbuild_request_seconds", "time to answer", ("address",), buckets=_SECONDS, registry=registry
        )
        self._batches = Histogram(
            "onnxbuild_batch_items", "items that ran together", ("model",), buckets=_ITEMS, registry=registry
        )
        self._restarts = Counter("onnxbuild_restarts", "processes that ended", ("model",), registry=registry)
        self._waiting = Gauge("onnxbuild_waiting", "texts that wait", ("model",), registry=registry)
        self._running = Gauge(
            "onnxbuild_running", "batches and completions that processes have", ("model",), registry=registry
        )
        self._processes = Gauge("onnxbuild_processes", "processes that are ready", ("model",), registry=registry)

    def counted(self, model: str) -> Counted:
        """What a crew of a model calls."""
        return Counted(self._batches.labels(model).observe, self._restarts.labels(model).inc)

    def request(self, address: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        self._requests.labels(address, str(status)).inc()
        self._seconds.labels(address).observe(seconds)

    def text(self, models: ServedModels) -> bytes:
        """All metrics in the format of Prometheus."""
        for model in models.all:
            self._waiting.labels(model.names[0]).set(model.crew.waits)
            self._running.labels(model.names[0]).set(model.crew.runs)
            self._processes.labels(model.names[0]).set(len(model.crew.pids))
        return generate_latest(self._registry)
