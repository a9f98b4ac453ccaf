"""Publishing with huggingface_hub 2, in an environment of its own, to a Hub on loopback."""

from __future__ import annotations

import os
from functools import cache

import pytest
from hub_server import HubServer
from kept import kept_between_tests

from onnxbuild.diagnostics import DiagnosticError
from onnxbuild.planning.pinned.resolution import resolve_toolchain
from onnxbuild.protocol import Request
from onnxbuild.runners.environments import Unusable
from onnxbuild.runners.local import LocalRunner
from onnxbuild.runners.toolchains.locked_environment import Locked

NAME = "newer-hub"
TOKEN = "hf_" + "n" * 31
MODEL = b"graph" * 1009

pytestmark = pytest.mark.heavy
