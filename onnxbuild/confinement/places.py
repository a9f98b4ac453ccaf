"""What a confined process may read besides its inputs: the interpreter, its packages, the system, and the devices."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

# Programs, libraries, and facts about the machine. Of /etc only what libraries read: the rest may hold secrets.
_SYSTEM = (
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store", "/opt/rocm",
    "/opt/qti-aic",
    "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives", "/etc/fonts", "/etc/group",
    "/etc/localtime", "/etc/mime.types", "/etc/nsswitch.conf", "/etc/OpenCL", "/etc/os-release", "/etc/passwd",
    "/etc/ssl/openssl.cnf", "/etc/timezone", "/etc/vulkan",
    "/sys", "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/version", "/proc/filesystems",
    "/proc/devices", "/proc/sys", "/proc/driver/nvidia", "/proc/driver/nvidia-uvm",
    "/dev/random", "/dev/urandom", "/dev/zero",
)  # fmt: skip
# Name resolution, and the certificates of servers.
_NETWORK = (
    "/etc/hosts", "/etc/host.conf", "/etc/resolv.conf", "/etc/gai.conf", "/etc/services", "/etc/protocols", "/etc/ssl",
    "/etc/pki", "/etc/ca-certificates", "/run/systemd/resolve",
)  # fmt: skip
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
# Devices that are also written to; shared memory, which the frameworks use between their processes.
_DEVICES = ("/dev/null", "/dev/full", "/dev/kfd", "/dev/dri", "/dev/accel", "/dev/nvidia-caps")
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - the system's own folder


def readable(environ: Mapping[str, str]) -> Iterator[str]:
    """Folders and files of the system, of this interpreter, and of the libraries that the environment names."""
    yield from _SYSTEM
    yield from {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    yield os.path.dirname(os.path.realpath(sys.executable))
    yield from (path for path in sys.path if path)
    yield from _editable()
    yield from filter(None, environ.get("LD_LIBRARY_PATH", "").split(os.pathsep))
    yield str(Path(__file__).parent.parent)  # the package itself: a toolchain need not have it


def of_network(environ: Mapping[str, str]) -> Iterator[str]:
    """What a process with the network also reads."""
    yield from _NETWORK
    yield from (environ[name] for name in _CERTIFICATES if name in environ)


def devices() -> Iterator[str]:
    """Devices of the system, and those of the GPUs."""
    yield from _DEVICES
    with os.scandir("/dev") as entries:
        yield from (entry.path for entry in entries if entry.name.startswith("nvidia"))


def link_targets(folder: str) -> Iterator[str]:
    """The files outside that the links in a folder lead to: an input from outside is a folder of links."""
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            if os.path.islink(path):
                yield os.path.realpath(path)


def _editable() -> Iterator[str]:
    """The sources of packages that setuptools installed to be edited, which are not on `sys.path`."""
    finders = [module for name, module in sys.modules.items() if name.startswith("__editable__")]
    for finder in finders:
        yield from (str(path) for path in getattr(finder, "MAPPING", {}).values())
