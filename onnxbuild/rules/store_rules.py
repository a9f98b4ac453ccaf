"""Codes of the local store and of the store that machines share. Found by commands, described here."""

from __future__ import annotations

from collections.abc import Iterator

from onnxbuild.diagnostics import Diagnostic, fault
from onnxbuild.rules.rule import Rule, World, described, rule


@rule("OB075", "remote-not-for-manifests")
def _foreign_remote(world: World) -> Iterator[Diagnostic]:
    """A manifest names a folder, or a scheme other than S3 and WebDAV, as its remote store.

    Why: a manifest may come from somebody else. It must not choose a folder on this machine, and some schemes of
    fsspec run commands or read other files.
    Fix: name such a store on the command line with `--remote`, or in ONNXBUILD_REMOTE.
    Bad:
        store: {remote: /mnt/share/onnxbuild}
    Good:
        store: {remote: "s3://bucket/onnxbuild"}
    """
    from onnxbuild.store.remote.address import why_not_in_manifest

    store = world.manifest.store
    if store.remote and (why := why_not_in_manifest(store.remote)):
        hint = "name it on the command line with `--remote`, or in ONNXBUILD_REMOTE"
        yield fault("OB075", why, span=store.spans.get("remote"), hint=hint)


@rule("OB077", "bad-key")
def _bad_keys(world: World) -> Iterator[Diagnostic]:
    """A key that signs results, or a trusted public key, is not a valid key or cannot be read.

    Why: a run that ignored it would take results from anybody, or write results that nobody accepts.
    Fix: `onnxbuild cache keygen` makes a pair of keys. The public key is one line, `NAME:BASE64`. Only
    the owner may have access to the file of the private key.
    Bad:
        store: {remote: "s3://bucket/onnxbuild", trust: ["ci"]}
    Good:
        store: {remote: "s3://bucket/onnxbuild", trust: ["ci:1PYFqQZ5Y5JXLqMRJyqjVqDZKRxjGgN4e1UoXyOBHLM="]}
    """
    from onnxbuild.store.remote.signing import public_key

    store = world.manifest.store
    if "trust" in store.spans and not store.trust:
        hint = "name a key, or remove `trust` to take every result"
        yield fault(
            "OB077", "`store.trust` names no key, so everything would be taken", span=store.spans["trust"], hint=hint
        )
    for text, at in zip(store.trust, store.trust_spans, strict=True):
        try:
            public_key(text)
        except ValueError as error:
            hint = "`onnxbuild cache keygen` makes a pair of keys, and prints the public one"
            yield fault("OB077", f"`store.trust` has no public key: {error}", span=at, hint=hint)


@rule("OB079", "bad-remote-address")
def _bad_address(world: World) -> Iterator[Diagnostic]:
    """The address of a remote store is not a valid URL, or has a part that could be a password in the wrong place.

    Why: a password with `/`, `@`, `:` or `#` ends the host too early, and would then be shown as part of the path.
    Fix: write the special characters of a password as %XX, such as `%2F` for `/`.
    Bad:
        store: {remote: "webdavs://host:port/onnxbuild"}
    Good:
        store: {remote: "webdavs://host:8443/onnxbuild"}
    """
    from pathlib import Path

    from onnxbuild.store.remote.address import InvalidAddress, address_of, why_not_in_manifest

    store = world.manifest.store
    if store.remote and not why_not_in_manifest(store.remote):
        try:
            address_of(store.remote, Path())
        except InvalidAddress as error:
            yield fault("OB079", f"not the address of a remote store: {error}", span=store.spans.get("remote"))


RULES: tuple[Rule, ...] = (
    described("OB040", "store-unusable", """
        The local store cannot be opened or created.

        Why: the file system is read-only, a file has the name of the folder, or the database is damaged.
        Fix: name another folder with `--store DIR` or ONNXBUILD_STORE.
        """),
    described("OB062", "state-not-trusted", """
        The state folder `.onnxbuild/`, or the store that the manifest names, is tracked by git, belongs to another
        user, or contains a symbolic link.

        Why: it may have come with the checkout. Whoever wrote it decides what is up to date and what a result contains,
        and a link in it can redirect writes to any other folder.
        Fix: remove it (`git rm -r --cached .onnxbuild` if you committed it), or use a store of your own with
        `--store DIR` or ONNXBUILD_STORE: then nothing in this one is read.
        """),
    described("OB070", "not-a-store", """
        The folder that is named as the store has other content.

        Why: runs and `gc` remove files from a store, so a folder is used only if it is new, empty, or marked as a store
        by its CACHEDIR.TAG. A store of an earlier version is recognized by its traces.db, and the next run marks it.
        Fix: name another folder with `--store DIR`, ONNXBUILD_STORE or `store: {path: …}`.
        """),
    described("OB071", "store-newer", """
        The store was made by a newer version of onnxbuild.

        Why: this version does not know what the newer one stores, and changes nothing in it.
        Fix: upgrade onnxbuild, or name another store with `--store DIR`.
        """),
    described("OB072", "store-link", """
        A part of the store is a link, or something else that a store never creates.

        Why: what is written to the store or removed from it would be written or removed elsewhere. Only the folder of
        the store itself may be a link.
        Fix: remove the link. To keep a store on another disk, name it with `--store DIR` or ONNXBUILD_STORE.
        """),
    described("OB045", "remote-unreachable", """
        The remote store cannot be reached, or is too slow.

        Why: the run builds locally instead of downloading; its results are correct.
        Fix: check the address and the credentials; with `--offline` it is not asked.
        """, severity="warning"),
    described("OB046", "remote-damaged", """
        The remote store has an object that is not what its name says, or that no machine should take.

        Why: an upload was interrupted, or somebody changed the object: its content has another digest, its signature is
        wrong, or a trace claims what the local store or the file system cannot hold. It is never used.
        Fix: a run with write access replaces it.
        """, severity="warning"),
    described("OB047", "no-remote", """
        A command needs a remote store, and none is configured, or it has no write access.

        Fix: name one with `--remote URL`, ONNXBUILD_REMOTE or `store: {remote: …}`.
        """),
    _foreign_remote,
    described("OB076", "remote-not-signed", """
        The remote store has results that no trusted key has signed.

        Why: the run takes only what a trusted key has signed, and builds the rest locally.
        Fix: trust the key of the machine that writes the results (`--trust`, `trust` in the configuration file or in
        `store:`), and give that machine a key (`store: {sign: …}` or ONNXBUILD_SIGN_KEY).
        """, severity="warning"),
    _bad_keys,
    described("OB078", "not-for-sharing", """
        A result is too large for the disk, or outside the limits of what machines share.

        Why: a result that travels has at most 10,000 files, file names of at most 255 bytes that every system can hold,
        and a trace of at most 16 MB. It is built on each machine instead.
        """, severity="warning"),
    _bad_address,
)  # fmt: skip
