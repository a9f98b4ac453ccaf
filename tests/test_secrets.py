"""Secrets are recognized in every form in which libraries print them, and words that are no secrets stay."""

from __future__ import annotations

import base64
import html
import json
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxbuild import secrets
from onnxbuild.secrets import redact_file, redacted, register, register_url, shown_command


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is registered yet, and the environment has no secret."""
    known = secrets._Known()
    known.environment_read = True
    monkeypatch.setattr(secrets, "_KNOWN", known)


SECRET = "pass wörd/with & \"quotes' 42"


def in_base64() -> Iterator[str]:
    for before in ("", "u:", "us:", "user:"):
        yield base64.b64encode(f"{before}{SECRET}".encode()).decode()
        yield base64.urlsafe_b64encode(f"{before}{SECRET}".encode()).decode()


@pytest.mark.parametrize(
    "form",
    [
        SECRET, quote(SECRET), quote(SECRET, safe=""), quote(SECRET, safe="").lower(), quote_plus(SECRET),
        json.dumps(SECRET), json.dumps(SECRET, ensure_ascii=False), repr(SECRET), html.escape(SECRET),
        shlex.quote(SECRET), SECRET.encode().hex(), f"https://u:{quote(SECRET)}@h/p", *in_base64(),
        f"{SECRET[:8]}\n{SECRET[8:]}", f"{SECRET[:20]}\n      {SECRET[20:]}",
    ],
)  # fmt: skip
def test_each_form_is_masked(form: str) -> None:
    register(SECRET)
    shown = redacted(f"before {form} after")
    assert "***" in shown
    assert shown.startswith("before ")
    assert shown.endswith(" after")
    for part in ("wörd", "w\\u00f6rd", "quotes", "cXVvdGVz"):
        assert part not in shown


@given(st.text(st.characters(codec=None, exclude_characters="*"), min_size=8), st.text(), st.text())
def test_no_registered_text_remains(secret: str, before: str, after: str) -> None:
    register(secret)
    assert secret not in redacted(before + secret + after)


@given(st.text(), st.integers(min_value=1, max_value=40))
def test_the_length_can_be_kept(text: str, width: int) -> None:
    register("a secret of some length")
    text = f"{text.replace(chr(10), ' ')} a secret of some length https://user:pw@host/?k=v"
    shown = redacted(text, keep_length=True)
    assert len(shown) == len(text)
    assert "secret" not in shown
    assert "user" not in shown
    assert textwrap.wrap(shown, width)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("see https://example.org/a#part", "see https://example.org/a#part"),
        ("https://token@example.org/a", "https://***@example.org/a"),
        ("https://u:p@example.org/a?sig=1&x=2#f", "https://***@example.org/a?***#f"),
        ("s3://key:secret@bucket/p, and more", "s3://***@bucket/p, and more"),
        ("https://h/?to=https://u:p@i/j&sig=1 and", "https://h/?*** and"),
        ("https://proxy/https://u:p@i/j", "https://proxy/https://***@i/j"),
        ("mail me@example.org", "mail me@example.org"),
        ("with hf_abcdefghijklmnopqrst here", "with *** here"),
        ("hf_hub_download(repo)", "hf_hub_download(repo)"),
    ],
)
def test_addresses_and_tokens_need_no_registration(text: str, shown: str) -> None:
    assert redacted(text) == shown


def test_the_parts_of_an_address_are_masked_alone() -> None:
    register_url("webdav://alice:a%2Fb%20c12@host/path?k=value-of-k&flag#fragment-7")
    assert redacted("a/b c12, a%2Fb%20c12, value-of-k, fragment-7; alice at host/path") == (
        "***, ***, ***, ***; alice at host/path"
    )


def test_a_name_before_the_host_alone_is_a_token() -> None:
    register_url("https://ghp-12345678@host/")
    assert redacted("ghp-12345678") == "***"


def test_short_values_and_words_stay() -> None:
    register("root", "runner", "1", "", "abc")
    assert redacted("the runner of root has 1 abc") == "the runner of root has 1 abc"


@pytest.mark.parametrize("secret", ["4711", "47114711"])
def test_a_number_as_a_secret_leaves_json_valid(secret: str) -> None:
    register(secret)
    value = {"bytes": 9147114711456, "same": int(secret), "seconds": 0.0047114711, "tiny": 4.7114711e-9, "text": secret}
    for indent in (None, 2):
        shown = json.loads(redacted(json.dumps(value, indent=indent)))
        assert (shown["same"], shown["text"]) == ("***", "***")
        assert list(shown) == list(value)
    assert redacted(f"pin={secret}, {secret}. ({secret})") == "pin=***, ***. (***)"


def test_a_short_number_stays_in_longer_ones() -> None:
    register("4711")
    assert redacted("14711 0.4711 4711.5 ab4711cd") == "14711 0.4711 4711.5 ab4711cd"


def test_a_private_key_that_signs_is_masked() -> None:
    assert redacted('trust: ["secret:ci:QUJDREVGR0g="]') == 'trust: ["***"]'
    assert redacted("secret:ci:") == "secret:ci:"


def test_variables_that_are_named_as_secrets_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secrets._KNOWN.environment_read = False
    monkeypatch.setenv("MY_ACCESS_TOKEN", "tok-987")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "aws+secret/1")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:proxypass1@proxy:3128")
    monkeypatch.setenv("SSH_KEY", str(tmp_path))
    monkeypatch.setenv("MONKEY", "bananas-are-fine")
    text = f"tok-987 aws%2Bsecret%2F1 proxypass1 {tmp_path} bananas-are-fine"
    assert redacted(text) == f"*** *** *** {tmp_path} bananas-are-fine"


def test_a_command_is_kept_without_values() -> None:
    words = ["onnxbuild", "run", "m.yaml", "-D", "a=b", "-Dc=d", "--remote", "s3://k:s@b/p?x=y"]
    assert shown_command(words) == "onnxbuild run m.yaml -D a=… -Dc=… --remote s3://***@b/p?***"


def test_a_file_is_rewritten_only_if_it_holds_a_secret(tmp_path: Path) -> None:
    register(SECRET)
    clean, dirty, link = tmp_path / "clean", tmp_path / "dirty", tmp_path / "link"
    clean.write_bytes(b"nothing \xff here\n")
    dirty.write_bytes(b"\xff\x1b[1m " + SECRET.encode() + b"\r\nend")
    link.symlink_to(dirty)
    before = clean.stat()
    redact_file(str(link))
    assert SECRET.encode() in dirty.read_bytes()
    for path in (clean, dirty, tmp_path / "missing"):
        redact_file(str(path))
    assert (clean.stat().st_ino, clean.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert dirty.read_bytes() == b"\xff\x1b[1m ***\r\nend"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clean", "dirty", "link"]


@pytest.mark.parametrize(
    "text",
    ["://", "://?", "://a?b=", "://u@", "hf_", "hf_a", "s\n", "se\n  ", "se     ", "https://u:p@h/?a=b#", "?=&#"],
)
def test_a_hostile_text_takes_one_pass(text: str) -> None:
    """A pattern that can match in two ways would take hours for this."""
    register("secret of a kind")
    redacted(text * 200_000)
