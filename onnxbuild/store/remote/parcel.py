"""A trace as it is sent between machines, with the trees that it names, and the checks that it passes on arrival.

A parcel exists in two forms. The plain one (layout 1) has one name per key, and anybody who may write can replace it.
The signed one (layout 2) has one name per signer and key, so that two signers never replace each other's objects. The
signature covers the bytes of `payload` as they stand in the object: nothing has to be encoded again to check it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, TypeVar

import msgspec
from msgspec import Raw, Struct

from onnxbuild.digest import canonical, digest_value
from onnxbuild.store.content import File, Tree
from onnxbuild.store.remote.remote_errors import DamagedObject
from onnxbuild.store.remote.shape import flaw_in, flaw_in_text
from onnxbuild.store.traces import Trace

if TYPE_CHECKING:
    from onnxbuild.store.remote.signing import PublicKey, SigningKey

T = TypeVar("T")
Ports = Mapping[str, Collection[str]]  # the output ports of each kind

_PLAIN, _SIGNED = 1, 2
_CONTEXT = b"onnxbuild remote result, layout 2\n"  # so that no other signature of this key is valid for a result


class Parcel(Struct, frozen=True, kw_only=True):
    """A trace, and the files of each tree that it names, by the digest of the tree.

    `signer`: the identity of the key that signed it, empty for a plain parcel.
    """

    trace: Trace
    trees: Mapping[str, tuple[File, ...]]
    signer: str = ""

    def tree(self, port: str) -> Tree:
        """The tree at an output port."""
        return Tree(self.trees[self.trace.outputs[port]])

    @property
    def files(self) -> Mapping[str, File]:
        """Every file once, by digest."""
        return {file.digest: file for files in self.trees.values() for file in files}

    @property
    def flaw(self) -> str | None:
        """Why other machines would refuse it; None if they would not."""
        return flaw_in(self.trace, self.trees) or flaw_in_text(plain_object(self))


class _Plain(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    layout: int
    trace: Trace
    trees: Mapping[str, tuple[File, ...]]


class _Signed(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    layout: int
    payload: Raw
    signature: str  # base64


class _Payload(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    key: str
    trace: Trace
    trees: Mapping[str, tuple[File, ...]]


def parcel_of(trace: Trace, trees: Iterable[Tree]) -> Parcel:
    """The parcel of a trace and its trees."""
    return Parcel(trace=trace, trees={tree.digest: tree.files for tree in trees})


# -- the plain form ---------------------------------------------------------------------------------------------------


def trace_name(key: str) -> str:
    """The name of the object that holds the trace with this key."""
    return f"traces/{key[:2]}/{key}.json"


def plain_object(parcel: Parcel) -> bytes:
    """A parcel as its object."""
    return canonical(_Plain(layout=_PLAIN, trace=parcel.trace, trees=parcel.trees))


def parcel_from(key: str, data: bytes, ports: Ports | None = None) -> Parcel:
    """The parcel that has arrived for a key, once it has passed every check. Errors: DamagedObject."""
    name = trace_name(key)
    plain = _decoded(name, data, _Plain)
    if plain.layout != _PLAIN:
        raise DamagedObject(name, f"it has layout {plain.layout}, expected {_PLAIN}")
    return _checked(name, key, Parcel(trace=plain.trace, trees=plain.trees), ports)


# -- the signed form --------------------------------------------------------------------------------------------------


def signed_name(signer: str, key: str) -> str:
    """The name of the object with the result that one signer states for a key."""
    return f"signed/{signer}/{key[:2]}/{key}.json"


def signed_object(key: str, parcel: Parcel, signing: SigningKey) -> bytes:
    """A parcel with a signature, as its object."""
    payload = canonical(_Payload(key=key, trace=parcel.trace, trees=parcel.trees))
    signature = base64.b64encode(signing.sign(_CONTEXT + payload)).decode()
    return canonical(_Signed(layout=_SIGNED, payload=Raw(payload), signature=signature))


def signed_parcel_from(key: str, data: bytes, signer: PublicKey, ports: Ports | None = None) -> Parcel:
    """The parcel that this signer states for a key, once it has passed every check. Errors: DamagedObject."""
    name = signed_name(signer.identity, key)
    signed = _decoded(name, data, _Signed)
    if signed.layout != _SIGNED:
        raise DamagedObject(name, f"it has layout {signed.layout}, expected {_SIGNED}")
    payload = bytes(signed.payload)
    if not signer.verifies(_signature(signed.signature), _CONTEXT + payload):
        raise DamagedObject(name, f"`{signer.name}` has not signed it")
    stated = _decoded(name, payload, _Payload)
    if stated.key != key:
        raise DamagedObject(name, "it is the trace of another key")
    return _checked(name, key, Parcel(trace=stated.trace, trees=stated.trees, signer=signer.identity), ports)


def _signature(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


# -- both -------------------------------------------------------------------------------------------------------------


def blob_name(digest: str) -> str:
    """The name of the object with this content."""
    return f"blobs/{digest[:2]}/{digest}"


def _decoded(name: str, data: bytes, type_: type[T]) -> T:
    if flaw := flaw_in_text(data):
        raise DamagedObject(name, flaw)
    try:
        return msgspec.json.decode(data, type=type_)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DamagedObject(name, f"it is not a trace ({error})") from None


def _checked(name: str, key: str, parcel: Parcel, ports: Ports | None) -> Parcel:
    if flaw := flaw_in(parcel.trace, parcel.trees, ports):
        raise DamagedObject(name, flaw)
    if digest_value(parcel.trace.parts) != key:
        raise DamagedObject(name, "it is the trace of another key")
    return parcel
