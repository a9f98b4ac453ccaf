"""A bucket on loopback that keeps checksums as S3 does: it refuses content without its checksum, and tells it if asked.

The multipart checksum is that of the parts' checksums, and metadata belong to the content that they came with.
"""

from __future__ import annotations

import base64
import hashlib
import re
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from loopback import Loopback

CHECKSUM = "x-amz-checksum-sha256"
META = "x-amz-meta-"


class S3Server(Loopback):
    """Objects by `bucket/key`: the content, and the headers that tell its checksum and its metadata."""

    def __init__(self):
        self.objects, self.uploads, self.requests = {}, {}, []
        super().__init__(_Handler, "bucket")

    @property
    def address(self):
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def put(self, name, data, **headers):
        """What another client leaves: by default without a checksum."""
        self.objects[name] = (data, headers)

    def files(self, folder):
        return {
            name.removeprefix(f"{folder}/"): data
            for name, (data, _) in self.objects.items()
            if name.startswith(f"{folder}/")
        }


def in_base64(data):
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def _answer(self):
        url = urlsplit(self.path)
        name, query = unquote(url.path).strip("/"), parse_qs(url.query, keep_blank_values=True)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.bucket.requests.append(f"{self.command} {name}")
        status, headers, content = getattr(self, f"_{self.command.lower()}")(name, query, body)
        self.send_response(status)
        for key, value in {"Content-Length": len(content), **headers}.items():
            self.send_header(key, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815

    def _get(self, name, query, _body):
        if "list-type" in query:
            return 200, {}, self._listing(name, query.get("prefix", [""])[0])
        if name not in self.server.bucket.objects:
            return _error(404, "NoSuchKey")
        data, kept = self.server.bucket.objects[name]
        asked = self.headers.get("x-amz-checksum-mode") == "ENABLED"
        told = {key: value for key, value in kept.items() if asked or key != CHECKSUM}
        parts = kept.get(CHECKSUM, "").partition("-")[2]
        headers = {
            "ETag": f'"{hashlib.md5(data).hexdigest()}{f"-{parts}" if parts else ""}"',
            "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT",
            **told,
        }
        if self.command == "HEAD":
            headers["Content-Length"] = len(data)
        if span := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
            return 206, headers, data[int(span[1]) : int(span[2]) + 1]
        return 200, headers, data

    _head = _get

    def _put(self, name, query, body):
        checksum = self.headers.get(CHECKSUM)
        if checksum is not None and checksum != in_base64(body):
            return _error(400, "BadDigest")
        if "uploadId" in query:
            parts, _ = self.server.bucket.uploads[query["uploadId"][0]]
            parts[int(query["partNumber"][0])] = body
            return 200, {"ETag": '"part"'}, b""
        self.server.bucket.objects[name] = (body, {**self._kept(), **({CHECKSUM: checksum} if checksum else {})})
        return 200, {"ETag": f'"{hashlib.md5(body).hexdigest()}"'}, b""

    def _post(self, name, query, _body):
        if "uploads" in query:
            self.server.bucket.uploads["one"] = ({}, self._kept())
            return 200, {}, _xml("InitiateMultipartUploadResult", f"<UploadId>one</UploadId><Key>{escape(name)}</Key>")
        parts, kept = self.server.bucket.uploads.pop(query["uploadId"][0])
        whole = b"".join(parts[number] for number in sorted(parts))
        of_parts = b"".join(hashlib.sha256(parts[number]).digest() for number in sorted(parts))
        self.server.bucket.objects[name] = (whole, {**kept, CHECKSUM: f"{in_base64(of_parts)}-{len(parts)}"})
        return 200, {}, _xml("CompleteMultipartUploadResult", f"<Key>{escape(name)}</Key>")

    def _delete(self, name, query, _body):
        if "uploadId" in query:
            self.server.bucket.uploads.pop(query["uploadId"][0])
        else:
            self.server.bucket.objects.pop(name, None)
        return 204, {}, b""

    def _kept(self):
        return {key.lower(): value for key, value in self.headers.items() if key.lower().startswith(META)}

    def _listing(self, bucket, prefix):
        names = {name.removeprefix(f"{bucket}/"): data for name, (data, _) in self.server.bucket.objects.items()}
        rows = [
            f"<Contents><Key>{escape(name)}</Key><Size>{len(data)}</Size></Contents>"
            for name, data in sorted(names.items()) if name.startswith(prefix)
        ]  # fmt: skip
        return _xml(
            "ListBucketResult", f"<KeyCount>{len(rows)}</KeyCount><IsTruncated>false</IsTruncated>{''.join(rows)}"
        )


def _xml(root, inner):
    return f'<?xml version="1.0"?><{root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inner}</{root}>'.encode()


def _error(status, code):
    return status, {}, f"<Error><Code>{code}</Code><Message>it is {code}</Message></Error>".encode()
