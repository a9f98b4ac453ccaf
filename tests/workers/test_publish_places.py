"""Publishing to a folder, to S3 (the server of rclone) and to a registry of containers (a small server)."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

import pytest
from oci_server import OciServer
from s3_server import S3Server, in_base64
from servers import PASSWORD, USER, Server

from onnxbuild.commands.publishing.asked_places import in_place
from onnxbuild.protocol import CheckFailed
from onnxbuild.publishing.uploaded_files import upload_of
from onnxbuild.steps.publish import PublishParams
from onnxbuild.workers.publish import listed_places
from onnxbuild.workers.publish.worker import run

FILES = {"README.md": b"# A model\n", "onnx/model.onnx": b"graph" * 1001, "config.json": b"{}"}
SUMS = "".join(f"{hashlib.sha256(FILES[name]).hexdigest()}  {name}\n" for name in sorted(FILES)).encode()
CHANGED = {"README.md": b"# A model\n", "config.json": b"[7]", "onnx/q4.onnx": b"4" * 19}


@pytest.fixture
def package(tmp_path):
    (tmp_path / "receipt").mkdir()
    folder = tmp_path / "package"
    write(folder, FILES)
    return folder


def write(folder, files):
    for path in folder.rglob("*"):
        if path.is_file():
            path.unlink()
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def publish(package, **params):
    inputs = {"package": package}
    if (package.parent / "client").is_dir():
        inputs["client"] = package.parent / "client"
    return run(PublishParams(**params), inputs, {"receipt": package.parent / "receipt"}, lambda *_: None)


def counts(facts):
    return [facts[name] for name in ("added", "replaced", "deleted", "unchanged")]


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_gets_what_differs_and_keeps_what_others_put_there(package, tmp_path):
    target = tmp_path / "site" / "model"
    assert counts(publish(package, folder=str(target))) == [4, 0, 0, 0]
    assert content(target) == {**FILES, ".onnxbuild.sha256": SUMS}
    (target / "index.html").write_bytes(b"by hand")
    stamp = (target / "README.md").stat().st_mtime_ns
    write(package, CHANGED)
    assert counts(publish(package, folder=str(target))) == [1, 2, 1, 1]
    found = content(target)
    assert set(found) == {*CHANGED, ".onnxbuild.sha256", "index.html"}
    assert found["config.json"] == b"[7]"
    assert (target / "README.md").stat().st_mtime_ns == stamp
    assert counts(publish(package, folder=str(target))) == [0, 0, 0, 4]


def test_a_folder_that_was_edited_is_not_overwritten_silently(package, tmp_path):
    target = tmp_path / "site"
    publish(package, folder=str(target))
    (target / "config.json").write_bytes(b"edited")
    with pytest.raises(CheckFailed, match=r"somebody has changed config\.json in folder:") as caught:
        publish(package, folder=str(target))
    assert caught.value.failure.code == "OBE205"
    assert counts(publish(package, folder=str(target), overwrite=True)) == [0, 1, 0, 3]


def test_an_edited_file_that_the_new_version_lacks_is_not_deleted(package, tmp_path):
    target = tmp_path / "site"
    publish(package, folder=str(target))
    (target / "onnx" / "model.onnx").write_bytes(b"edited")
    write(package, CHANGED)
    with pytest.raises(CheckFailed, match=r"somebody has changed onnx/model\.onnx in folder:"):
        publish(package, folder=str(target))
    assert (target / "onnx" / "model.onnx").read_bytes() == b"edited"
    assert counts(publish(package, folder=str(target), overwrite=True)) == [1, 2, 1, 1]


def test_a_list_that_leads_out_of_the_folder_deletes_nothing_there(package, tmp_path):
    target = tmp_path / "site" / "model"
    publish(package, folder=str(target))
    (tmp_path / "precious.txt").write_bytes(b"mine")
    with (target / ".onnxbuild.sha256").open("a") as sums:
        sums.write(f"{hashlib.sha256(b'mine').hexdigest()}  ../../precious.txt\n")
    write(package, CHANGED)
    with pytest.raises(CheckFailed, match=r"somebody has changed \.onnxbuild\.sha256 in folder:") as caught:
        publish(package, folder=str(target))
    assert caught.value.failure.code == "OBE205"
    assert (target / "config.json").read_bytes() == b"{}"
    assert counts(publish(package, folder=str(target), overwrite=True)) == [1, 2, 1, 1]
    assert (tmp_path / "precious.txt").read_bytes() == b"mine"


def test_nothing_is_written_or_deleted_behind_a_link(package, tmp_path):
    target, other = tmp_path / "site", tmp_path / "other"
    publish(package, folder=str(target))
    (target / "onnx").rename(other)
    (target / "onnx").symlink_to(other)
    write(package, {"README.md": FILES["README.md"]})
    with pytest.raises(
        CheckFailed, match=r"a link in place of a folder, and onnx/model\.onnx would be behind"
    ) as caught:
        publish(package, folder=str(target))
    assert caught.value.failure.code == "OBE205"
    assert content(other) == {"model.onnx": FILES["onnx/model.onnx"]}


def test_a_first_publish_does_not_replace_files_of_others(package, tmp_path):
    target = tmp_path / "site"
    write(target, {"config.json": b"by hand", "README.md": FILES["README.md"]})
    with pytest.raises(CheckFailed, match=r"which no publish has written: config\.json, README\.md$") as caught:
        publish(package, folder=str(target))
    assert caught.value.failure.code == "OBE205"
    assert content(target) == {"config.json": b"by hand", "README.md": FILES["README.md"]}
    assert counts(publish(package, folder=str(target), overwrite=True)) == [2, 1, 0, 1]


def test_a_first_publish_does_not_take_equal_files_for_its_own(package, place):
    """Else the next one replaces them, such as those of a source."""
    params, there, _ = place
    publish(package, **params)
    shown = r"which no publish has written: README\.md, config\.json, onnx/model\.onnx$"
    forget_list(params)
    with pytest.raises(CheckFailed, match=shown) as caught:
        publish(package, **params)
    assert caught.value.failure.code == "OBE205"
    assert there() == FILES
    assert counts(publish(package, **params, overwrite=True)) == [1, 0, 0, 3]


def forget_list(params):
    place = listed_places._Folder(Path(params["folder"])) if "folder" in params else listed_places._Bucket(params["s3"])
    place.remove(".onnxbuild.sha256")


def test_a_later_publish_does_not_take_an_equal_file_for_its_own(package, tmp_path):
    target = tmp_path / "site"
    publish(package, folder=str(target))
    write(package, {**FILES, "onnx/q4.onnx": CHANGED["onnx/q4.onnx"]})
    (target / "onnx" / "q4.onnx").write_bytes(CHANGED["onnx/q4.onnx"])
    with pytest.raises(CheckFailed, match=r"somebody has changed onnx/q4\.onnx in folder:"):
        publish(package, folder=str(target))
    assert content(target)[".onnxbuild.sha256"] == SUMS


def account(model="a", source=None, **more):
    """An `onnxbuild.json`."""
    sources = [{"kind": "hub", "repository": source}] if source else []
    return json.dumps({"model": model, "target": "packages/plain", "sources": sources, **more}).encode()


_OTHER_MODEL = (account("a"), account("b"), "of the model `a`, and this one is of `b`")
_OTHER_SOURCE = (
    account(source="o/x"), account(source="o/y"), "of `a` from `hub:o/x`, and this one is from `hub:o/y`"
)  # fmt: skip
_OTHER_MANIFEST = (
    account(manifest="./m.yaml"), account(manifest="./app/m.yaml"),
    r"of `a` by `\./m\.yaml`, and this one is by `\./app/m\.yaml`",
)  # fmt: skip


@pytest.mark.parametrize(
    ("anywhere", "there", "here", "says"),
    [
        ("s3", *_OTHER_MODEL), ("folder", *_OTHER_MODEL), ("oci", *_OTHER_MODEL),
        ("oci", *_OTHER_SOURCE), ("folder", *_OTHER_MANIFEST),
    ],
    indirect=["anywhere"],
)  # fmt: skip
def test_the_publication_of_another_origin_is_not_replaced(package, anywhere, there, here, says):
    params, files = anywhere
    write(package, {**FILES, "onnxbuild.json": there})
    publish(package, **params)
    write(package, {**CHANGED, "onnxbuild.json": here})
    planned = asked(package, **params).other if "folder" not in params else ""
    with pytest.raises(CheckFailed, match=f" has a publication {says}$") as caught:
        publish(package, **params)
    assert caught.value.failure.code == "OBE205"
    assert caught.value.failure.message.endswith(planned)
    assert files()["config.json"] == FILES["config.json"]
    assert counts(publish(package, **params, overwrite=True)) == [1, 3, 1, 1]
    assert files()["onnxbuild.json"] == here


@pytest.mark.parametrize(("there", "here"), [
    (account(), account(target="packages/web")),
    (account(source="O/x", manifest="m.yaml"), account(source="o/X", manifest="./web/m.yaml")),
    (account(manifest="./web/m.yaml"), account(manifest="m.yaml")),
    (account(manifest="./web/m.yaml"), account(manifest="./web/m.yaml", target="packages/web")),
    (account(), account(source="o/x", manifest="./web/m.yaml")),  # by a version that named neither
    (account(source="o/x"), account(sources=[{"kind": "local", "digest": "7" * 64}])),
    (b"[" * 100_000, account()),
    (b'{"model": 7, "sources": {}, "manifest": []}', account(source="o/x", manifest="m.yaml")),
])  # fmt: skip
def test_a_new_version_of_a_publication_replaces_it(package, tmp_path, there, here):
    write(package, {**FILES, "onnxbuild.json": there})
    publish(package, folder=str(tmp_path / "site"))
    write(package, {**CHANGED, "onnxbuild.json": here})
    assert counts(publish(package, folder=str(tmp_path / "site"))) == [1, 3, 1, 1]


def test_a_folder_that_cannot_be_written_is_a_coded_failure(package, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CheckFailed, match="cannot be written: Not a directory") as caught:
        publish(package, folder=str(tmp_path / "file" / "below"))
    assert caught.value.failure.code == "OBE207"


def test_a_skipped_client_withholds_the_upload(package, tmp_path):
    (tmp_path / "client").mkdir()
    (tmp_path / "client" / "client.json").write_text('{"skipped": "needs node"}')
    with pytest.raises(CheckFailed, match="the check with the client was skipped: needs node") as caught:
        publish(package, folder=str(tmp_path / "site"))
    assert caught.value.failure.code == "OBE210"
    assert not (tmp_path / "site").exists()
    assert counts(publish(package, folder=str(tmp_path / "site"), unchecked=True)) == [4, 0, 0, 0]


@pytest.fixture
def registry(monkeypatch, tmp_path):
    pytest.importorskip("oras")
    monkeypatch.setenv("HOME", str(tmp_path))
    with OciServer() as server:
        yield server


def test_an_artifact_has_a_layer_for_each_file(package, registry):
    image = f"{registry.host}/me/model:1.0"
    facts = publish(package, oci=image)
    assert counts(facts) == [4, 0, 0, 0]
    assert registry.files("me/model:1.0") == {**FILES, ".onnxbuild.sha256": SUMS}
    manifest = json.loads(registry.manifests["me/model:1.0"])
    assert manifest["artifactType"] == "application/vnd.onnxbuild.package.v1"
    assert manifest["annotations"] == {"io.onnxbuild.digest": hashlib.sha256(SUMS).hexdigest()}
    types = {one["annotations"]["org.opencontainers.image.title"]: one["mediaType"] for one in manifest["layers"]}
    assert types["config.json"] == "application/json"
    assert types["onnx/model.onnx"] == "application/octet-stream"
    registry.requests.clear()
    assert counts(publish(package, oci=image)) == [0, 0, 0, 4]
    assert registry.requests == ["GET /v2/me/model/manifests/1.0"]


def test_a_new_artifact_sends_only_new_blobs(package, registry):
    image = f"{registry.host}/me/model:1.0"
    publish(package, oci=image)
    registry.requests.clear()
    write(package, CHANGED)
    assert counts(publish(package, oci=image)) == [1, 2, 1, 1]
    assert set(registry.files("me/model:1.0")) == {*CHANGED, ".onnxbuild.sha256"}
    assert sum(one.startswith("PUT") and "/uploads/" in one for one in registry.requests) == 3


@pytest.mark.parametrize(("change", "says"), [
    ({"onnx/model.onnx": b"theirs"}, r"somebody has changed onnx/model\.onnx in oci:"),
    ({"notes.md": b"theirs"}, r"somebody has changed notes\.md in oci:"),
    ({"onnx/q4.onnx": CHANGED["onnx/q4.onnx"]}, r"somebody has changed onnx/q4\.onnx in oci:"),
    ({".onnxbuild.sha256": None}, "has an artifact that no publish has written$"),
    ({"": b"a layer of an image"}, "has an artifact that no publish has written$"),
])  # fmt: skip
def test_what_somebody_else_has_pushed_is_not_replaced(package, registry, change, says):
    """With the layers of a publish changed by name; None removes one, and an image has layers without names."""
    image = f"{registry.host}/me/model:1.0"
    publish(package, oci=image)
    registry.push("me/model:1.0", {**registry.files("me/model:1.0"), **change})
    there = registry.manifests["me/model:1.0"]
    write(package, CHANGED)
    with pytest.raises(CheckFailed, match=says) as caught:
        publish(package, oci=image)
    assert caught.value.failure.code == "OBE205"
    assert registry.manifests["me/model:1.0"] == there
    publish(package, oci=image, overwrite=True)
    assert set(registry.files("me/model:1.0")) == {*CHANGED, ".onnxbuild.sha256"}


def test_an_index_of_images_is_not_replaced(package, registry):
    registry.manifests["me/model:1.0"] = b'{"schemaVersion": 2, "manifests": []}'
    planned = asked(package, oci=f"{registry.host}/me/model:1.0")
    assert planned.other == "has an artifact that no publish has written"
    with pytest.raises(CheckFailed, match=planned.other):
        publish(package, oci=f"{registry.host}/me/model:1.0")


def test_a_registry_that_sends_another_list_is_not_believed(package, registry):
    image = f"{registry.host}/me/model:1.0"
    publish(package, oci=image)
    registry.blobs[f"sha256:{hashlib.sha256(SUMS).hexdigest()}"] = b""
    write(package, CHANGED)
    with pytest.raises(CheckFailed, match="the registry sends other content for sha256:") as caught:
        publish(package, oci=image)
    assert caught.value.failure.code == "OBE207"


def test_another_account_alone_is_not_pushed(package, registry):
    write(package, {**FILES, "onnxbuild.json": account(onnxbuild="1")})
    publish(package, oci=f"{registry.host}/me/model:1.0")
    write(package, {**FILES, "onnxbuild.json": account(onnxbuild="2")})
    assert counts(publish(package, oci=f"{registry.host}/me/model:1.0")) == [0, 0, 0, 5]


def test_oras_pulls_what_was_published(package, registry, tmp_path):
    import oras.client

    image = f"{registry.host}/me/model:1.0"
    publish(package, oci=image)
    oras.client.OrasClient(hostname=registry.host, insecure=True).pull(image, outdir=str(tmp_path / "pulled"))
    assert content(tmp_path / "pulled") == {**FILES, ".onnxbuild.sha256": SUMS}


def test_a_registry_that_refuses_is_a_coded_failure(package, registry):
    registry.failures = [400]
    with pytest.raises(CheckFailed, match="the registry of") as caught:
        publish(package, oci=f"{registry.host}/me/model:1.0")
    assert caught.value.failure.code == "OBE207"
    assert registry.manifests == {}


def test_without_oras_an_artifact_is_skipped(package, monkeypatch):
    monkeypatch.setitem(sys.modules, "oras", None)
    facts = publish(package, oci="registry.example/me/model:1.0")
    assert facts == {"destination": "oci:registry.example/me/model:1.0", "skipped": "needs oras"}
    assert json.loads((package.parent / "receipt" / "published.json").read_text()) == facts


def test_a_bucket_gets_what_differs(package, tmp_path, monkeypatch):
    pytest.importorskip("s3fs")
    server = Server("s3", tmp_path / "buckets")
    (tmp_path / "buckets" / "models").mkdir(parents=True)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", USER)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", PASSWORD)
    server.start()
    try:
        assert counts(publish(package, s3="s3://models/sst2")) == [4, 0, 0, 0]
        (tmp_path / "buckets" / "models" / "sst2" / "other.txt").write_bytes(b"by hand")
        assert counts(publish(package, s3="s3://models/sst2/")) == [0, 0, 0, 4]
        write(package, CHANGED)
        planned = asked(package, s3="s3://models/sst2")
        assert (list(planned.added), list(planned.deleted)) == (["onnx/q4.onnx"], ["onnx/model.onnx"])
        assert counts(publish(package, s3="s3://models/sst2")) == [1, 2, 1, 1]
        assert asked(package, s3="s3://models/sst2").is_empty
        # This server keeps no checksums, so the files are read.
        (tmp_path / "buckets" / "models" / "sst2" / "config.json").write_bytes(b"[9]")
        assert asked(package, s3="s3://models/sst2").foreign == ("config.json",)
        assert counts(publish(package, s3="s3://models/sst2", overwrite=True)) == [0, 1, 0, 3]
    finally:
        server.kill()
    found = content(tmp_path / "buckets" / "models" / "sst2")
    assert set(found) == {*CHANGED, ".onnxbuild.sha256", "other.txt"}
    assert found["config.json"] == b"[7]"


@pytest.fixture
def bucket(monkeypatch):
    """A bucket whose server keeps checksums; `cuts` are the names after which an upload is cut."""
    pytest.importorskip("s3fs")
    with S3Server() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.address)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", USER)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", PASSWORD)
        server.cuts = []
        cut_after(monkeypatch, listed_places._Bucket, server.cuts)
        yield server


def cut_after(monkeypatch, place, cuts):
    write = place.write

    def cut(self, name, file):
        write(self, name, file)
        if name in cuts:
            raise OSError("cut")

    monkeypatch.setattr(place, "write", cut)


BUCKET = "s3://models/sst2"
MODEL = "models/sst2/onnx/model.onnx"


@pytest.mark.parametrize("data", [FILES["onnx/model.onnx"][:-1], FILES["onnx/model.onnx"][::-1]])
def test_an_edited_file_in_a_bucket_is_not_overwritten_silently(package, bucket, data):
    """Also one of the same size, whether its checksum is another one or unknown."""
    publish(package, s3=BUCKET)
    for headers in ({}, {"x-amz-checksum-sha256": in_base64(data)}):
        bucket.put(MODEL, data, **headers)
        assert asked(package, s3=BUCKET).foreign == ("onnx/model.onnx",)
        with pytest.raises(CheckFailed, match=r"somebody has changed onnx/model\.onnx in s3:") as caught:
            publish(package, s3=BUCKET)
        assert caught.value.failure.code == "OBE205"
        assert bucket.files("models/sst2")["onnx/model.onnx"] == data
    assert counts(publish(package, s3=BUCKET, overwrite=True)) == [0, 1, 0, 3]
    assert bucket.files("models/sst2") == {**FILES, ".onnxbuild.sha256": SUMS}


def test_a_bucket_that_keeps_checksums_is_not_read(package, bucket):
    publish(package, s3=BUCKET)
    bucket.requests.clear()
    assert counts(publish(package, s3=BUCKET)) == [0, 0, 0, 4]
    assert [one for one in bucket.requests if one.startswith("GET")] == ["GET models/sst2/.onnxbuild.sha256"]


def test_a_file_in_parts_is_known_by_the_checksum_of_its_parts(package, bucket, monkeypatch):
    """Its metadata say nothing about other content that came with them."""
    monkeypatch.setattr("onnxbuild.publishing.bucket_files.PART_BYTES", 1024)
    assert counts(publish(package, s3=BUCKET)) == [4, 0, 0, 0]
    data, headers = bucket.objects[MODEL]
    assert data == FILES["onnx/model.onnx"]
    assert headers["x-amz-checksum-sha256"].endswith("-5")
    bucket.requests.clear()
    assert counts(publish(package, s3=BUCKET)) == [0, 0, 0, 4]
    assert f"GET {MODEL}" not in bucket.requests
    bucket.put(MODEL, data[::-1], **{name: value for name, value in headers.items() if "meta" in name})
    assert asked(package, s3=BUCKET).foreign == ("onnx/model.onnx",)


def test_a_file_that_changes_before_it_is_sent_does_not_arrive(package, bucket, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    upload = upload_of(package)
    (package / "config.json").write_bytes(b"[]")
    place = listed_places._Bucket(BUCKET)
    with pytest.raises(OSError, match="it is BadDigest"):
        place.write("config.json", upload.files["config.json"])
    assert bucket.objects == {}


def test_a_first_publish_to_a_bucket_does_not_replace_files_of_others(package, bucket):
    bucket.put("models/sst2/config.json", b"by hand")
    with pytest.raises(CheckFailed, match=r"which no publish has written: config\.json$"):
        publish(package, s3=BUCKET)
    assert bucket.files("models/sst2") == {"config.json": b"by hand"}


@pytest.fixture(params=["folder", "s3"])
def place(request, tmp_path, monkeypatch):
    """The params of a destination with plain files, how to read it, and the names after which an upload is cut."""
    if request.param == "s3":
        server = request.getfixturevalue("bucket")
        return {"s3": BUCKET}, lambda: server.files("models/sst2"), server.cuts
    cuts = []
    cut_after(monkeypatch, listed_places._Folder, cuts)
    return {"folder": str(tmp_path / "site")}, lambda: content(tmp_path / "site"), cuts


@pytest.fixture
def anywhere(request, tmp_path):
    """The params of a destination, and how to read it."""
    if request.param == "oci":
        server = request.getfixturevalue("registry")
        return {"oci": f"{server.host}/me/model:1.0"}, lambda: server.files("me/model:1.0")
    if request.param == "s3":
        server = request.getfixturevalue("bucket")
        return {"s3": BUCKET}, lambda: server.files("models/sst2")
    return {"folder": str(tmp_path / "site")}, lambda: content(tmp_path / "site")


@pytest.mark.parametrize("after", ["config.json", "onnx/q4.onnx", ".onnxbuild.sha256"])
def test_after_a_cut_upload_the_earlier_state_comes_back(package, place, after):
    params, there, cuts = place
    publish(package, **params)
    write(package, {**CHANGED, "config.json": b"[]"})  # as long as `{}`
    cuts.append(after)
    with pytest.raises(CheckFailed, match="cannot be written: cut"):
        publish(package, **params)
    cuts.clear()
    write(package, FILES)
    publish(package, **params)
    assert there() == {**FILES, ".onnxbuild.sha256": SUMS}
    assert counts(publish(package, **params)) == [0, 0, 0, 4]


def test_after_a_cut_first_upload_another_package_is_published(package, place):
    params, there, cuts = place
    cuts.append("config.json")
    with pytest.raises(CheckFailed, match="cannot be written: cut"):
        publish(package, **params)
    cuts.clear()
    write(package, {"config.json": b"another"})
    publish(package, **params)
    assert there().keys() == {"config.json", ".onnxbuild.sha256"}
    assert there()["config.json"] == b"another"


def test_what_somebody_changes_after_a_cut_upload_is_not_overwritten(package, tmp_path, monkeypatch):
    target, cuts = tmp_path / "site", []
    cut_after(monkeypatch, listed_places._Folder, cuts)
    publish(package, folder=str(target))
    write(package, CHANGED)
    cuts.append("config.json")
    with pytest.raises(CheckFailed, match="cannot be written: cut"):
        publish(package, folder=str(target))
    cuts.clear()
    (target / "config.json").write_bytes(b"{7}")
    for files in (CHANGED, FILES):
        write(package, files)
        with pytest.raises(CheckFailed, match=r"somebody has changed config\.json in folder:"):
            publish(package, folder=str(target))


def test_a_bucket_without_keys_is_a_coded_failure(package, tmp_path, monkeypatch):
    pytest.importorskip("s3fs")
    for name in [one for one in os.environ if one.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert asked(package, s3="s3://models/sst2") == "there are no keys for s3://models/sst2"
    with pytest.raises(CheckFailed, match="there are no keys for s3://models/sst2") as caught:
        publish(package, s3="s3://models/sst2")
    assert caught.value.failure.code == "OBE200"


def asked(package, **params):
    return in_place(upload_of(package, texts={}, license="", base_model=""), PublishParams(**params))


def test_a_plan_asks_the_registry_what_it_has(package, registry):
    image = f"{registry.host}/me/model:1.0"
    assert sorted(asked(package, oci=image).added) == sorted([*FILES, ".onnxbuild.sha256"])
    publish(package, oci=image)
    assert asked(package, oci=image).is_empty
    write(package, CHANGED)
    found = asked(package, oci=image)
    assert (list(found.added), list(found.deleted)) == (["onnx/q4.onnx"], ["onnx/model.onnx"])
    assert set(found.replaced) == {"config.json", ".onnxbuild.sha256"}
    registry.failures = [400]
    assert asked(package, oci=image).startswith(f"oci:{image} does not answer: ")


def test_a_plan_without_the_client_of_a_destination_says_what_it_needs(package, monkeypatch):
    for name in ("oras", "s3fs"):
        monkeypatch.setitem(sys.modules, name, None)
    assert asked(package, oci="registry.example/me/model:1.0") == "asking it needs oras"
    assert asked(package, s3="s3://models/sst2") == "asking it needs s3fs"
