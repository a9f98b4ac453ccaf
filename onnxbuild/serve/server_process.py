"""The server itself: uvicorn around the application, until a signal ends it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Iterator

import uvicorn

from onnxbuild.serve.limits_of_server import ServedFolder, ServerOptions
from onnxbuild.serve.renewed_certificate import watch_certificate
from onnxbuild.serve.running.served_model import ServedModel, ServedModels
from onnxbuild.serve.web.application import application
from onnxbuild.serve.web.server_metrics import ServerMetrics

_KEEP_ALIVE = 30  # seconds that an idle connection stays open
_CONNECTIONS = 4096


def run_server(folders: tuple[ServedFolder, ...], options: ServerOptions) -> int:
    """Serve until SIGTERM or SIGINT; requests in flight are answered first. Return the exit code.

    Errors: OSError if the address cannot be used, UnusableFolderError if a model cannot be opened.
    """
    _log_to_stderr(access=options.access_log)
    metrics = ServerMetrics()
    served = [ServedModel(one, options, metrics.counted(one.names[0])) for one in folders]
    models = ServedModels(served, options.reload)
    with _bound(options.host, options.port) as listening:
        config = uvicorn.Config(
            application(models, metrics, options),
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            ws="none",
            timeout_keep_alive=_KEEP_ALIVE,
            timeout_graceful_shutdown=int(options.limits.drain),
            backlog=_CONNECTIONS,
            ssl_certfile=options.tls.certificate if options.tls is not None else None,
            ssl_keyfile=options.tls.key if options.tls is not None else None,
        )
        _Server(config, models, options).run([listening])
    return 0


def _bound(host: str, port: int) -> socket.socket:
    """A socket with the address, on which nothing listens before the models are open. Errors: OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    bound = socket.socket(family, kind, protocol)
    try:
        if sys.platform != "win32":  # there, it would let a second server take the port
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


class _Server(uvicorn.Server):
    """uvicorn's server, with the models as long as it serves."""

    def __init__(self, config: uvicorn.Config, models: ServedModels, options: ServerOptions) -> None:
        super().__init__(config)
        self._models, self._options = models, options
        self._watch: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the models, then listen."""
        await self._models.open()
        await super().startup(sockets)
        if self._options.tls is not None and self.config.ssl is not None and self._options.reload:
            watch = watch_certificate(self.config.ssl, self._options.tls, self._options.reload)
            self._watch = asyncio.create_task(watch)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        scheme = "https" if self.config.is_ssl else "http"
        print(f"ready at {scheme}://{shown}:{port}; Ctrl-C ends it", file=sys.stderr, flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nothing more, answer what is in flight, then close the models."""
        if self._watch is not None:
            self._watch.cancel()
        await super().shutdown(sockets)
        await self._models.close()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let SIGTERM and SIGINT end the server in order; uvicorn would raise them again afterwards."""
        handled = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, before in handled.items():
                signal.signal(number, before)


def _log_to_stderr(*, access: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    for name, level in (("onnxbuild.serve", logging.INFO), ("uvicorn.error", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
    logging.getLogger("onnxbuild.serve.access").disabled = not access
