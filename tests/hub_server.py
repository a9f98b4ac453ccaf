"""A small server that speaks as much of the Hub's HTTP API as downloads, lock files and publishing need, on loopback.

with HubServer() as hub:
    hub.add("org/model", {"config.json": b"{}", "model.safetensors": b"…"})
    os.environ["HF_ENDPOINT"] = hub.endpoint
"""

import hashlib
import json
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, unquote, urlsplit

import card_rules
from hub_uploads import RefusedError, Uploads, blob, is_large, oid, validated_card
from loopback import Loopback


class HubServer(Loopback):
    """Repositories with commits and named revisions; `requests` lists the requests ("GET /path").

    `token`: what every request must bear, None for an open server. `failures`: status codes that the next requests
    get instead of an answer. `gated`: repositories that answer 403. `elsewhere`: where the content of a file is, by its
    name, as on a Hub whose large files are on another server. `users`: who may publish, by token (see hub_uploads).
    `troubles`: what happens to certain requests instead of an answer; each happens once. `spans`: the part of each file
    that was asked for, None for the whole.
    """

    def __init__(self):
        self.repos, self.requests, self.tokens_seen = {}, [], []
        self.failures, self.gated, self.token, self.elsewhere = [], set(), None, {}
        self.users, self.large, self.troubles, self.spans = {}, {}, [], []
        super().__init__(_Handler, "hub")

    @property
    def endpoint(self):
        host, port = self._server.server_address[:2]
        return f"http://{host}:{port}"

    def add(self, repo, files, revision="main"):
        """A new commit with these files (path → bytes), to which `revision` points from now on; its id."""
        commit = hashlib.sha1(repr((repo, sorted(files.items()))).encode()).hexdigest()
        new = {"commits": {}, "refs": {}, "parents": {}, "messages": {}, "tags": set(), "private": False}
        entry = self.repos.setdefault(repo, new)
        if commit not in entry["commits"]:
            entry["commits"][commit], entry["parents"][commit] = dict(files), entry["refs"].get(revision)
        entry["refs"][revision] = commit
        return commit


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
        self._answer(with_body=True)

    def do_PUT(self):
        self._answer(with_body=True)

    def do_DELETE(self):
        self._answer(with_body=True)

    def _answer(self, *, with_body):
        asked = f"{self.command} {self.path}"
        self.hub.requests.append(asked)
        self.hub.tokens_seen.append(self.headers.get("Authorization"))
        trouble = next((one for one in self.hub.troubles if one.part in asked), None)
        if trouble is not None:
            self.hub.troubles.remove(trouble)
        length = int(self.headers.get("Content-Length", 0))
        if trouble is not None and trouble.status is None and not trouble.half:
            self.rfile.read(length // 2)
            self.close_connection = True
            self.connection.close()
            return
        self._posted = self.rfile.read(length)
        try:
            self._admit(trouble)
            status, headers, body = self._found()
        except RefusedError as refused:
            status, body = refused.status, json.dumps(refused.body).encode()
            headers = {"Content-Type": "application/json", "X-Error-Message": str(refused), **refused.headers}
            if refused.code:
                headers["X-Error-Code"] = refused.code
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if trouble is not None and trouble.half:
            body = body[: len(body) // 2]
            self.close_connection = True
        if with_body:
            self.wfile.write(body)

    def _admit(self, trouble):
        if trouble is not None and not trouble.half:
            raise RefusedError(trouble.status, "", trouble.message, **trouble.headers)
        if self.hub.failures:
            raise RefusedError(self.hub.failures.pop(0), "", "not now")
        if self.hub.token and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            raise RefusedError(401, "", "Invalid username or password.")

    def _found(self):
        url = urlsplit(self.path)
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        user = self.hub.users.get((self.headers.get("Authorization") or "").removeprefix("Bearer "))
        changed = Uploads(self.hub, user).answer(
            self.command, url.path.strip("/").split("/"), parse_qs(url.query), self._posted
        )
        if changed is not None:
            return self._json(changed.value, changed.status)
        if parts[:2] == ["api", "models"]:
            return self._api(parts[2:], parse_qs(url.query))
        if parts[:2] == ["api", "datasets"]:
            return self._api(parts[1:], parse_qs(url.query))
        if parts == ["api", "validate-yaml"]:
            return self._card()
        if "resolve" in parts:
            at = parts.index("resolve")
            return self._file("/".join(parts[:at]), parts[at + 1], "/".join(parts[at + 2 :]))
        raise RefusedError(404, "", "no such page")

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
        if self._posted[:1] == b"{":
            return self._json(*validated_card(self._posted))
        sent = {name: values[0] for name, values in parse_qs(self._posted.decode(), keep_blank_values=True).items()}
        found = card_rules.faults(sent["content"]) if sent["repoType"] == "model" else ["not a model"]
        return 400 if found else 200, {"Content-Type": "text/plain"}, "\n".join(found).encode() or b"OK"

    def _file(self, repo, revision, name):
        commit, files = self._commit(repo, revision)
        if name not in files:
            raise RefusedError(404, "EntryNotFound", f"no file {name}")
        data = files[name]
        headers = {"ETag": f'"{oid(name, data)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if is_large(name, data):
            headers |= {"X-Linked-Etag": headers["ETag"], "X-Linked-Size": len(data)}
        if name in self.hub.elsewhere:
            return 302, {**headers, "Location": self.hub.elsewhere[name]}, b""
        span = self.headers.get("Range")
        self.hub.spans.append(span)
        if span and span.startswith("bytes="):
            start = int(span.removeprefix("bytes=").split("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            return 206, headers, data[start:]
        return 200, headers, data

    def _commit(self, repo, revision):
        if repo in self.hub.gated:
            raise RefusedError(403, "GatedRepo", "Access to this model is restricted.")
        user = self.hub.users.get((self.headers.get("Authorization") or "").removeprefix("Bearer "), {})
        entry = self.hub.repos.get(repo)
        if entry is None or (
            entry["private"] and repo.partition("/")[0] not in {user.get("name"), *user.get("orgs", ())}
        ):
            raise RefusedError(404, "RepoNotFound", "Repository not found")
        commit = entry["refs"].get(revision, revision)
        if commit not in entry["commits"]:
            raise RefusedError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit, entry["commits"][commit]

    def _json(self, value, status=200):
        return status, {"Content-Type": "application/json"}, json.dumps(value).encode()


def _entry(name, data):
    entry = {"type": "file", "path": name, "size": len(data), "oid": blob(data)}
    if is_large(name, data):
        entry["lfs"] = {"oid": oid(name, data), "size": len(data), "pointerSize": 130}
    return entry
