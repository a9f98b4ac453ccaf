"""`verify` and `sign`: what they print, the exit codes, and what a signature adds to digests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from folders_to_check import FILES, account, folder_with, listed

from onnxbuild.cli import run_command
from onnxbuild.deliver.provenance import PROVENANCE


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder_with(tmp_path / "f")
    return tmp_path / "f"


@pytest.fixture
def keys(tmp_path):
    """The files of two pairs of keys, `a` and `b`."""
    for name in ("a", "b"):
        write_pair(tmp_path / name, ec.generate_private_key(ec.SECP256R1()))
    return tmp_path


def write_pair(place, private):
    form = serialization.PrivateFormat.PKCS8
    place.with_suffix(".key").write_bytes(
        private.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    )
    place.with_suffix(".pub").write_bytes(
        private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def ended(capsys, *arguments):
    """Exit code, stdout and stderr of a command."""
    code = run_command([*arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_folder_that_is_right(folder, capsys):
    assert ended(capsys, "verify", "f") == (0, "f: m/t, 3 files as built, not signed\n", "")


def test_each_fault_has_its_message(folder, capsys):
    (folder / "model.onnx").write_bytes(b"other")
    (folder / "new.py").write_text("")
    code, out, err = ended(capsys, "verify", "f")
    assert (code, out) == (1, "")
    assert err.splitlines() == [
        "OB751 `f/model.onnx` has other content: its BLAKE3 digest is 3f796163ebf94718…",
        "",
        "OB751 `f/new.py` is not listed: it was added",
        "  = hint: `--allow PATTERN` permits files that are not listed",
    ]


def test_one_wrong_folder_of_several_fails_and_the_others_are_told(folder, tmp_path, capsys):
    code, out, err = ended(capsys, "verify", "f", "missing")
    assert (code, out) == (1, "f: m/t, 3 files as built, not signed\n")
    assert err.startswith("OB750 `missing` does not exist\n")


def test_a_folder_of_several_variants_gets_the_name_of_one(folder, tmp_path, capsys):
    code, out, err = ended(capsys, "verify", ".")
    assert (code, out) == (1, "")
    hint = "name a folder that `onnxbuild run` has written, or a copy of one, such as `f`"
    assert err == f"OB750 `.` has no `onnxbuild.json`\n  = hint: {hint}\n"


def test_json_has_every_problem(folder, capsys):
    (folder / "README.md").write_text("x")
    (folder / "config.json").unlink()
    code, out, err = ended(capsys, "verify", "f", "--json")
    (one,) = json.loads(out)
    message = "`f/config.json` is missing"
    assert (code, err) == (1, "")
    assert one == {
        "folder": "f", "ok": False, "model": "m", "target": "t", "files": 3, "added": ["README.md"],
        "problems": [{"name": "config.json", "kind": "missing", "message": "is missing"}],
        "signature": None, "revalidated": [],
        "diagnostics": [{"code": "OB751", "severity": "error", "message": message}],
    }  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_name_that_is_not_utf_8_or_controls_a_terminal_is_escaped(folder, capsys):
    with open(os.fsencode(folder) + b"/\xff\n\x1b.py", "wb"):
        pass
    _, _, err = ended(capsys, "verify", "f")
    assert "`f/\\xff\\n\\x1b.py` is not listed" in err
    code, out, _ = ended(capsys, "verify", "f", "--json")
    assert (code, json.loads(out)[0]["problems"][0]["name"]) == (1, "\\xff\n\\x1b.py")


def test_a_place_of_sources_needs_a_validation(folder):
    with pytest.raises(SystemExit) as stopped:
        run_command(["verify", "f", "--source", "f"])
    assert stopped.value.code == 2


# -- signatures -------------------------------------------------------------------------------------------------------


@pytest.fixture
def signed(folder, keys, capsys):
    assert ended(capsys, "sign", "f", "--key", "a.key") == (0, "f: m/t is signed\n", "")
    return folder


def test_a_signature_is_checked_against_the_keys_that_are_named(signed, capsys):
    wanted = "f: m/t, 3 files as built, signed by a.pub\n"
    assert ended(capsys, "verify", "f", "--trust", "a.pub") == (0, wanted, "")
    assert ended(capsys, "verify", "f", "--trust", "b.pub", "--trust", "a.pub") == (0, wanted, "")
    code, out, err = ended(capsys, "verify", "f", "--trust", "b.pub")
    assert (code, out) == (1, "")
    assert err == (
        "OB752 the signature of `f` is refused: `b.pub`: another key has signed it, or the signature was changed\n"
        "  = hint: name the public key of its signer: `--trust FILE`, or sign it with your key:"
        " `onnxbuild sign f --key FILE`\n"
    )


def test_without_a_key_a_signature_is_not_checked(signed, capsys):
    code, out, err = ended(capsys, "verify", "f")
    assert (code, out) == (0, "f: m/t, 3 files as built, signature not checked\n")
    assert err.startswith("OB753 warning: the signature of `f` was not checked\n")
    code, _, err = ended(capsys, "verify", "f", "--require-signature")
    assert (code, err[:6]) == (1, "OB753 ")


def test_an_edited_account_with_right_digests_is_refused_by_a_signature_alone(signed, capsys):
    """Whoever swaps a file can write its digest into the account as well."""
    files = {**FILES, "model.onnx": b"another graph"}
    folder_with(signed, files)
    assert ended(capsys, "verify", "f")[0] == 0
    code, _, err = ended(capsys, "verify", "f", "--trust", "a.pub")
    assert code == 1
    assert err == (
        "OB752 the signature of `f` is refused: `a.pub`: it was made for another content of the folder, in"
        " `model.onnx`, `onnxbuild.json`\n"
        "  = hint: if the folder is yours, sign it again: `onnxbuild sign f --key FILE`; if not, get it again from its"
        " signer\n"
    )


def test_an_account_that_no_longer_lists_a_file_is_refused(signed, capsys):
    kept = {name: data for name, data in FILES.items() if name != "config.json"}
    (signed / "config.json").unlink()
    folder_with(signed, kept)
    assert ended(capsys, "verify", "f")[0] == 0
    code, _, err = ended(capsys, "verify", "f", "--trust", "a.pub")
    assert code == 1
    assert "`a.pub`: it was made for another content of the folder, in `config.json`, `onnxbuild.json`\n" in err


EVIL = b"open('ran', 'w').close()\n"
SERVER_CHECK = {
    "id": "m:client-server", "kind": "client-server", "inputs": {"model": "a" * 64},
    "params": {"task": "text-classification", "graphs": {"": "t"}},
}  # fmt: skip


def test_a_validation_runs_the_code_of_a_folder_only_if_a_trusted_key_has_signed_it(
    folder, keys, capsys, tmp_path, monkeypatch
):
    place = str(tmp_path / "ran")
    code = EVIL.replace(b"'ran'", repr(place).encode())
    folder_with(tmp_path / "g", {"app.py": code, "test_golden.py": code, "golden.json": b"{}"}, steps=[SERVER_CHECK])
    for state in ("not signed", "signed by somebody"):
        code, out, err = ended(capsys, "verify", "g", "--revalidate", "--offline")
        assert (code, out) == (1, ""), state
        assert "`m:client-server` runs code of the folder, and no trusted key has signed it" in err, state
        assert "--trust FILE" in err, state
        ended(capsys, "sign", "g", "--key", "a.key")
    assert not os.path.exists(place)
    asked = []
    monkeypatch.setattr(
        "onnxbuild.commands.proving.check_again.check_again",
        lambda *_, **options: asked.append(options) or (("client-server",), []),
    )
    code, out, _ = ended(capsys, "verify", "g", "--revalidate", "--offline", "--trust", "a.pub")
    assert (code, out) == (0, "g: m/t, 3 files as built, signed by a.pub, passed again: client-server\n")
    assert asked == [{"offline": True, "is_signed": True}]


def test_a_signature_of_fewer_files_is_refused(folder, keys, capsys):
    """The right key has signed another content of the folder, in which a file was not yet there."""
    shutil.copytree(folder, "g")
    folder_with(keys / "g", {"config.json": FILES["config.json"]})
    for name in ("model.onnx", "onnx/data.bin"):
        (keys / "g" / name).unlink()
    assert ended(capsys, "sign", "g", "--key", "a.key")[0] == 0
    shutil.copy("g/model.sig", "f/model.sig")
    (folder / PROVENANCE).write_bytes((keys / "g" / PROVENANCE).read_bytes())
    assert ended(capsys, "verify", "f", "--trust", "a.pub", "--allow", "*")[0] == 0  # the others count as added
    files = json.loads((folder / PROVENANCE).read_text())["files"] | listed({"model.onnx": FILES["model.onnx"]})
    (folder / PROVENANCE).write_text(json.dumps(account() | {"files": files}))
    assert ended(capsys, "verify", "f", "--trust", "a.pub", "--allow", "*")[0] == 1


def test_a_missing_signature_fails_where_one_is_required(folder, keys, capsys):
    for options in (("--require-signature",), ("--trust", "a.pub")):
        code, _, err = ended(capsys, "verify", "f", *options)
        assert (code, err.splitlines()[0]) == (1, "OB752 `f` has no signature")


@pytest.mark.parametrize("text", [b"", b"{}", b"\xff", b'{"dsseEnvelope": 7}', b"[" * 100_000])
def test_a_damaged_signature_is_refused(signed, capsys, text):
    (signed / "model.sig").write_bytes(text)
    code, _, err = ended(capsys, "verify", "f", "--trust", "a.pub")
    assert (code, err.startswith("OB752 the signature of `f` is refused")) == (1, True)


def test_what_may_be_added_may_be_added_after_signing(signed, capsys):
    (signed / "README.md").write_text("a card")
    assert ended(capsys, "verify", "f", "--trust", "a.pub")[0] == 0


def test_the_command_of_the_library_accepts_the_signature(signed):
    (signed / "README.md").write_text("a card")
    command = [sys.executable, "-m", "model_signing", "verify", "key", "f", "--signature", "f/model.sig"]
    done = subprocess.run([*command, "--public_key", "a.pub"], capture_output=True, text=True, check=False)
    assert (done.returncode, "Verification succeeded" in done.stdout) == (0, True), done


def test_a_folder_that_differs_is_not_signed_nor_is_any_other(folder, keys, capsys):
    folder_with(keys / "g")
    (folder / "model.onnx").write_bytes(b"other")
    code, _, err = ended(capsys, "sign", "g", "f", "--key", "a.key")
    assert (code, err[:6]) == (1, "OB751 ")
    assert not (keys / "g" / "model.sig").exists()


def test_a_signature_replaces_an_older_one(signed, capsys):
    assert ended(capsys, "sign", "f", "--key", "b.key")[0] == 0
    assert ended(capsys, "verify", "f", "--trust", "b.pub")[0] == 0


def test_a_private_key_is_not_trusted_and_the_hint_names_the_public_one(signed, capsys):
    code, out, err = ended(capsys, "verify", "f", "--trust", "a.key")
    assert (code, out) == (2, "")
    assert err.startswith("OB754 `a.key` is not a public key of an elliptic curve in PEM")
    assert "and `verify --trust` the public one" in err


def test_a_key_that_is_none_is_named_without_its_content(folder, keys, capsys):
    write_pair(keys / "rsa", rsa.generate_private_key(65537, 2048))
    write_pair(keys / "other", ec.generate_private_key(ec.SECP256K1()))
    (keys / "text.key").write_text("secret words")
    wrong = "is not an unencrypted private key of an elliptic curve in PEM"
    for name in ("rsa.key", "other.key", "text.key", "a.pub"):
        code, out, err = ended(capsys, "sign", "f", "--key", name)
        assert (code, out) == (2, "")
        assert err.startswith(f"OB754 `{name}` {wrong}")
        assert "secret" not in err
    code, _, err = ended(capsys, "sign", "f", "--key", "text.kye")
    lines = ["OB754 the key `text.kye` cannot be read: No such file or directory", "  = hint: did you mean `text.key`?"]
    assert (code, err.splitlines()) == (2, lines)
    assert not (folder / "model.sig").exists()


def test_without_the_library_the_package_is_named(folder, keys, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "model_signing", None)
    code, _, err = ended(capsys, "sign", "f", "--key", "a.key")
    assert (code, "= hint: `pip install 'onnxbuild[signing]'`" in err) == (2, True)
    assert ended(capsys, "verify", "f")[0] == 0
