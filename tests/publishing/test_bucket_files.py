"""The SHA-256 of a file in what S3 tells of it."""

import base64
import hashlib

import pytest

from onnxbuild.publishing.bucket_files import checksum_of_parts, digest_in

DATA = b"0123456789"
DIGEST = hashlib.sha256(DATA).hexdigest()
OF_PARTS = checksum_of_parts([hashlib.sha256(DATA[:6]).digest(), hashlib.sha256(DATA[6:]).digest()])
METADATA = {"onnxbuild-sha256": DIGEST, "onnxbuild-sha256-of-parts": OF_PARTS}


def in_base64(data):
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"ChecksumSHA256": in_base64(DATA)}, DIGEST),
        ({"ChecksumSHA256": OF_PARTS, "Metadata": METADATA}, DIGEST),
        ({"ChecksumSHA256": OF_PARTS.removesuffix("-2"), "Metadata": METADATA, "ETag": '"a-2"'}, DIGEST),
        ({"ChecksumSHA256": in_base64(b"edited"), "Metadata": METADATA}, hashlib.sha256(b"edited").hexdigest()),
        ({"ChecksumSHA256": f"{in_base64(b'edited')}-2", "Metadata": METADATA}, ""),
        ({"ChecksumSHA256": in_base64(b"edited"), "Metadata": METADATA, "ETag": '"a-3"'}, ""),
        ({"ChecksumSHA256": OF_PARTS}, ""),
        ({"Metadata": METADATA}, ""),
        ({"ETag": '"a"'}, ""),
    ],
)
def test_metadata_count_only_for_the_content_that_they_came_with(facts, expected):
    assert digest_in(facts) == expected


def test_the_checksum_of_parts_is_that_of_their_digests():
    joined = hashlib.sha256(DATA[:6]).digest() + hashlib.sha256(DATA[6:]).digest()
    assert f"{in_base64(joined)}-2" == OF_PARTS
