"""Publishing from a manifest to a Hub on loopback: what waits, what is uploaded, what a second run and a plan say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hub_server import HubServer
from oci_server import OciServer

pytestmark = pytest.mark.heavy

ROOT = Path(__file__).parents[2]
TOKEN = "hf_" + "t" * 31
SIZES = "{hidden_size: 48, num_hidden_layers: 2, num_attention_heads: 4, intermediate_size: 96, vocab_size: 600}"
MANIFEST = f"""\
onnxbuild: 1
models:
  tiny:
    source: {{random: bert, config: {SIZES}, tokenizer: {{text: file:harbour.txt, vocabulary: 500}}}}
    task: text-classification
    targets: [{{name: fp32, validate: false, load: false}}]
    package: {{plain: {{client: false}}}}
    publish: {{hub: me/tiny-onnx, license: mit}}
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A project whose package is built, and what the first run said: it must not have asked any server."""
    folder = tmp_path_factory.mktemp("published")
    shutil.copy(ROOT / "manifests" / "data" / "harbour.txt", folder)
    (folder / "m.yaml").write_text(MANIFEST)
    with HubServer() as hub:
        first = command(folder, hub, "run", "m.yaml")
        assert hub.requests == []
    return folder, first


@pytest.fixture
def project(built, tmp_path):
    shutil.copytree(built[0], tmp_path / "p", symlinks=True)
    return tmp_path / "p"


@pytest.fixture
def hub():
    with HubServer() as server:
        server.users[TOKEN] = {"name": "me", "role": "write"}
        yield server


def command(folder, hub, *arguments, code=0, **more):
    environment = {
        **os.environ, "HF_ENDPOINT": hub.endpoint, "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "0", "PYTHONPATH": str(ROOT),
        "HF_HOME": str(folder / "hf"), "COLUMNS": "200", **more,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "onnxbuild", *arguments], cwd=folder, env=environment,
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert TOKEN not in done.stdout + done.stderr
    return done.stdout + done.stderr


def holds(folder, token=TOKEN):
    return [path for path in folder.rglob("*") if path.is_file() and token.encode() in path.read_bytes()]


def test_a_run_publishes_only_when_it_is_asked_to(built, project, hub):
    assert "tiny waits for --publish: plain → hub:me/tiny-onnx" in built[1]
    assert "waits for --publish" in command(project, hub, "run", "m.yaml")
    assert "waits for --publish" in command(project, hub, "run", "m.yaml", "tiny")
    assert hub.requests == []
    said = command(project, hub, "run", "m.yaml", "--publish")
    commit = hub.repos["me/tiny-onnx"]["refs"]["main"]
    assert re.search(
        rf"tiny is published \(plain\), 9 files added \(0\.\d MB\): http\S+/me/tiny-onnx/tree/{commit}", said
    )
    files = hub.repos["me/tiny-onnx"]["commits"][commit]
    package = project / "out" / "tiny" / "packages" / "plain"
    assert files["model.onnx"] == (package / "model.onnx").read_bytes()
    assert {name: data for name, data in files.items() if not name.startswith(".")} == {
        path.relative_to(package).as_posix(): path.read_bytes() for path in package.rglob("*") if path.is_file()
    }
    # The card with its license is among the checksums of the package.
    assert b"license: mit\n" in files["README.md"]
    assert f"{sha256(files['README.md'])}  README.md" in files["SHA256SUMS"].decode()
    assert holds(project) == []


def test_a_selector_that_names_the_step_asks_for_it(project, hub):
    command(project, hub, "run", "m.yaml", "tiny:publish")
    assert "me/tiny-onnx" in hub.repos


def test_a_plan_asks_a_registry_only_when_it_is_told_to(project, hub):
    pytest.importorskip("oras")
    with OciServer() as registry:
        text = (project / "m.yaml").read_text()
        (project / "m.yaml").write_text(text.replace("hub: me/tiny-onnx", f'oci: "{registry.host}/me/tiny:1.0"'))
        assert "never published from here" in command(project, hub, "plan", "m.yaml")
        assert registry.requests == []
        said = command(project, hub, "plan", "m.yaml", "--check-published")
        assert f"publish tiny (plain) → oci:{registry.host}/me/tiny:1.0 (compared with the destination)" in said
        assert registry.requests == ["GET /v2/me/tiny/manifests/1.0"]


def test_a_second_run_asks_no_server_until_it_is_told_to(project, hub):
    command(project, hub, "run", "m.yaml", "--publish")
    hub.requests.clear()
    said = command(project, hub, "run", "m.yaml", "--publish")
    assert "up to date" in said
    assert "tiny is published (plain): http" in said
    assert "tiny is published (plain): http" in command(project, hub, "run", "m.yaml")
    assert "compared with the last upload" in command(project, hub, "plan", "m.yaml")
    assert hub.requests == []
    said = command(project, hub, "run", "m.yaml", "--check-published")
    assert "tiny is published (plain), nothing changed: http" in said
    assert "forced by `--check-published`" in said
    assert hub.requests
    assert not any("/commit/" in one or one.startswith("PUT") for one in hub.requests)


def test_an_upload_contradicts_offline(project, hub):
    said = command(project, hub, "run", "m.yaml", "--publish", "--offline", code=2)
    assert "OB785 `--offline` uses no network, and the upload to `hub:me/tiny-onnx` needs one" in said
    assert "waits for --publish" in command(project, hub, "run", "m.yaml", "--offline")
    assert hub.requests == []


def test_another_hub_is_another_destination(project, hub):
    command(project, hub, "run", "m.yaml", "--publish")
    with HubServer() as other:
        other.users = hub.users
        command(project, other, "run", "m.yaml", "--publish")
        assert "me/tiny-onnx" in other.repos


def test_a_plan_shows_the_difference_by_digest(project, hub):
    before = command(project, hub, "plan", "m.yaml")
    title = "publish tiny (plain) → hub:me/tiny-onnx"
    assert f"{title} (never published from here, and the destination was not asked)" in before
    assert re.search(r"\n  add +model\.onnx  0\.\d MB", before)
    assert hub.requests == []
    assert f"{title} (the Hub has no such repository yet)" in command(
        project, hub, "plan", "m.yaml", "--check-published"
    )
    command(project, hub, "run", "m.yaml", "--publish")
    files = dict(hub.repos["me/tiny-onnx"]["commits"][hub.repos["me/tiny-onnx"]["refs"]["main"]])
    files["README.md"] += b"By hand.\n"
    del files["tokenizer.json"]
    commit = hub.add("me/tiny-onnx", files)
    after = command(project, hub, "plan", "m.yaml", "--check-published")
    assert f"{title} (compared with commit {commit[:12]})" in after
    assert re.search(r"\n  add +tokenizer\.json ", after)
    assert re.search(r"\n  replace +README\.md .*\(somebody has changed it since the last publish\)", after)
    assert re.search(r"\n  unchanged +7 files, 0\.\d MB", after)
    said = command(project, hub, "run", "m.yaml", "--check-published", code=1)
    assert "OBE205 tiny:publish failed: somebody has changed README.md in me/tiny-onnx since the last publish" in said
    files["onnxbuild.json"] = re.sub(
        rb'"manifest": "[^"]*m.yaml"', b'"manifest": "web/m2.yaml"', files["onnxbuild.json"]
    )
    files["config.json"] += b" "
    hub.add("me/tiny-onnx", files)
    said = command(project, hub, "plan", "m.yaml", "--check-published")
    assert (
        "refused (OBE205) without `overwrite: true`: it has a publication of `tiny` by `web/m2.yaml`, and this one is"
        in said
    )


def test_a_failed_upload_has_its_code_and_a_way_out_and_is_made_by_the_next_run(project, hub):
    assert "tiny was never published to hub:me/tiny-onnx" in command(project, hub, "status", "m.yaml")
    users, hub.users = hub.users, {}
    said = command(project, hub, "run", "m.yaml", "--publish", code=1)
    assert "OBE200 tiny:publish failed: the Hub does not accept the token" in said
    assert "hf auth login" in said
    assert holds(project) == []
    hub.users = users
    assert "is published" in command(project, hub, "run", "m.yaml", "--publish")
    hub.requests.clear()
    assert re.search(r"tiny is published \(plain\): http\S+\n", command(project, hub, "status", "m.yaml"))
    assert hub.requests == []


def test_a_token_of_hf_auth_login_is_used_and_kept_out_of_everything(project, hub):
    secret = "hf_" + "u" * 31
    hub.users = {secret: {"name": "me", "role": "write"}}
    (project / "hf").mkdir()
    (project / "hf" / "token").write_text(secret)
    said = command(project, hub, "run", "m.yaml", "--publish", HF_TOKEN="")
    assert "is published" in said
    assert secret not in said
    assert holds(project / ".onnxbuild", secret) == []


def test_another_user_does_not_take_over_that_it_was_published(project, hub, tmp_path):
    """A result in a shared store says what somebody else has uploaded, with rights of theirs."""
    shared = ("--remote", str(tmp_path / "remote"))
    command(project, hub, "run", "m.yaml", "--publish", *shared)
    shutil.rmtree(project / ".onnxbuild")
    shutil.rmtree(project / "out")
    hub.requests.clear()
    said = command(project, hub, "run", "m.yaml", "--publish", "--json", *shared)
    events = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    outcome = next(one for one in events if one.get("id") == "tiny:publish" and "outcome" in one)
    assert outcome["outcome"] == "built"
    assert outcome["facts"]["unchanged"] == 9
    assert any("/tree/" in one for one in hub.requests)


def test_a_download_by_the_real_client_is_verified(project, hub):
    command(project, hub, "run", "m.yaml", "--publish")
    lines = "import huggingface_hub; huggingface_hub.snapshot_download('me/tiny-onnx', local_dir='down')"
    environment = {**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "0"}
    subprocess.run([sys.executable, "-c", lines], cwd=project, env=environment, check=True, capture_output=True)
    assert "down: tiny/packages/plain, 7 files as built, not signed" in command(project, hub, "verify", "down")
    assert re.search(r"^tiny/packages/plain +\d\.\d MB +7 ", command(project, hub, "status", "m.yaml"), re.MULTILINE)
    weights = project / "down" / "model.onnx"
    data = weights.read_bytes()
    weights.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    assert "OB751 `down/model.onnx` has other content" in command(project, hub, "verify", "down", code=1)


def test_another_account_of_equal_files_uploads_nothing(project, hub):
    """Whoever builds the same with another version of onnxbuild has another `onnxbuild.json`, and nothing else."""
    command(project, hub, "run", "m.yaml", "--publish")
    commit = hub.repos["me/tiny-onnx"]["refs"]["main"]
    files = dict(hub.repos["me/tiny-onnx"]["commits"][commit])
    old = files["onnxbuild.json"]
    files["onnxbuild.json"] = old.replace(b'"onnxbuild": "', b'"onnxbuild": "0.', 1)
    assert files["onnxbuild.json"] != old
    files[".onnxbuild.sha256"] = files[".onnxbuild.sha256"].replace(
        sha256(old).encode(), sha256(files["onnxbuild.json"]).encode()
    )
    commit = hub.add("me/tiny-onnx", dict(files))
    assert "nothing changed" in command(project, hub, "run", "m.yaml", "--check-published")
    assert hub.repos["me/tiny-onnx"]["refs"]["main"] == commit
    # One that nobody has listed was changed by hand.
    hub.add("me/tiny-onnx", {**files, "onnxbuild.json": b"{}"})
    said = command(project, hub, "run", "m.yaml", "--check-published", code=1)
    assert "somebody has changed onnxbuild.json in me/tiny-onnx since the last publish" in said


def test_the_signature_of_a_folder_is_published_with_it(project, hub):
    pytest.importorskip("model_signing")
    command(project, hub, "run", "m.yaml", "--publish")
    for arguments in (
        ("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "signer.key"),
        ("ec", "-in", "signer.key", "-pubout", "-out", "signer.pub"),
    ):
        subprocess.run(["openssl", *arguments], cwd=project, check=True, capture_output=True)
    command(project, hub, "sign", "out/tiny/packages/plain", "--key", "signer.key")
    said = command(project, hub, "run", "m.yaml", "--publish")
    assert "tiny is published (plain, signed), 1 file added, 1 replaced" in said
    commit = hub.repos["me/tiny-onnx"]["refs"]["main"]
    for name, data in hub.repos["me/tiny-onnx"]["commits"][commit].items():
        (project / "down" / name).parent.mkdir(parents=True, exist_ok=True)
        (project / "down" / name).write_bytes(data)
    said = command(project, hub, "verify", "down", "--trust", "signer.pub")
    assert "7 files as built, signed by signer.pub" in said
    # A machine without the signed folder withdraws the signature, and says so before and after.
    shutil.rmtree(project / "out")
    reason = "its folder in the output has no signature of this content; `onnxbuild sign` makes one"
    assert re.search(rf"\n  delete +model\.sig .*\({re.escape(reason)}\)", command(project, hub, "plan", "m.yaml"))
    said = command(project, hub, "run", "m.yaml", "--publish")
    assert f"tiny is no longer signed at hub:me/tiny-onnx: {reason}" in said
    assert "model.sig" not in hub.repos["me/tiny-onnx"]["commits"][hub.repos["me/tiny-onnx"]["refs"]["main"]]


def test_a_signature_of_another_content_is_not_published_and_the_run_says_so(project, hub):
    pytest.importorskip("model_signing")
    curve = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    subprocess.run(["openssl", "genpkey", *curve, "-out", "k"], cwd=project, check=True, capture_output=True)
    earlier = (project / "m.yaml").read_text().replace("hub: me/tiny-onnx", "folder: site")
    (project / "m.yaml").write_text(earlier)
    command(project, hub, "run", "m.yaml")
    command(project, hub, "sign", "out/tiny/packages/plain", "--key", "k")
    outdated = "out/tiny/packages/plain/ has a `model.sig` of another content"
    said = command(project, hub, "run", "m.yaml", "--publish")
    assert "tiny is published (plain, signed), 10 files added" in said
    assert outdated not in said
    signature = (project / "site" / "model.sig").read_bytes()
    (project / "m.yaml").write_text(earlier.replace("license: mit", "license: apache-2.0"))
    said = command(project, hub, "run", "m.yaml", "--publish")
    assert "is no longer signed" in said
    assert outdated in said
    # Now the folder in the output has the new description, and the old signature beside it.
    assert (project / "out" / "tiny" / "packages" / "plain" / "model.sig").read_bytes() == signature
    for arguments in (("--publish",), ("--check-published",)):
        assert "signed)" not in command(project, hub, "run", "m.yaml", *arguments)
        assert not (project / "site" / "model.sig").exists()
    shutil.rmtree(project / "site")
    said = command(project, hub, "run", "m.yaml", "--publish")
    assert "is published (plain), 9 files added" in said
    assert outdated in said


def test_what_a_run_has_measured_is_published_once(project, hub):
    """A card of fresh results has the same bytes as one of kept results, so nothing is uploaded a second time."""
    text = (
        (project / "m.yaml").read_text().replace("validate: false, ", "").replace("hub: me/tiny-onnx", "folder: site")
    )
    (project / "m.yaml").write_text(text)
    said = command(project, hub, "run", "m.yaml", "--out", "first", "--publish")
    assert "is published (plain), 9 files added" in said
    package = Path("tiny", "packages", "plain")
    assert b"max_abs" in (project / "first" / package / "README.md").read_bytes()
    said = command(project, hub, "run", "m.yaml", "--out", "first")
    assert "waits for --publish" not in said
    assert "wrote" not in said
    command(project, hub, "run", "m.yaml", "--out", "second")
    files = [{one.name: one.read_bytes() for one in (project / out / package).iterdir()} for out in ("first", "second")]
    assert files[0] == files[1]
    assert "up to date" in command(project, hub, "run", "m.yaml", "--out", "first", "--publish")


def test_an_earlier_version_is_published_again(project, hub):
    """The store has its result, and the repository has something else by now."""
    earlier = (project / "m.yaml").read_text()
    command(project, hub, "run", "m.yaml", "--publish")
    (project / "m.yaml").write_text(earlier.replace("license: mit", "license: apache-2.0"))
    command(project, hub, "run", "m.yaml", "--publish")
    (project / "m.yaml").write_text(earlier)
    said = command(project, hub, "run", "m.yaml", "--publish")
    assert "the last upload to its destination was another one, or failed" in said
    commit = hub.repos["me/tiny-onnx"]["refs"]["main"]
    assert b"license: mit\n" in hub.repos["me/tiny-onnx"]["commits"][commit]["README.md"]


def test_several_destinations_each_get_the_package(project, hub):
    text = (
        (project / "m.yaml")
        .read_text()
        .replace(
            "publish: {hub: me/tiny-onnx, license: mit}",
            "publish: [{folder: site/tiny, license: MIT}, {hub: me/tiny-onnx, license: mit}]",
        )
    )
    (project / "m.yaml").write_text(text)
    said = command(project, hub, "run", "m.yaml", "tiny:publish-folder")
    assert "tiny waits for --publish: plain → hub:me/tiny-onnx" in said
    assert hub.requests == []
    assert "is published (plain), 9 files added" in said
    command(project, hub, "run", "m.yaml", "--publish")
    assert b"license: mit" in (project / "site" / "tiny" / "README.md").read_bytes()
    commit = hub.repos["me/tiny-onnx"]["refs"]["main"]
    files = hub.repos["me/tiny-onnx"]["commits"][commit]
    assert all((project / "site" / "tiny" / name).read_bytes() == files[name] for name in files if name[:4] != ".git")


def test_a_folder_that_was_deleted_is_not_called_published(project, hub):
    text = (project / "m.yaml").read_text().replace("{hub: me/tiny-onnx, license: mit}", "{folder: site}")
    (project / "m.yaml").write_text(text)
    for _ in range(2):  # the second run leaves a receipt
        command(project, hub, "run", "m.yaml", "--publish")
    (project / "site" / "model.onnx").unlink()
    assert "; its folder has lost files or was written to since" in command(project, hub, "status", "m.yaml")
    assert "waits for --publish" in command(project, hub, "run", "m.yaml")
    lines = [json.loads(line) for line in command(project, hub, "plan", "m.yaml", "--json").splitlines()]
    (upload,) = [line for line in lines if line["event"] == "upload"]
    assert (upload["place"], set(upload["difference"]["added"])) == (f"folder:{project / 'site'}", {"model.onnx"})
    said = command(project, hub, "run", "m.yaml", "--publish")
    assert "is published (plain), 1 file added" in said
    assert "its destination has lost files that were published" in said
    assert re.search(r"^built +tiny:publish ", said, re.MULTILINE)
    assert "\nbuilt 1, unchanged 0, " in said
    shutil.rmtree(project / "site")
    assert "9 files added" in command(project, hub, "run", "m.yaml", "--publish")
    assert "up to date" in command(project, hub, "run", "m.yaml", "--publish")


def test_a_failing_gate_withholds_the_upload(project, hub):
    gate = "[{name: fp32, validate: {thresholds: {max_abs: 1.0e-30}}, load: false}]"
    text = (project / "m.yaml").read_text().replace("[{name: fp32, validate: false, load: false}]", gate)
    (project / "m.yaml").write_text(text)
    said = command(project, hub, "run", "m.yaml", "--publish", code=1)
    assert "tiny/fp32:validate failed" in said
    assert "is published" not in said
    assert not any(one.startswith(("POST", "PUT")) for one in hub.requests)
    assert hub.repos == {}


def test_publishing_where_nothing_is_published_is_refused(project, hub):
    text = (project / "m.yaml").read_text().partition("    publish:")[0]
    (project / "m.yaml").write_text(text)
    said = command(project, hub, "run", "m.yaml", "--publish", code=2)
    assert "OB787 there is nothing to publish: no selected model has `publish:`" in said


def test_a_run_refuses_what_lint_refuses_of_a_destination(project, hub):
    text = (project / "m.yaml").read_text().replace("{hub: me/tiny-onnx, license: mit}", "{folder: out/tiny}")
    (project / "m.yaml").write_text(text)
    for arguments in (("--publish",), ("tiny:publish",)):
        assert "OB786 `tiny` is published to the folder of the outputs" in command(
            project, hub, "run", "m.yaml", *arguments, code=2
        )


def sha256(data):
    import hashlib

    return hashlib.sha256(data).hexdigest()
