"""Publishing to the Hub with the real huggingface_hub, against a server on loopback that speaks the Hub's protocol."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import warnings

import pytest
from hub_server import HubServer
from hub_uploads import Trouble

from onnxbuild.protocol import CheckFailed

pytestmark = pytest.mark.heavy

TOKEN = "hf_" + "s" * 30
CARD = b"---\nlicense: mit\ntags:\n- onnx\n---\n\n# A model\n"
FILES = {
    "README.md": CARD,
    "config.json": b'{"a": 1}',
    "onnx/model.onnx": b"graph" * 1001,
    "onnx/model_int8.onnx": b"small" * 307,
}


@dataclasses.dataclass
class World:
    hub: HubServer
    folder: object
    receipts: object
    told: list

    def write(self, files):
        for name, data in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def publish(self, repo="me/model", **params):
        from onnxbuild.steps.publish import PublishParams
        from onnxbuild.workers.publish.worker import run

        params = PublishParams(hub=repo, endpoint=self.hub.endpoint, **{"license": "mit", **params})
        self.hub.requests.clear()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return run(
                params, {"package": self.folder}, {"receipt": self.receipts}, lambda text, *_: self.told.append(text)
            )

    def failure(self, repo="me/model", **params):
        with pytest.raises(CheckFailed) as caught:
            self.publish(repo, **params)
        assert TOKEN not in repr(caught.value.failure)
        return caught.value.failure

    def at(self, revision="main", repo="me/model"):
        entry = self.hub.repos[repo]
        files = dict(entry["commits"][entry["refs"].get(revision, revision)])
        files.pop(".gitattributes", None)
        return files

    def sent(self, part):
        return sum(part in one for one in self.hub.requests)


@pytest.fixture
def world(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    slept = []
    monkeypatch.setattr("onnxbuild.workers.libraries.hub_tries.time.sleep", slept.append)
    for name in ("package", "receipts"):
        (tmp_path / name).mkdir()
    with HubServer() as hub:
        # huggingface_hub reads HF_ENDPOINT when it is imported, which a worker does with the variable set.
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        hub.users[TOKEN] = {"name": "me", "orgs": ["team"], "role": "write"}
        made = World(hub, tmp_path / "package", tmp_path / "receipts", [])
        made.slept = slept
        made.write(FILES)
        yield made


def sums(files):
    return "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files)).encode()


def test_one_commit_has_every_file_and_a_tag_of_its_content(world):
    facts = world.publish()
    digest = hashlib.sha256(sums(FILES)).hexdigest()
    assert world.at() == {**FILES, ".onnxbuild.sha256": sums(FILES)}
    assert world.at(f"onnxbuild-{digest[:16]}") == world.at()
    assert world.sent("/commit/") == 1
    assert world.hub.repos["me/model"]["private"] is True
    commit = world.hub.repos["me/model"]["refs"]["main"]
    assert facts == {
        "destination": "hub:me/model", "digest": digest, "added": 5, "replaced": 0, "deleted": 0, "unchanged": 0,
        "changed_bytes": sum(map(len, FILES.values())) + len(sums(FILES)), "commit": commit,
        "tag": f"onnxbuild-{digest[:16]}", "url": f"{world.hub.endpoint}/me/model/tree/{commit}",
    }  # fmt: skip
    receipt = json.loads((world.receipts / "published.json").read_text())
    assert receipt["files"]["config.json"] == {"sha256": hashlib.sha256(b'{"a": 1}').hexdigest(), "bytes": 8}


def test_the_same_content_uploads_nothing(world):
    first = world.publish()
    again = world.publish()
    assert again["commit"] == first["commit"]
    assert (again["added"], again["replaced"], again["unchanged"], again["changed_bytes"]) == (0, 0, 5, 0)
    assert [world.sent(part) for part in ("/commit/", "PUT", "preupload", "repos/create")] == [0, 0, 0, 0]


def test_a_new_version_sends_what_differs_and_deletes_what_was_ours(world):
    world.publish()
    entry = world.hub.repos["me/model"]
    world.hub.add("me/model", {**world.at(), "demo.png": b"by hand"})
    (world.folder / "onnx/model_int8.onnx").unlink()
    world.write({"onnx/model.onnx": b"other" * 1003, "onnx/model_q4.onnx": b"4" * 19})
    facts = world.publish()
    # the list of digests is replaced, too
    assert (facts["added"], facts["replaced"], facts["deleted"], facts["unchanged"]) == (1, 2, 1, 2)
    assert set(world.at()) == {"README.md", "config.json", "onnx/model.onnx", "onnx/model_q4.onnx", "demo.png",
                               ".onnxbuild.sha256"}  # fmt: skip
    assert world.at()["onnx/model.onnx"] == b"other" * 1003
    assert world.sent("PUT") == 2
    assert len(entry["tags"]) == 2


@pytest.mark.parametrize(("name", "data"), [("README.md", CARD + b"By hand.\n"), ("onnx/model.onnx", b"theirs")])
def test_what_somebody_else_changed_is_not_overwritten_silently(world, name, data):
    world.publish()
    world.hub.add("me/model", {**world.at(), name: data})
    failure = world.failure()
    assert failure.code == "OBE205"
    assert failure.message == f"somebody has changed {name} in me/model since the last publish"
    assert world.publish(overwrite=True)["replaced"] == 1
    assert world.at()[name] == FILES[name]


@pytest.mark.parametrize(("name", "data"), [
    ("config.json", None), ("README.md", b"theirs"), ("onnx/model.onnx", b"theirs")
])  # fmt: skip
def test_a_first_publish_does_not_replace_files_of_others(world, name, data):
    """Nor does it take an equal one for its own: the next publish would replace that."""
    theirs = {name: data or FILES[name], "demo.png": b"theirs"}
    world.hub.add("me/model", theirs)
    failure = world.failure()
    assert (failure.code, failure.message) == (
        "OBE205", f"me/model has files of these names, which no publish has written: {name}"
    )  # fmt: skip
    assert failure.notes == (("hint", "publish to another place, or write `overwrite: true` in `publish:`"),)
    assert world.at() == theirs
    assert world.publish(overwrite=True)["deleted"] == 0
    assert world.at() == {**FILES, "demo.png": b"theirs", ".onnxbuild.sha256": sums(FILES)}


def test_a_first_publish_adds_to_the_files_of_others(world):
    world.hub.add("me/model", {"pytorch_model.bin": b"theirs"})
    assert world.publish()["replaced"] == 0
    assert world.at()["pytorch_model.bin"] == b"theirs"


def test_the_publication_of_another_model_is_not_replaced(world):
    there = {"onnxbuild.json": b'{"model": "a"}'}
    world.write(there)
    world.publish()
    world.write({"onnxbuild.json": b'{"model": "b"}', "config.json": b"{}"})
    failure = world.failure()
    assert (failure.code, failure.message) == (
        "OBE205", "me/model has a publication of the model `a`, and this one is of `b`"
    )  # fmt: skip
    assert world.at() == {**FILES, **there, ".onnxbuild.sha256": sums({**FILES, **there})}
    assert "pull_request" in world.publish(pull_request=True), "somebody reads it"
    assert world.publish(overwrite=True)["replaced"] == 3


def test_a_repository_of_others_gets_one_pull_request(world):
    first = world.hub.add("others/model", {"config.json": b"{}"})
    facts = world.publish("others/model")
    assert facts["pull_request"] == f"{world.hub.endpoint}/others/model/discussions/1"
    assert "tag" not in facts
    assert world.at("refs/pr/1", "others/model") == {**FILES, ".onnxbuild.sha256": sums(FILES)}
    assert world.hub.repos["others/model"]["refs"]["main"] == first
    assert world.publish("others/model")["pull_request"] == facts["pull_request"]
    assert world.sent("/commit/") == 0


def test_an_organization_gets_a_commit_and_asking_for_a_pull_request_gets_one(world):
    world.publish("team/model")
    assert world.at(repo="team/model").keys() == {*FILES, ".onnxbuild.sha256"}
    world.write({"config.json": b"{}"})
    assert world.publish("team/model", pull_request=True)["pull_request"].endswith("/team/model/discussions/1")
    assert world.at(repo="team/model")["config.json"] == b'{"a": 1}'


def test_a_cut_upload_goes_on_with_what_is_missing(world):
    world.hub.troubles = [Trouble("POST /api/models/me/model/commit", 500)] * 5
    failure = world.failure()
    assert (failure.code, failure.transient) == ("OBE207", True)
    assert world.sent("PUT") == 2
    world.publish()
    assert world.sent("PUT") == 0
    assert world.at()["onnx/model.onnx"] == FILES["onnx/model.onnx"]


def test_a_transfer_that_breaks_is_made_again(world):
    world.hub.troubles = [Trouble("PUT /lfs", None), Trouble("POST /api/models/me/model/preupload", None)]
    world.publish()
    assert world.at()["onnx/model.onnx"] == FILES["onnx/model.onnx"]


def test_the_rate_limit_is_waited_for(world):
    world.hub.troubles = [Trouble("repos/create", 429, {"Retry-After": "7"})]
    world.publish()
    assert world.slept == [7.0]
    world.hub.troubles = [Trouble("whoami", 429)] * 5
    assert world.failure().code == "OBE206"
    assert world.slept == [7.0, 1.0, 2.0, 4.0, 8.0]


def test_a_commit_in_between_is_compared_again(world):
    world.publish()
    world.write({"config.json": b"{}"})
    world.hub.troubles = [Trouble("/commit/main", 412)]
    assert world.publish()["replaced"] == 2
    assert world.sent("/commit/") == 2
    world.write({"config.json": b"[]"})
    world.hub.troubles = [Trouble("/commit/main", 412)] * 3
    assert world.failure().code == "OBE205"
    assert world.at()["config.json"] == b"{}"


def test_a_real_stale_parent_is_noticed(world):
    """Another upload of the same content arrives between the comparison and the commit: nothing is left to do."""
    world.publish()
    world.write({"config.json": b"{}"})
    files = {**FILES, "config.json": b"{}"}
    commits = []

    def in_between(text):
        if "uploading" in text and not commits:
            commits.append(world.hub.add("me/model", {**files, ".onnxbuild.sha256": sums(files)}))
        return True

    world.told = type("Told", (), {"append": staticmethod(in_between)})
    assert world.publish()["commit"] == commits[0]
    assert world.hub.repos["me/model"]["refs"]["main"] == commits[0]


def test_a_tag_of_the_manifest_is_never_moved(world):
    first = world.publish(tag="v1")
    assert world.hub.repos["me/model"]["refs"]["v1"] == first["commit"]
    assert world.publish(tag="v1")["commit"] == first["commit"]
    world.write({"config.json": b"{}"})
    failure = world.failure(tag="v1")
    assert (failure.code, failure.message) == ("OBE205", "the tag `v1` of me/model already names other content")
    assert world.at()["config.json"] == b'{"a": 1}'


@pytest.mark.parametrize(
    ("user", "repo", "params", "code", "message"),
    [
        (None, "me/model", {}, "OBE200", "the Hub does not accept the token"),
        ({"name": "me", "role": "read"}, "me/model", {}, "OBE201", "the token may only read"),
        ({"name": "me"}, "others/new", {}, "OBE201", "others/new belongs to others: the token writes for me"),
        ({"name": "me"}, "others/gated", {}, "OBE202", "others/gated is gated, and the token has no access"),
        ({"name": "me"}, "others/old", {"pull_request": False}, "OBE201",
         "others/old belongs to others: the token writes for me"),
        ({"name": "me"}, "me/model", {"license": ""}, "OBE203", "the license of the source is unknown"),
        ({"name": "me"}, "me/model", {"license": "apache-2.0"}, "OBE203",
         "the card states the license `mit`, not `apache-2.0`"),
    ],
)  # fmt: skip
def test_refusals_come_before_any_upload(world, user, repo, params, code, message):
    world.hub.users = {TOKEN: user} if user else {}
    for name in ("others/old", "others/gated"):
        world.hub.add(name, {"config.json": b"{}"})
    world.hub.gated.add("others/gated")
    failure = world.failure(repo, **params)
    assert (failure.code, failure.message) == (code, message)
    assert world.sent("PUT") + world.sent("/commit/") == 0


def test_a_token_without_this_right_is_told_by_the_hub(world):
    """A fine-grained token has a role that does not say which repositories it may change."""
    world.hub.users[TOKEN]["role"] = "fineGrained"
    world.hub.troubles = [Trouble("preupload", 403)]
    failure = world.failure()
    assert (failure.code, failure.message) == ("OBE201", "the token may not write to me/model")


def test_without_a_token_nothing_is_asked(world, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    failure = world.failure()
    assert (failure.code, failure.message) == ("OBE200", "there is no token for the Hub")
    assert world.hub.requests == []


def test_a_card_that_the_hub_refuses_names_its_fields(world):
    world.write({"README.md": b"---\nlicense: mit\npipeline_tag: magic\n---\n"})
    failure = world.failure()
    assert (failure.code, failure.message) == ("OBE204", "the Hub refuses the model card: `pipeline_tag` is not known")
    assert world.sent("PUT") == 0


def test_a_file_that_is_too_large_is_refused_offline(world, monkeypatch):
    monkeypatch.setattr("onnxbuild.workers.publish.hub_repository.LARGEST_FILE", 5000)
    failure = world.failure()
    assert (failure.code, failure.message) == (
        "OBE209", "onnx/model.onnx has 5,005 bytes, and the Hub takes 5,000 at most"
    )  # fmt: skip
    assert world.hub.requests == []


def test_a_card_without_a_license_gets_that_of_the_source(world):
    world.write({"README.md": b"# A model\n"})
    world.publish(license="mit", base_model="google/bert")
    assert world.at()["README.md"] == b"---\nlicense: mit\nbase_model: google/bert\n---\n\n# A model\n"


def test_only_the_endpoint_sees_the_token(world):
    world.publish()
    assert set(world.hub.tokens_seen) <= {f"Bearer {TOKEN}", None}
    assert not any(TOKEN in one for one in (*world.told, *world.hub.requests))
