"""Which environment variables a child process gets: an allow-list, so that no token or key reaches the code of others.

`ONNXBUILD_WORKER_ENV` names further variables; only the user sets it.
"""

from __future__ import annotations

import fnmatch
import sys
from collections.abc import Iterable, Mapping

FURTHER = "ONNXBUILD_WORKER_ENV"

SYSTEM = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "LC_*", "TZ", "TMPDIR", "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "ONNXBUILD_CONFINE",
    "TRITON_URL", # the server that checks packages for Triton
    # Windows
    "ALLUSERSPROFILE", "APPDATA", "COMMONPROGRAMFILES*", "COMPUTERNAME", "COMSPEC", "HOMEDRIVE", "HOMEPATH",
    "LOCALAPPDATA", "NUMBER_OF_PROCESSORS", "OS", "PATHEXT", "PROCESSOR_*", "PROGRAMDATA", "PROGRAMFILES*",
    "SYSTEMDRIVE", "SYSTEMROOT", "TEMP", "TMP", "USERNAME", "USERPROFILE", "WINDIR",
)  # fmt: skip
NETWORK = (
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
)  # fmt: skip
# pip's own settings, credentials for its index included, and what the compilers of a source distribution read.
_PIP = ("PIP_*", "NETRC", "XDG_*", "SSL_CERT_*", "SOURCE_DATE_EPOCH", "CC", "CXX", "CFLAGS", "CXXFLAGS", "LDFLAGS")
# Never passed on, whatever a pattern or the user says: they change which code an interpreter runs.
_NEVER = ("LD_PRELOAD", "LD_AUDIT", "DYLD_INSERT_LIBRARIES", "PYTHON*")


def of_pip(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of pip and venv, for `lock` and for the creation of an environment: no token of a worker."""
    return chosen(environ, (*SYSTEM, *NETWORK, *_PIP, *further(environ)))


def further(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The names that the user allows besides."""
    return tuple(name.strip() for name in environ.get(FURTHER, "").split(",") if name.strip())


def chosen(environ: Mapping[str, str], patterns: Iterable[str]) -> dict[str, str]:
    """The variables that fit a pattern, except those that are never passed on."""
    allowed = tuple(patterns)
    return {name: value for name, value in environ.items() if matches(name, allowed) and not matches(name, _NEVER)}


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a name fits a pattern. Windows has no lower case in names."""
    name = name.upper() if sys.platform == "win32" else name
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
