"""Which remote store a command uses, and with which keys."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from onnxbuild.commands.parsing.options import Asked
from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.manifest.spec import Manifest
from onnxbuild.steps import Kinds

if TYPE_CHECKING:
    from onnxbuild.commands.sharing.remote_keys import Keys
    from onnxbuild.store.remote.address import Address
    from onnxbuild.store.remote.remote_store import Remote

REMOTE_VARIABLE = "ONNXBUILD_REMOTE"
SIGN_VARIABLE = "ONNXBUILD_SIGN_KEY"


class Sharing(Struct, frozen=True):
    """What a store needs to know about results from elsewhere. `trust`: identities of keys, if only those count."""

    remote: Remote | None = None
    trust: frozenset[str] = frozenset()


def sharing_for(asked: Asked, manifest: Manifest, kinds: Kinds, *, write: bool) -> Sharing:
    """The remote store of a command, and whose results count.

    `--remote` wins over ONNXBUILD_REMOTE, and both over the manifest, whose remote store is used only by a command that
    builds (`write`): reading another person's manifest contacts no server. Nothing is contacted yet, and a manifest
    without any of this imports nothing.

    Errors: DiagnosticError OB075, OB077, OB079.
    """
    address, keys = _checked(asked, manifest)
    if keys is None:
        return Sharing()
    if address is None or not (write or address.by_user):
        return Sharing(trust=keys.identities)
    from onnxbuild.store.remote.remote_store import Remote

    remote = Remote(
        address,
        readonly=asked.remote_readonly or manifest.store.readonly,
        trust=keys.trust,
        signing=keys.signing,
        ports={name: tuple(kind.outputs) for name, kind in kinds.items()},
    )
    return Sharing(remote, keys.identities)


def watched_keys(asked: Asked, manifest: Manifest) -> tuple[str, ...]:
    """The files of the keys, which an answer depends on. Only a run that signs or trusts imports what reads keys."""
    if not (SIGN_VARIABLE in os.environ or manifest.store.sign or _may_trust(asked, manifest)):
        return ()
    from onnxbuild.commands.sharing.remote_keys import files_of_keys

    return tuple(files_of_keys(asked, manifest))


def check_sharing(asked: Asked, manifest: Manifest) -> None:
    """Check the address and the keys that a run would use. Errors: DiagnosticError OB075, OB077, OB079."""
    _checked(asked, manifest)


def _checked(asked: Asked, manifest: Manifest) -> tuple[Address | None, Keys | None]:
    """The address and the keys, which a plan also checks, so that it ends as the run would."""
    address = None if asked.offline else _address(asked, manifest)
    if address is None and not _may_trust(asked, manifest):
        return None, None
    from onnxbuild.commands.sharing.remote_keys import keys_for

    return address, keys_for(asked, manifest, has_remote=address is not None)


def _may_trust(asked: Asked, manifest: Manifest) -> bool:
    """Whether somebody may have named a trusted key; a light test, since most have not."""
    from onnxbuild.permissions import config_stamp

    return bool(asked.trust or manifest.store.trust) or config_stamp() is not None


def _address(asked: Asked, manifest: Manifest) -> Address | None:
    named = asked.remote or os.environ.get(REMOTE_VARIABLE)
    if named:
        return _parsed(named, Path.cwd(), asked, manifest)
    return _parsed(manifest.store.remote, None, asked, manifest) if manifest.store.remote else None


def _parsed(text: str, base: Path | None, asked: Asked, manifest: Manifest) -> Address:
    """The address; `base` is None for one that the manifest names."""
    from onnxbuild.store.remote.address import InvalidAddress, address_of, why_not_in_manifest

    at = None if base else manifest.store.spans.get("remote")
    if base is None and (why := why_not_in_manifest(text)):
        hint = "name it on the command line with `--remote`, or in ONNXBUILD_REMOTE"
        raise DiagnosticError(fault("OB075", why, span=at, hint=hint))
    try:
        address = address_of(text, base or Path(asked.manifest).absolute().parent, by_user=base is not None)
        _check_folder(address)
    except InvalidAddress as error:
        raise DiagnosticError(fault("OB079", f"not the address of a remote store: {error}", span=at)) from None
    return address


def _check_folder(address: Address) -> None:
    """Check that at most the last folder of a path is new: a slip would make a store that nobody looks for."""
    from onnxbuild.store.remote.address import InvalidAddress

    parent = Path(address.shown).parent
    if "://" not in address.shown and not parent.is_dir():
        raise InvalidAddress(f"the folder `{parent}` does not exist")
