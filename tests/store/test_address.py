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
