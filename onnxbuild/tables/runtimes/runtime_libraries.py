"""The shared libraries that the runtime of a backend loads, and that no distribution among its needs brings along."""

from __future__ import annotations

from collections.abc import Mapping

# By the name of the backend.
LIBRARIES: Mapping[str, tuple[str, ...]] = {"tensorrt": ("libnvinfer.so",)}
