"""A small server that speaks as much of the Hub's HTTP API as downloads, lock files and model cards need, on loopback.

with HubServer() as hub:
    hub.add("org/model", {"config.json": b"{}", "model.safetensors": b"…"})
    os.environ["HF_ENDPOINT"] = hub.endpoint
"""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import card_rules

LFS_ENDINGS = (".safetensors", ".bin", ".onnx")


class HubServer:
    """Repositories with commits and named revisions; `requests` lists the requests ("GET /path").

    `token`: what every request must bear, None for an open server. `failures`: status codes that the next requests
    get instead of an answer. `gated`: repositories that answer 403. `elsewhere`: where the content of a file is, by its
    name, as on a Hub whose large files are on another server.
    """

    def __init__(self):
        self.repos, self.requests, self.tokens_seen = {}, [], []
        self.failures, self.gated, self.token, self.elsewhere = [], set(), None, {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.hub = self
        self._server.daemon_threads = True

    @property
    def endpoint(self):
        host, port = self._server.server_address[:2]
        return f"http://{host}:{port}"

    def __enter__(self):
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def add(self, repo, files, revision="main"):
        """A new commit with these files (path → bytes), to which `revision` points from now on; its id."""
        commit = hashlib.sha1(repr((repo, sorted(files.items()))).encode()).hexdigest()
        entry = self.repos.setdefault(repo, {"commits": {}, "refs": {}})
        entry["commits"][commit] = dict(files)
        entry["refs"][revision] = commit
        return commit


class _RefusedError(Exception):
    def __init__(self, status, code, message):
        super().__init__(message)
        self.status, self.code = status, code


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def hub(self):
        return self.server.hub

    def log_message(self, *_):
        pass

    def do_GET(self):
        self._answer(with_body=True)

    def do_HEAD(self):
        self._answer(with_body=False)

    def do_POST(self):
        length = int(self.headers.get("Content-Length", 0))
        self._posted = self.rfile.read(length)
        self._answer(with_body=True)

    def _answer(self, *, with_body):
        self.hub.requests.append(f"{self.command} {self.path}")
        self.hub.tokens_seen.append(self.headers.get("Authorization"))
        try:
            self._admit()
            status, headers, body = self._found()
        except _RefusedError as refused:
            status, body = refused.status, json.dumps({"error": str(refused)}).encode()
            headers = {"Content-Type": "application/json", "X-Error-Message": str(refused)}
            if refused.code:
                headers["X-Error-Code"] = refused.code
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def _admit(self):
        if self.hub.failures:
            raise _RefusedError(self.hub.failures.pop(0), "", "not now")
        if self.hub.token and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            raise _RefusedError(401, "", "Invalid username or password.")

    def _found(self):
        url = urlsplit(self.path)
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        if parts[:2] == ["api", "models"]:
            return self._api(parts[2:], parse_qs(url.query))
        if parts[:2] == ["api", "datasets"]:
            return self._api(parts[1:], parse_qs(url.query))
        if parts == ["api", "validate-yaml"]:
            return self._card()
        if "resolve" in parts:
            at = parts.index("resolve")
            return self._file("/".join(parts[:at]), parts[at + 1], "/".join(parts[at + 2 :]))
        raise _RefusedError(404, "", "no such page")

    def _api(self, parts, query):
        verbs = {"revision", "tree", "paths-info"}
        at = next((index for index, part in enumerate(parts) if part in verbs), len(parts))
        repo, rest = "/".join(parts[:at]), parts[at:]
        commit, files = self._commit(repo, rest[1] if len(rest) > 1 else "main")
        if rest[:1] in (["tree"], ["paths-info"]):
            names = sorted(files)
            if rest[0] == "paths-info":
                asked = parse_qs(self._posted.decode()).get("paths") or json.loads(self._posted).get("paths")
                names = [name for name in names if name in asked]
            return self._json([_entry(name, files[name]) for name in names])
        sizes = "blobs" in query
        siblings = [{"rfilename": name, **({"size": len(files[name])} if sizes else {})} for name in sorted(files)]
        about = {"_id": "0", "id": repo, "modelId": repo, "sha": commit, "private": False, "gated": False}
        about["cardData"] = card_rules.metadata_of(files.get("README.md", b""))
        return self._json({**about, "disabled": False, "downloads": 0, "likes": 0, "tags": [], "siblings": siblings})

    def _card(self):
        """Whether a model card is right: huggingface_hub sends it as a form, and takes 400 for a fault."""
        sent = {name: values[0] for name, values in parse_qs(self._posted.decode(), keep_blank_values=True).items()}
        found = card_rules.faults(sent["content"]) if sent["repoType"] == "model" else ["not a model"]
        return 400 if found else 200, {"Content-Type": "text/plain"}, "\n".join(found).encode() or b"OK"

    def _file(self, repo, revision, name):
        commit, files = self._commit(repo, revision)
        if name not in files:
            raise _RefusedError(404, "EntryNotFound", f"no file {name}")
        data = files[name]
        headers = {"ETag": f'"{_etag(name, data)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if name.endswith(LFS_ENDINGS):
            headers |= {"X-Linked-Etag": headers["ETag"], "X-Linked-Size": len(data)}
        if name in self.hub.elsewhere:
            return 302, {**headers, "Location": self.hub.elsewhere[name]}, b""
        span = self.headers.get("Range")
        if span and span.startswith("bytes="):
            start = int(span.removeprefix("bytes=").split("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            return 206, headers, data[start:]
        return 200, headers, data

    def _commit(self, repo, revision):
        if repo in self.hub.gated:
            raise _RefusedError(403, "GatedRepo", "Access to this model is restricted.")
        if repo not in self.hub.repos:
            raise _RefusedError(404, "RepoNotFound", "Repository not found")
        entry = self.hub.repos[repo]
        commit = entry["refs"].get(revision, revision)
        if commit not in entry["commits"]:
            raise _RefusedError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit, entry["commits"][commit]

    def _json(self, value):
        return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


def _etag(name, data):
    return hashlib.sha256(data).hexdigest() if name.endswith(LFS_ENDINGS) else hashlib.sha1(data).hexdigest()


def _entry(name, data):
    entry = {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
    if name.endswith(LFS_ENDINGS):
        entry["lfs"] = {"oid": _etag(name, data), "size": len(data), "pointerSize": 130}
    return entry
