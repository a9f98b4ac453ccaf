"""What others put beside a delivered model, and what no loader of models reads."""

from __future__ import annotations

from onnxbuild.publishing.uploaded_files import SIGNATURE, SUMS

NAMES_THAT_MAY_BE_ADDED = frozenset({
    SIGNATURE, SUMS, "README.md", "LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE", ".gitattributes", ".gitignore",
    "bom.cdx.json", "slsa.intoto.json",
})  # fmt: skip
UNREAD = frozenset({".git", ".cache"})  # folders of git, and of downloads of huggingface_hub
