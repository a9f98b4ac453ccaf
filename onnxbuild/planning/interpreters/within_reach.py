"""Which folders a plan may look at for the packages of an interpreter that a manifest names."""

from __future__ import annotations

import os

from onnxbuild.manifest.reach import Reach
from onnxbuild.manifest.spec import Manifest
from onnxbuild.permissions import is_below
from onnxbuild.planning.interpreters import MayRead


def readable_for(python: str, manifest: Manifest) -> MayRead:
    """An environment below the manifest's folder may have come with it: its links and `.pth` files stay within reach.

    The user has permitted any other environment, and with it every folder that it imports from.
    """
    reach = Reach(manifest.path, manifest.permissions)
    came_along = is_below(os.path.realpath(os.path.dirname(python)), reach.folder)
    return reach.permits if came_along else lambda _folder: True
