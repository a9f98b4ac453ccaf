"""Addresses of remote stores: what may be shown of them, which of them are one, and which a manifest may name."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxbuild.store.remote.address import IN_MANIFESTS, InvalidAddress, address_of, why_not_in_manifest

BASE = Path("/base").absolute()


@pytest.mark.parametrize(
    "text", ["s3://b/x", "s3a://b", "S3://b", "webdav://h", "webdavs://h/x", "dav://h", "davs://h"]
)
def test_a_manifest_may_name_s3_and_webdav(text) -> None:
    assert why_not_in_manifest(text) is None


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("../shared", "a folder"), ("/mnt/share", "a folder"), ("~/x", "a folder"), ("", "a folder"),
        ("file:///mnt/share", "a folder"), ("FILE:///mnt/share", "a folder"), ("s3:bucket", "a folder"),
        ("memory://x", "a store with the scheme `memory`"), ("local:///x", "a store with the scheme `local`"),
        ("simplecache::s3://b/x", "a store with the scheme `simplecache::s3`"),
        ("sftp://h/x", "a store with the scheme `sftp`"), ("http://h/x", "a store with the scheme `http`"),
    ],
)  # fmt: skip
def test_a_manifest_may_name_nothing_else(text, what) -> None:
    assert why_not_in_manifest(text) == f"a manifest cannot name {what} as its remote store"


def test_every_scheme_that_manifests_may_name_has_its_own_bounded_reads() -> None:
    assert {"s3", "s3a", "webdav", "webdavs", "dav", "davs"} == IN_MANIFESTS


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://bucket/x/", "s3://bucket/x"),
        ("webdav://me:hush@host/x", "webdav://host/x"),
        ("webdav://me:hu@sh@host/x", "webdav://host/x"),
        ("webdav://hush-token@host/x", "webdav://host/x"),
        ("webdav://host/x?sig=hush&n=1#hush", "webdav://host/x"),
        ("S3://bucket/x?key=hush", "s3://bucket/x"),
        ("webdav://me:%68ush@host:8080/x", "webdav://host:8080/x"),
    ],
)
def test_neither_user_nor_password_nor_query_is_shown(text, shown) -> None:
    address = address_of(text, BASE)
    assert address.shown == shown
    assert "hush" not in address.shown + address.identity


@pytest.mark.parametrize(
    "text",
    [
        "webdav://me:hu/sh@host/x", "webdav://me:1/hush@host/x", "webdav://me:1?hush@host/x", "webdav://me:1#hush@host",
        "webdav://me:hush#@host/x", "webdav://[::1/hush", "webdav://h:99999/hush", "s3://key:hush/hush@bucket/x",
        "webdav://me:0@/hush@host/x", "webdav://to@ken/hush@host/x", "webdav://h/a\nb", "s3://b/\x1b[2Jhush", "a\0hush",
    ],
)  # fmt: skip
def test_what_may_be_a_password_in_the_wrong_place_is_refused_without_showing_it(text) -> None:
    with pytest.raises(InvalidAddress) as raised:
        address_of(text, BASE)
    assert "hush" not in str(raised.value)


def test_two_addresses_that_look_the_same_are_two_stores() -> None:
    texts = ("webdav://h/x", "webdav://a@h/x", "webdav://b:pw@h/x", "webdav://h/x?store=1", "webdav://h/x?store=2")
    addresses = [address_of(text, BASE) for text in texts]
    assert {address.shown for address in addresses} == {"webdav://h/x"}
    assert len({address.identity for address in addresses}) == len(texts)


def test_two_spellings_of_a_store_are_one() -> None:
    texts = ("s3://b/x", "s3://b/x/", "S3://b/x")
    assert {address_of(text, BASE).identity for text in texts} == {"s3://b/x"}


@settings(max_examples=500, deadline=None)
@given(st.text(max_size=30), st.sampled_from(["", "s3://", "webdav://", "file://", "x://"]))
def test_fuzz_any_text_is_an_address_or_refused(text, scheme) -> None:
    try:
        address = address_of(scheme + text, BASE)
    except InvalidAddress:
        return
    assert address.scheme in address.url


PASSWORDS = st.text(st.characters(codec="ascii", exclude_characters="%", categories=("L", "N", "P", "S")), min_size=4)


@settings(max_examples=500, deadline=None)
@given(PASSWORDS)
def test_fuzz_no_password_is_shown_however_it_is_written(password) -> None:
    try:
        address = address_of(f"webdav://somebody:{password}@host.example/store", BASE)
    except InvalidAddress as error:
        shown = str(error)
    else:
        assert address.shown == "webdav://host.example/store"
        assert password in address.secrets
        shown = address.shown
    assert f":{password}@" not in shown


CONTROL = "it contains a control character"
HOST_OR_PORT = "its host or port is not valid; write special characters of a password as %XX"
LATE_AT = "`@` stands after the host; write special characters of a password or a path as %XX"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("webdav://h/a\nb", CONTROL), ("a\x7f", CONTROL), ("\x00", CONTROL), ("webdav://h:99999/x", HOST_OR_PORT),
        ("webdav://[::1/x", HOST_OR_PORT), ("webdav://me:1/2@host/x", LATE_AT), ("webdav://me:1?a@host/x", LATE_AT),
        ("webdav://me:1#a@host", LATE_AT),
    ],
)  # fmt: skip
def test_why_a_text_is_no_address(text: str, message: str) -> None:
    with pytest.raises(InvalidAddress) as raised:
        address_of(text, BASE)
    assert str(raised.value) == message


@pytest.mark.parametrize("text", ["s3://bucket/a@b", "webdav://host/a@b?c@d"])
def test_an_at_sign_in_a_path_is_no_password(text: str) -> None:
    assert address_of(text, BASE).scheme in {"s3", "webdav"}


@pytest.mark.parametrize("by_user", [True, False])
def test_an_address_knows_who_named_it(by_user, tmp_path, monkeypatch) -> None:
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    for text, scheme, shown in (
        ("shared", "file", str(BASE / "shared")), ("~/x", "file", str(tmp_path / "x")), ("s3://b/x", "s3", "s3://b/x")
    ):  # fmt: skip
        address = address_of(text, BASE, by_user=by_user)
        assert (address.scheme, address.shown, address.by_user) == (scheme, shown, by_user)
        assert address.url == (f"file://{shown}" if scheme == "file" else shown)
        assert (address.identity, address.secrets) == (shown, ())


@pytest.mark.parametrize(
    ("text", "secrets"),
    [
        ("webdav://tokentoken@h/x", ("tokentoken",)),
        ("webdav://me:abc@h/x", ("me:abc",)),
        ("webdav://me:abcd@h/x", ("me:abcd", "abcd")),
        ("s3://b/x?key=secret&n=1#frag", ("key=secret&n=1", "secret", "frag")),
        ("webdav://h/x?a=%41%42%43%44", ("a=%41%42%43%44", "a=ABCD", "ABCD")),
    ],
)
def test_which_parts_of_an_address_are_secret(text: str, secrets: tuple[str, ...]) -> None:
    assert address_of(text, BASE).secrets == secrets
