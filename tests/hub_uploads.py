"""The side of the Hub's API that publishing uses: who asks, repositories, large files, commits, pull requests, tags.

It is a reading of what huggingface_hub 0.36 and 2.4 send, and of the documentation of the Hub, not the Hub itself.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import unquote

import card_rules

LFS_ENDINGS = (".safetensors", ".bin", ".onnx", ".onnx_data")
LARGEST_REGULAR = 10 << 20
FIRST = {".gitattributes": b"*.onnx filter=lfs diff=lfs merge=lfs -text\n"}


class Trouble(NamedTuple):
    """What happens to the next requests whose "METHOD /path" contains `part`, instead of an answer.

    `status` None: the connection ends after half of the request was read. `half`: after half of the answer was sent.
    """

    part: str
    status: int | None
    headers: Mapping[str, str] = MappingProxyType({})
    message: str = "not now"
    half: bool = False


class RefusedError(Exception):
    """An answer other than success."""

    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status, self.code, self.headers = status, code, headers
        self.body: dict[str, Any] = {"error": message}


class Answer(NamedTuple):
    """The body of an answer as JSON."""

    value: Any
    status: int = 200


def is_large(name: str, data: bytes) -> bool:
    return name.endswith(LFS_ENDINGS) or len(data) > LARGEST_REGULAR


class Uploads:
    """Answers requests that change something. `hub` is the server; its `users` maps tokens to names and rights.

    A user: {"name": "me", "orgs": ["team"], "role": "write"}.
    """

    def __init__(self, hub: Any, user: dict[str, Any] | None) -> None:
        self.hub, self.user = hub, user

    def answer(  # noqa: PLR0911 - a table of addresses
        self, method: str, parts: list[str], query: dict[str, list[str]], body: bytes
    ) -> Answer | None:
        """The answer to a request, None for one that is not about uploads."""
        match method, parts:
            case "GET", ["api", "whoami-v2"]:
                return self._whoami()
            case "POST", ["api", "repos", "create"]:
                return self._create(json.loads(body))
            case "DELETE", ["api", "repos", "delete"]:
                return self._delete(json.loads(body))
            case "POST", [*repo, "info", "lfs", "objects", "batch"]:
                return self._batch("/".join(repo).removesuffix(".git"), json.loads(body))
            case "PUT", ["lfs", "upload", oid]:
                return self._put(oid, body)
            case "POST", ["lfs", "verify"]:
                return self._verify(json.loads(body))
            case _, ["api", "models", owner, name, verb, *rest]:
                return self._of_repository(method, f"{owner}/{name}", verb, [unquote(one) for one in rest], query, body)
        return None

    def _of_repository(  # noqa: PLR0911 - a table of addresses
        self, method: str, repo: str, verb: str, rest: list[str], query: dict[str, list[str]], body: bytes
    ) -> Answer | None:
        if method == "GET" and verb == "refs":
            return self._refs(repo, with_pulls="include_prs" in query)
        if method == "GET" and verb == "commits":
            return self._commits(repo, "/".join(rest))
        if method == "POST" and verb == "preupload":
            return self._preupload(repo, "/".join(rest), json.loads(body))
        if method == "POST" and verb == "commit":
            return self._commit(repo, "/".join(rest), body, as_pull="create_pr" in query)
        if method == "POST" and verb == "tag":
            return self._tag(repo, "/".join(rest), json.loads(body))
        if method == "DELETE" and verb == "tag":
            entry = self._writable(repo)
            entry["tags"].discard(rest[0])
            entry["refs"].pop(rest[0], None)
            return Answer({})
        return None

    # -- who asks ------------------------------------------------------------------------------------------------------

    def _known(self) -> dict[str, Any]:
        if self.user is None:
            raise RefusedError(401, "", "Invalid username or password.")
        return self.user

    def _whoami(self) -> Answer:
        user = self._known()
        orgs = [{"name": name, "type": "org", "roleInOrg": "write"} for name in user.get("orgs", ())]
        access = {"type": "access_token", "accessToken": {"displayName": "test", "role": user.get("role", "write")}}
        return Answer({"type": "user", "id": "1", "name": user["name"], "orgs": orgs, "auth": access})

    def _may_write_to(self, owner: str) -> None:
        user = self._known()
        if user.get("role", "write") == "read":
            raise RefusedError(403, "", "You don't have the required permissions: this token is read-only.")
        if owner != user["name"] and owner not in user.get("orgs", ()):
            raise RefusedError(403, "", f"You don't have the rights to create a model under the namespace {owner!r}")

    def _entry(self, repo: str) -> dict[str, Any]:
        if repo in self.hub.gated:
            raise RefusedError(403, "GatedRepo", "Access to this model is restricted.")
        if repo not in self.hub.repos:
            raise RefusedError(404, "RepoNotFound", "Repository not found")
        return self.hub.repos[repo]

    def _writable(self, repo: str) -> dict[str, Any]:
        entry = self._entry(repo)
        self._may_write_to(repo.partition("/")[0])
        return entry

    # -- repositories --------------------------------------------------------------------------------------------------

    def _create(self, asked: dict[str, Any]) -> Answer:
        owner = asked.get("organization") or self._known()["name"]
        self._may_write_to(owner)
        repo = f"{owner}/{asked['name']}"
        url = f"{self.hub.endpoint}/{repo}"
        if repo in self.hub.repos:
            return Answer({"error": "You already created this model repo", "url": url}, 409)
        private = asked.get("private", asked.get("visibility") == "private")
        self.hub.add(repo, dict(FIRST))
        self.hub.repos[repo]["private"] = bool(private)
        return Answer({"url": url, "name": repo, "id": "1"})

    def _delete(self, asked: dict[str, Any]) -> Answer:
        repo = f"{asked.get('organization') or self._known()['name']}/{asked['name']}"
        self._writable(repo)
        del self.hub.repos[repo]
        return Answer({})

    def _refs(self, repo: str, *, with_pulls: bool) -> Answer:
        entry = self._entry(repo)

        def listed(kind: str, names: list[str]) -> list[dict[str, str]]:
            return [{"name": one, "ref": f"{kind}{one}", "targetCommit": entry["refs"][one]} for one in names]

        pulls = [one for one in entry["refs"] if one.startswith("refs/pr/")]
        branches = [one for one in entry["refs"] if one not in entry["tags"] and one not in pulls]
        found = {"branches": listed("refs/heads/", branches), "converts": []}
        found |= {"tags": listed("refs/tags/", sorted(entry["tags"]))}
        return Answer(found | ({"pullRequests": listed("", pulls)} if with_pulls else {}))

    def _commits(self, repo: str, revision: str) -> Answer:
        entry = self._entry(repo)
        commit, found = entry["refs"].get(revision, revision), []
        while commit:
            title = entry["messages"].get(commit, "Upload files")
            found.append(
                {"id": commit, "title": title, "message": "", "authors": [], "date": "2026-11-27T00:00:00.000Z"}
            )
            commit = entry["parents"].get(commit)
        return Answer(found)

    def _tag(self, repo: str, revision: str, asked: dict[str, Any]) -> Answer:
        entry = self._writable(repo)
        if asked["tag"] in entry["refs"]:
            return Answer({"error": "Tag reference exists already"}, 409)
        entry["refs"][asked["tag"]] = entry["refs"].get(revision, revision)
        entry["tags"].add(asked["tag"])
        return Answer({})

    # -- files ---------------------------------------------------------------------------------------------------------

    def _preupload(self, repo: str, revision: str, asked: dict[str, Any]) -> Answer:
        entry = self._entry(repo)
        self._known()
        files = entry["commits"][entry["refs"].get(revision, revision)]
        modes = []
        for one in asked["files"]:
            name, size = one["path"], one["size"]
            large = name.endswith(LFS_ENDINGS) or size > LARGEST_REGULAR
            mode = {"path": name, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
            modes.append({**mode, "oid": oid(name, files[name]) if name in files else None})
        return Answer({"files": modes})

    def _batch(self, repo: str, asked: dict[str, Any]) -> Answer:
        self._entry(repo)
        self._known()
        objects = []
        for one in asked["objects"]:
            found = {"oid": one["oid"], "size": one["size"]}
            if one["oid"] not in self.hub.large:
                upload = {"href": f"{self.hub.endpoint}/lfs/upload/{one['oid']}", "header": {}}
                found["actions"] = {"upload": upload, "verify": {"href": f"{self.hub.endpoint}/lfs/verify"}}
            objects.append(found)
        return Answer({"transfer": "basic", "objects": objects})

    def _put(self, asked: str, body: bytes) -> Answer:
        if hashlib.sha256(body).hexdigest() != asked:
            raise RefusedError(400, "", "the content has another sha256")
        self.hub.large[asked] = body
        return Answer({})

    def _verify(self, asked: dict[str, Any]) -> Answer:
        if len(self.hub.large.get(asked["oid"], b"")) != asked["size"]:
            raise RefusedError(404, "", "the object was not uploaded")
        return Answer({})

    # -- commits -------------------------------------------------------------------------------------------------------

    def _commit(self, repo: str, revision: str, body: bytes, *, as_pull: bool) -> Answer:
        entry = self._entry(repo) if as_pull else self._writable(repo)
        self._known()
        if as_pull and self.user is not None and self.user.get("role") == "read":
            raise RefusedError(403, "", "You don't have the required permissions: this token is read-only.")
        lines = [json.loads(line) for line in body.splitlines() if line]
        head = next(one["value"] for one in lines if one["key"] == "header")
        parent = entry["refs"].get(revision, revision)
        if head.get("parentCommit") not in {None, parent}:
            raise RefusedError(412, "", "A commit has happened since. Please refresh and try again.")
        files = dict(entry["commits"][parent])
        for line in lines:
            self._apply(line["key"], line["value"], files)
        commit = hashlib.sha1(repr((parent, sorted(files.items()), len(entry["commits"]))).encode()).hexdigest()
        entry["commits"][commit] = files
        entry["parents"][commit], entry["messages"][commit] = parent, head["summary"]
        number = 1 + sum(name.startswith("refs/pr/") for name in entry["refs"])
        entry["refs"][f"refs/pr/{number}" if as_pull else revision] = commit
        url = f"{self.hub.endpoint}/{repo}"
        pull = {"pullRequestUrl": f"{url}/discussions/{number}"} if as_pull else {}
        return Answer(
            {"success": True, "commitOid": commit, "commitUrl": f"{url}/commit/{commit}", "hookOutput": "", **pull}
        )

    def _apply(self, key: str, value: dict[str, Any], files: dict[str, bytes]) -> None:
        if key == "file":
            data = base64.b64decode(value["content"])
            if is_large(value["path"], data):
                raise RefusedError(400, "", f"Your push was rejected: {value['path']} must be a Git LFS file")
            if value["path"] == "README.md" and (found := card_rules.faults(data.decode())):
                raise RefusedError(400, "", f"Invalid metadata in README.md: {found}")
            files[value["path"]] = data
        elif key == "lfsFile":
            if value["oid"] not in self.hub.large:
                raise RefusedError(400, "", f"Your push was rejected: LFS pointer {value['oid']} points to no object")
            files[value["path"]] = self.hub.large[value["oid"]]
        elif key == "deletedFile" and files.pop(value["path"], None) is None:
            raise RefusedError(404, "EntryNotFound", "A file with this name doesn't exist")


def oid(name: str, data: bytes) -> str:
    """What the Hub calls a file: the sha256 of a large one, the id of the blob in git of any other."""
    if is_large(name, data):
        return hashlib.sha256(data).hexdigest()
    return blob(data)


def blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def validated_card(body: bytes) -> Answer:
    """Whether a model card is right, as huggingface_hub asks before a commit."""
    asked = json.loads(body)
    found = card_rules.faults(asked["content"])
    return Answer({"errors": [{"message": one} for one in found], "warnings": []}, 400 if found else 200)
