"""From the command line to the options of a server."""

from __future__ import annotations

import argparse

from onnxbuild.commands.serving.tls_files import tls_files
from onnxbuild.serve.limits_of_server import Limits, ServerOptions


def server_options(options: argparse.Namespace) -> ServerOptions:
    """The options without the API keys. Errors: DiagnosticError OB739 for a certificate or a key."""
    limits = Limits(
        batch=options.max_batch,
        wait=options.max_wait / 1000,
        queue=options.max_queue,
        items=options.max_items,
        body=options.max_body,
        tokens=options.max_tokens,
        sequences=options.max_sequences,
        timeout=options.timeout,
        drain=options.drain,
    )
    return ServerOptions(
        host=options.host,
        port=options.port,
        workers=options.workers,
        threads=options.threads,
        reload=0.0 if options.no_reload else options.reload,
        access_log=not options.no_access_log,
        limits=limits,
        tls=tls_files(options.tls_cert, options.tls_key),
    )
