"""Codes of the local store and of the store that machines share. Found by commands, described here."""

from __future__ import annotations

from onnxbuild.rules.rule import Rule, described

RULES: tuple[Rule, ...] = (
    described("OB040", "store-unusable", """
        The local store cannot be opened or created.

        Why: the file system is read-only, a file has the name of the folder, or the database is damaged.
        Fix: name another folder with `--store DIR` or ONNXBUILD_STORE.
        """),
    described("OB070", "not-a-store", """
        A folder that is to be the store has other content.

        Why: runs and `gc` remove files from a store, so a folder is used only if it is new, empty, or marked as a store
        by its CACHEDIR.TAG. A store of an earlier version is known by its traces.db, and is marked by the next run.
        Fix: name another folder with `--store DIR`, ONNXBUILD_STORE or `store: {path: …}`.
        """),
    described("OB071", "store-newer", """
        The store was made by a newer version of onnxbuild.

        Why: this version does not know what the newer one stores, and changes nothing in it.
        Fix: upgrade onnxbuild, or name another store with `--store DIR`.
        """),
    described("OB072", "store-link", """
        A part of the store is a link, or something else that a store does not make.

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
        The remote store has an object whose content does not match its name.

        Why: an upload was interrupted, or somebody changed the object. It is never used.
        Fix: a run with write access replaces it.
        """, severity="warning"),
    described("OB047", "no-remote", """
        A command needs a remote store, and none is configured, or it has no write access.

        Fix: name one with `--remote URL`, ONNXBUILD_REMOTE or `store: {remote: …}`.
        """),
)  # fmt: skip
