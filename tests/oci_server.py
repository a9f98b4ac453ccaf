"""A registry on loopback that speaks as much of the distribution API of OCI as artifacts need."""

from __future__ import annotations

import hashlib
import json
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

from loopback import Loopback


class OciServer(Loopback):
    """Blobs by digest, manifests by name and tag; `failures` are answers to the next requests instead."""

    def __init__(self):
        self.blobs, self.manifests, self.requests, self.failures = {}, {}, [], []
        super().__init__(_Handler, "registry")

    @property
    def host(self):
        return f"127.0.0.1:{self._server.server_address[1]}"

    def files(self, name):
        """The files of an artifact by title, with their content."""
        layers = json.loads(self.manifests[name])["layers"]
        return {one["annotations"]["org.opencontainers.image.title"]: self.blobs[one["digest"]] for one in layers}

    def push(self, name, files):
        """An artifact with these files as somebody else makes it; None is left out, and an empty name is no title."""
        layers = []
        for title, data in files.items():
            if data is not None:
                digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
                self.blobs[digest] = data
                titled = {"annotations": {"org.opencontainers.image.title": title}} if title else {}
                layers.append({"mediaType": "text/plain", "size": len(data), "digest": digest, **titled})
        self.manifests[name] = json.dumps({"schemaVersion": 2, "layers": layers}).encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def _answer(self):
        registry = self.server.registry
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        registry.requests.append(f"{self.command} {self.path}")
        status, headers, content = (registry.failures.pop(0), {}, b"{}") if registry.failures else self._found(body)
        self.send_response(status)
        for name, value in {"Content-Length": len(content), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = _answer  # noqa: N815

    def _found(self, body):
        registry, url = self.server.registry, urlsplit(self.path)
        repository, kind, name = url.path.removeprefix("/v2/").rpartition("/")[0], *url.path.rsplit("/", 2)[1:]
        if self.command == "POST":
            return 202, {"Location": f"{url.path}session"}, b""
        if self.command == "PUT" and kind == "uploads":
            digest = parse_qs(url.query)["digest"][0]
            if digest != f"sha256:{hashlib.sha256(body).hexdigest()}":
                return 400, {}, b'{"errors": [{"code": "DIGEST_INVALID"}]}'
            registry.blobs[digest] = body
            return 201, {}, b""
        key = f"{repository.removesuffix('/manifests')}:{name}"
        if self.command == "PUT":
            parts = [json.loads(body)["config"], *json.loads(body)["layers"]]
            if any(one["digest"] not in registry.blobs for one in parts):
                return 400, {}, b'{"errors": [{"code": "MANIFEST_BLOB_UNKNOWN"}]}'
            registry.manifests[key] = body
            return 201, {}, b""
        found = registry.blobs.get(name) if kind == "blobs" else registry.manifests.get(key)
        kind = "application/octet-stream" if kind == "blobs" else "application/vnd.oci.image.manifest.v1+json"
        return (404, {}, b"{}") if found is None else (200, {"Content-Type": kind}, found)
