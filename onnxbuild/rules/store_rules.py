"""Codes of the local store and of the store that machines share. Found by commands, described here."""

from __future__ import annotations

from onnxbuild.rules.rule import Rule, described

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
        and a link in it leads writes to any other folder.
        Fix: remove it (`git rm -r --cached .onnxbuild` if you committed it), or use a store of your own with
        `--store DIR` or ONNXBUILD_STORE: then nothing in it is read.
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
