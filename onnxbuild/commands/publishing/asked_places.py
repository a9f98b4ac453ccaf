"""Asks a bucket or a registry what is published there, for `plan --check-published`."""

from __future__ import annotations

from collections.abc import Callable

from onnxbuild.printable import printable
from onnxbuild.publishing.bucket_files import WITHOUT_KEYS, AbsentError, BucketFiles
from onnxbuild.publishing.difference import Difference
from onnxbuild.publishing.plain_places import compared
from onnxbuild.publishing.registry_files import compared_artifact, opened_registry
from onnxbuild.publishing.uploaded_files import Upload
from onnxbuild.steps.publish import PublishParams

_CLIENTS = ("botocore", "oras", "requests", "aiohttp")


def in_place(upload: Upload, params: PublishParams) -> Difference | str:
    """The difference from a bucket or a registry; or why it was not compared, as text."""
    asks: Callable[[], Difference]
    asks = (
        (lambda: compared(BucketFiles(params.s3), upload)[1])
        if params.s3
        else (lambda: compared_artifact(*opened_registry(params.oci), upload))
    )
    try:
        return asks()
    except AbsentError as absent:
        return f"asking it needs {absent}"
    except Exception as error:
        if type(error).__name__ in WITHOUT_KEYS:
            return f"there are no keys for {params.shown}"
        if not isinstance(error, OSError | ValueError) and type(error).__module__.partition(".")[0] not in _CLIENTS:
            raise
        return f"{params.shown} does not answer: {printable(' '.join(str(error).split()))}"
