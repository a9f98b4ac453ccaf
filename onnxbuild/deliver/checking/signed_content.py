"""Which content a signature is of, by the statement in it: without the library, a key, or the files."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxbuild.deliver.provenance import PROVENANCE
from onnxbuild.digest import digest_bytes
from onnxbuild.publishing.sha256_sums import sha256_of_bytes
from onnxbuild.publishing.uploaded_files import SIGNATURE
from onnxbuild.regular_files import read_regular

_MOST_BYTES = 64 << 20


def covered(signature: bytes) -> Mapping[str, str]:
    """The digest of each signed file by its name. Errors: ValueError, KeyError, TypeError for what is no signature."""
    return {str(one["name"]): str(one["digest"]) for one in _predicate(signature)["resources"]}


def signing_algorithm(signature: bytes) -> str:
    """The algorithm of the digests, such as `sha256`. Errors: as above."""
    return str(_predicate(signature)["serialization"]["hash_type"])


def _predicate(signature: bytes) -> Any:
    return json.loads(base64.b64decode(json.loads(signature)["dsseEnvelope"]["payload"]))["predicate"]


def is_signature_of(signature: bytes, account: bytes) -> bool:
    """Whether it was made for a folder with this `onnxbuild.json`, which has the digest of every other file.

    `sign` uses SHA-256, and the command of the library has two more algorithms.
    """
    try:
        digest = covered(signature).get(PROVENANCE)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
    return digest in {sha256_of_bytes(account), digest_bytes(account), hashlib.blake2b(account).hexdigest()}


def current_signature(folder: Path, account: bytes) -> bytes | None:
    """The signature in a folder, if the folder has this `onnxbuild.json` and the signature is of it."""
    try:
        if read_regular(folder / PROVENANCE, _MOST_BYTES) != account:
            return None
        signature = read_regular(folder / SIGNATURE, _MOST_BYTES)
    except OSError:
        return None
    return signature if is_signature_of(signature, account) else None


def has_outdated_signature(folder: Path) -> bool:
    """Whether a folder has a signature, and it is not of the folder's `onnxbuild.json`."""
    try:
        signature = read_regular(folder / SIGNATURE, _MOST_BYTES)
        return not is_signature_of(signature, read_regular(folder / PROVENANCE, _MOST_BYTES))
    except OSError:
        return False
