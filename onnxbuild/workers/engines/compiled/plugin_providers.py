"""Providers of ONNX Runtime that come as a library of their own, in a Python package that says where it is."""

from __future__ import annotations

import functools
from importlib import import_module
from typing import Any

import onnxruntime

from onnxbuild.protocol import CheckFailed


@functools.cache
def plugin_devices(provider: str, module: str) -> Any:
    """The first device of a provider, whose library is registered once in a process.

    Errors: CheckFailed OBE43 without the package, for a library that ONNX Runtime refuses, and without a device.
    """
    try:
        onnxruntime.register_execution_provider_library(provider, import_module(module).get_library_path())
    except Exception as error:
        reason = " ".join(str(error).split())[:500]
        raise not_started(provider, f"its library cannot be loaded: {reason}") from error
    devices = [one for one in onnxruntime.get_ep_devices() if one.ep_name == provider]
    if not devices:
        raise not_started(provider, "it finds no device")
    return devices[:1]


def not_started(provider: str, what: str) -> CheckFailed:
    """The failure of a provider that does not start."""
    is_tensorrt = provider == "TensorrtExecutionProvider"
    libraries = " Its libraries come with TensorRT, such as `pip install tensorrt-cu13`, and not with onnxruntime-gpu"
    hint = f"the log has the reason why the provider did not start.{libraries if is_tensorrt else ''}"
    return CheckFailed("OBE43", f"{provider} does not start: {what}", notes=[("hint", hint)])
