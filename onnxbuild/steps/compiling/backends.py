"""The backends that come with onnxbuild, and those of installed plugins."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from onnxbuild.steps.compiling.backend_kind import GROUP, Backend
from onnxbuild.steps.compiling.openvino_backend import OPENVINO
from onnxbuild.steps.compiling.ort_backend import ORT
from onnxbuild.steps.compiling.provider_backends import PROVIDER_BACKENDS
from onnxbuild.steps.compiling.qaic_backend import QAIC
from onnxbuild.steps.compiling.qnn_backend import QNN

BACKENDS: tuple[Backend, ...] = (OPENVINO, ORT, QNN, QAIC, *PROVIDER_BACKENDS)
_BUILT_IN: Mapping[str, Backend] = {one.name: one for one in BACKENDS}


def backend_named(name: str) -> Backend | None:
    """The backend of this name, of a plugin too; None if nothing that is installed has it."""
    return _BUILT_IN.get(name) or _of_plugin(name)


def _of_plugin(name: str) -> Backend | None:
    from importlib import metadata

    for entry in metadata.entry_points(group=GROUP, name=name):
        module, _, attribute = entry.value.partition(":")
        found = getattr(import_module(module.strip()), attribute.strip())
        if isinstance(found, Backend):
            return found
    return None
