"""The certificate and the key of `serve`, checked before a model is opened."""

from __future__ import annotations

import os
import re
import ssl

from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.regular_files import read_regular
from onnxbuild.serve.limits_of_server import Tls

_LARGEST = 1 << 20  # bytes; a chain of four certificates has 8 kB
_CERTIFICATE = re.compile(rb"^-----BEGIN CERTIFICATE-----", re.MULTILINE)
_KEY = re.compile(rb"^-----BEGIN ([A-Z]+ )?PRIVATE KEY-----", re.MULTILINE)
_OTHER_KEY = "KEY_VALUES_MISMATCH"


def tls_files(certificate: str | None, key: str | None) -> Tls | None:
    """The pair that the command line names, None for a server without TLS. Errors: DiagnosticError OB739."""
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        given, absent = ("--tls-key", "--tls-cert") if certificate is None else ("--tls-cert", "--tls-key")
        raise _unusable(f"`{given}` needs `{absent}`", "name both, or neither of them")
    _check_content("certificate", certificate, _CERTIFICATE)
    _check_content("private key", key, _KEY)
    _check_pair(certificate, key)
    return Tls(os.path.abspath(certificate), os.path.abspath(key))


def _check_content(what: str, path: str, form: re.Pattern[bytes]) -> None:
    # The file may be a link, as those of certbot and of Kubernetes are.
    try:
        content = read_regular(os.path.realpath(path), _LARGEST)
    except OSError as error:
        raise _unusable(f"the {what} in `{path}` cannot be read: {error.strerror}") from None
    if not form.search(content):
        hint = "convert DER with `openssl x509 -inform der` or `openssl pkey -inform der`"
        raise _unusable(f"`{path}` has no {what} in the format PEM", hint)


def _check_pair(certificate: str, key: str) -> None:
    asked = []

    def no_password() -> str:  # without this function, OpenSSL asks at the terminal
        asked.append(key)
        return ""

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, no_password)
    except (ssl.SSLError, ValueError) as error:
        if asked:
            raise _unusable(f"the private key in `{key}` has a password", "write it without: `openssl pkey`") from None
        if getattr(error, "reason", None) == _OTHER_KEY:
            hint = "name the key with which the certificate was made"
            raise _unusable(f"the private key in `{key}` does not belong to `{certificate}`", hint) from None
        message = f"OpenSSL cannot use `{certificate}` with `{key}`: {getattr(error, 'reason', None) or error}"
        raise _unusable(message) from None


def _unusable(message: str, hint: str | None = None) -> DiagnosticError:
    return DiagnosticError(fault("OB739", message, hint=hint))
