"""The server itself: uvicorn around the application, until a signal ends it."""

from __future__ import annotations

import logging
import sys

import uvicorn

from onnxbuild.serve.limits_of_server import ServedFolder, ServerOptions
from onnxbuild.serve.web.application import application

_KEEP_ALIVE = 30  # seconds that an idle connection stays open
_CONNECTIONS = 4096


def run_server(folders: tuple[ServedFolder, ...], options: ServerOptions) -> int:
    """Serve until SIGTERM or SIGINT; requests in flight are answered first. Return the exit code."""
    _log_to_stderr(access=options.access_log)
    config = uvicorn.Config(
        application(folders, options),
        host=options.host,
        port=options.port,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        ws="none",
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=int(options.limits.drain),
        backlog=_CONNECTIONS,
    )
    server = _Server(config)
    server.run()
    return 0 if server.started else 1


class _Server(uvicorn.Server):
    """uvicorn's server, which prints its address once the models are ready."""

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        await super().startup(sockets)  # type: ignore[arg-type]
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            print(f"ready at http://{host}:{port}; Ctrl-C ends it", file=sys.stderr, flush=True)


def _log_to_stderr(*, access: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    for name, level in (("onnxbuild.serve", logging.INFO), ("uvicorn.error", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
    logging.getLogger("onnxbuild.serve.access").disabled = not access
