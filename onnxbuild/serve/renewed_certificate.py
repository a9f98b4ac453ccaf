"""The certificate of a running server: a renewed one counts for the connections that are opened from then on."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl

from onnxbuild.serve.limits_of_server import Tls

_LOG = logging.getLogger("onnxbuild.serve")

_Stamp = tuple[tuple[int, int, int], ...]


async def watch_certificate(context: ssl.SSLContext, tls: Tls, seconds: float) -> None:
    """Look at the files from time to time, and load them again when they have changed."""
    last = _stamp(tls)
    while True:
        await asyncio.sleep(seconds)
        stamp = _stamp(tls)
        if stamp and stamp != last:
            last = stamp
            _load(context, tls)


def _load(context: ssl.SSLContext, tls: Tls) -> None:
    try:
        # First into a context of its own: OpenSSL takes the key from one whose new certificate has another.
        _load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), tls)
        _load_into(context, tls)
    except (OSError, ValueError) as error:
        _LOG.error("the certificate stays as it was: %s", error)
    else:
        _LOG.info("the certificate was renewed")


def _load_into(context: ssl.SSLContext, tls: Tls) -> None:
    context.load_cert_chain(tls.certificate, tls.key, lambda: "")  # else OpenSSL asks at the terminal for a password


def _stamp(tls: Tls) -> _Stamp:
    """What differs as soon as a file was replaced; empty while one is missing."""
    try:
        found = (os.stat(tls.certificate), os.stat(tls.key))
    except OSError:
        return ()
    return tuple((one.st_ino, one.st_mtime_ns, one.st_size) for one in found)
