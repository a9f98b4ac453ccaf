"""Signatures: who made a result, whose results a reader takes, and what a stored result remembers of its origin."""

from __future__ import annotations

import json
import re
import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sharing import Machine
from toys import InlineRunner, cat, step

from onnxbuild.store.database import DATABASE
from onnxbuild.store.remote.remote_store import Remote
from onnxbuild.store.remote.signing import new_key, public_key, short_identity, signing_key
from onnxbuild.store.store import Store
from onnxbuild.store.traces import Origin

pytest.importorskip("cryptography", reason="signatures need the extra `remote`")

WORLD = (step("a", text="spam"), step("b", "count", of="a"))
BUILT, HITS = {"a": "built", "b": "built"}, {"a": "hit", "b": "hit"}
CI, OTHER = new_key("ci"), new_key("other")


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    return tmp_path / "shared"


def machine(tmp_path: Path, name: str, shared: Path, runner: InlineRunner | None = None, **more: Any) -> Machine:
    return Machine(tmp_path / name, f"file://{shared}", runner or InlineRunner(), **more)


def signed_by(shared: Path, key: Any) -> list[Path]:
    return sorted((shared / "signed" / key.public.identity).rglob("*.json"))


def forging(params: Any, inputs: Any, outputs: Any, tell: Any) -> Any:
    """Somebody whose results are not those of the step."""
    facts = cat(params, inputs, outputs, tell)
    for file in outputs["out"].iterdir():
        file.write_bytes(b"forged")
    return facts


def outputs_of(one: Machine) -> set[bytes]:
    return {blob.read_bytes() for blob in one.blobs()}


def test_a_reader_takes_what_a_trusted_key_signed(tmp_path, shared) -> None:
    assert machine(tmp_path, "ci", shared, signing=CI)(*WORLD) == BUILT
    assert len(signed_by(shared, CI)) == 2
    reader = machine(tmp_path, "reader", shared, trust=(CI.public,))
    assert reader(*WORLD) == HITS
    assert not reader.runner.ran
    assert reader.warnings == []


def test_a_reader_without_trust_takes_the_same_results(tmp_path, shared) -> None:
    machine(tmp_path, "ci", shared, signing=CI)(*WORLD)
    assert machine(tmp_path, "reader", shared)(*WORLD) == HITS


def test_a_reader_takes_nothing_that_nobody_signed_and_says_so_once(tmp_path, shared) -> None:
    machine(tmp_path, "one", shared, InlineRunner({"cat": forging}))(*WORLD)
    reader = machine(tmp_path, "reader", shared, trust=(CI.public,), readonly=True)
    assert reader(*WORLD) == BUILT
    assert b"forged" not in outputs_of(reader)
    assert reader.warnings == [f"the remote store file://{shared} has results that no trusted key has signed"]


def test_a_reader_takes_nothing_that_another_key_signed(tmp_path, shared) -> None:
    machine(tmp_path, "one", shared, InlineRunner({"cat": forging}), signing=OTHER)(*WORLD)
    reader = machine(tmp_path, "reader", shared, trust=(CI.public,), readonly=True)
    assert reader.plan(*WORLD) == {"a": "run", "b": "run"}
    assert reader(*WORLD) == BUILT
    assert b"forged" not in outputs_of(reader)


def test_the_results_of_another_signer_in_the_place_of_a_trusted_one_are_refused(tmp_path, shared) -> None:
    machine(tmp_path, "one", shared, InlineRunner({"cat": forging}), signing=OTHER)(*WORLD)
    (shared / "signed" / OTHER.public.identity).rename(shared / "signed" / CI.public.identity)
    reader = machine(tmp_path, "reader", shared, trust=(CI.public,), readonly=True)
    assert reader(*WORLD) == BUILT
    assert [warning.split(": ")[2] for warning in reader.warnings if "damaged" in warning] == ["`ci` has not signed it"]


def change_output(signed: dict[str, Any]) -> None:
    digest = next(iter(signed["payload"]["trees"]))
    signed["payload"]["trace"]["facts"]["n"] = 2
    signed["payload"]["trees"][digest][0]["size"] += 1


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (change_output, "`ci` has not signed it"),
        (lambda signed: signed["payload"]["trace"].update(seconds=2.0), "`ci` has not signed it"),
        (lambda signed: signed.update(signature=""), "`ci` has not signed it"),
        (lambda signed: signed.update(signature="é"), "`ci` has not signed it"),
        (lambda signed: signed.update(signature="A" * 88), "`ci` has not signed it"),
        (lambda signed: signed.update(layout=1), "it has layout 1, expected 2"),
        (lambda signed: signed.update(more=1), "it is not a trace (Object contains unknown field `more`)"),
    ],
)
def test_any_change_of_a_signed_result_is_noticed(tmp_path, shared, change, why) -> None:
    world = WORLD[:1]
    machine(tmp_path, "ci", shared, signing=CI)(*world)
    path = signed_by(shared, CI)[0]
    signed = json.loads(path.read_bytes())
    change(signed)
    path.write_text(json.dumps(signed, separators=(",", ":"), sort_keys=True))
    reader = machine(tmp_path, "reader", shared, trust=(CI.public,), readonly=True)
    assert reader(*world) == {"a": "built"}
    assert [warning.split(": ", 2)[2] for warning in reader.warnings if "damaged" in warning] == [why]


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 1 << 20), st.integers(1, 255))
def test_fuzz_no_signed_object_with_a_changed_byte_is_taken(position, change) -> None:
    from onnxbuild.store.remote.parcel import signed_parcel_from
    from onnxbuild.store.remote.remote_errors import DamagedObject

    data = bytearray(SIGNED)
    data[position % len(data)] ^= change
    try:
        parcel = signed_parcel_from(KEY, bytes(data), CI.public)
    except DamagedObject:
        return
    assert parcel == signed_parcel_from(KEY, SIGNED, CI.public)  # for example another case in the layout's `2.0`


def _signed_object() -> tuple[str, bytes]:
    from onnxbuild.digest import digest_value
    from onnxbuild.store.content import File, Tree
    from onnxbuild.store.remote.parcel import parcel_of, signed_object
    from onnxbuild.store.traces import Trace

    tree = Tree((File("a", "0" * 64, 1),))
    trace = Trace(parts={"kind": "cat"}, outputs={"out": tree.digest}, facts={}, seconds=1.0, worker="local")
    key = digest_value(trace.parts)
    return key, signed_object(key, parcel_of(trace, [tree]), CI)


KEY, SIGNED = _signed_object()


@pytest.mark.parametrize(("ports", "is_taken"), [(("out",), True), (("model",), False), (("out", "model"), False)])
def test_a_signed_result_has_the_outputs_of_its_step_kind(ports, *, is_taken: bool) -> None:
    from onnxbuild.store.remote.parcel import signed_parcel_from
    from onnxbuild.store.remote.remote_errors import DamagedObject

    if is_taken:
        assert signed_parcel_from(KEY, SIGNED, CI.public, {"cat": ports}).signer == CI.public.identity
    else:
        with pytest.raises(DamagedObject):
            signed_parcel_from(KEY, SIGNED, CI.public, {"cat": ports})


def test_a_result_that_was_signed_for_one_key_is_refused_for_another(tmp_path, shared) -> None:
    machine(tmp_path, "ci", shared, signing=CI)(step("a", text="spam"))
    first = signed_by(shared, CI)[0]
    machine(tmp_path, "ci", shared, signing=CI)(step("a", text="eggs"))
    second = next(path for path in signed_by(shared, CI) if path != first)
    second.write_bytes(first.read_bytes())
    reader = machine(tmp_path, "reader", shared, trust=(CI.public,), readonly=True)
    assert reader(step("a", text="eggs")) == {"a": "built"}
    assert reader.warnings[0].endswith("it is the trace of another key")


def test_signed_content_that_was_exchanged_is_refused(tmp_path, shared) -> None:
    machine(tmp_path, "ci", shared, signing=CI)(*WORLD)
    blob = next(path for path in (shared / "blobs").rglob("*/*") if path.read_bytes() == b"spam")
    blob.chmod(0o644)
    blob.write_bytes(b"SPAM")
    reader = machine(tmp_path, "reader", shared, trust=(CI.public,))
    assert reader(*WORLD)["a"] == "built"
    assert b"SPAM" not in outputs_of(reader)


def test_two_signers_leave_each_other_in_place(tmp_path, shared) -> None:
    machine(tmp_path, "ci", shared, signing=CI)(*WORLD)
    before = {path: path.read_bytes() for path in signed_by(shared, CI)}
    assert machine(tmp_path, "other", shared, signing=OTHER)(*WORLD) == BUILT  # it trusts itself alone
    assert {path: path.read_bytes() for path in signed_by(shared, CI)} == before
    assert len(signed_by(shared, OTHER)) == 2
    for key in (CI, OTHER):
        assert machine(tmp_path, f"reads-{key.public.name}", shared, trust=(key.public,))(*WORLD) == HITS


def test_the_second_of_two_trusted_keys_counts_too(tmp_path, shared) -> None:
    machine(tmp_path, "ci", shared, signing=CI)(*WORLD)
    reader = machine(tmp_path, "reader", shared, trust=(OTHER.public, CI.public))
    assert reader(*WORLD) == HITS


def test_a_machine_that_signs_does_not_sign_what_nobody_signed(tmp_path, shared) -> None:
    machine(tmp_path, "one", shared, InlineRunner({"cat": forging}))(*WORLD)
    ci = machine(tmp_path, "ci", shared)
    assert ci(*WORLD) == HITS  # before it had a key
    ci.signing = CI
    assert ci(*WORLD) == BUILT
    assert machine(tmp_path, "reader", shared, trust=(CI.public,))(*WORLD) == HITS
    assert all(b"forged" not in path.read_bytes() for path in (tmp_path / "reader" / "store" / "blobs").rglob("*/*"))


def test_what_was_shared_unsigned_is_shared_again_once_there_is_a_key(tmp_path, shared) -> None:
    """On the machine that built it, so that nothing is built again."""
    ci = machine(tmp_path, "ci", shared)
    ci(*WORLD)
    ci.signing = CI
    ci.runner.ran.clear()
    assert ci(*WORLD) == HITS
    assert len(signed_by(shared, CI)) == 2


def test_a_second_remote_store_gets_everything(tmp_path, shared) -> None:
    one = machine(tmp_path, "one", shared)
    assert (one(*WORLD), one.shared.results) == (BUILT, 2)
    one.url = f"file://{tmp_path / 'second'}"
    assert (one(*WORLD), one.shared.results) == (HITS, 2)
    assert machine(tmp_path, "two", tmp_path / "second")(*WORLD) == HITS


# -- the origin of a stored result ------------------------------------------------------------------------------------


def test_a_result_of_an_untrusted_store_does_not_count_although_it_is_stored_here(tmp_path, shared) -> None:
    """Two people use one local store: one of them takes anything, the other does not."""
    machine(tmp_path, "one", shared, InlineRunner({"cat": forging}))(*WORLD)
    reader = machine(tmp_path, "reader", shared, readonly=True)
    assert reader(*WORLD) == HITS
    reader.trust, reader.url = (CI.public,), "file:///nowhere/at/all"
    reader.runner.ran.clear()
    assert reader.plan(*WORLD) == {"a": "run", "b": "run"}
    assert reader(*WORLD)["a"] == "built"
    assert b"spam" in outputs_of(reader)
    assert reader(*WORLD) == HITS  # what was built here counts


def test_a_stored_result_remembers_who_signed_it(tmp_path, shared) -> None:
    machine(tmp_path, "ci", shared, signing=CI)(*WORLD)
    reader = machine(tmp_path, "reader", shared, trust=(CI.public,))
    reader(*WORLD)
    origins = all_origins(reader)
    assert set(origins.values()) == {Origin(f"file://{shared}", CI.public.identity)}
    reader.trust = (OTHER.public,)
    assert reader.plan(*WORLD) == {"a": "run", "b": "run"}
    reader.trust = (OTHER.public, CI.public)
    assert reader.plan(*WORLD) == HITS


def test_what_is_built_here_has_no_origin(tmp_path, shared) -> None:
    one = machine(tmp_path, "one", shared)
    one(*WORLD)
    assert set(all_origins(one).values()) == {None}


def test_building_a_fetched_result_here_makes_it_ours(tmp_path, shared) -> None:
    machine(tmp_path, "one", shared)(*WORLD)
    two = machine(tmp_path, "two", shared)
    two(*WORLD)
    assert None not in all_origins(two).values()
    two.events(*WORLD, force=frozenset({"a", "b"}))
    assert set(all_origins(two).values()) == {None}


def all_origins(one: Machine) -> dict[str, Origin | None]:
    with Store(one.root / "store", claims=False) as store:
        return {key: store.traces.origin(key) for key in store.traces.all_traces()}


def test_a_store_of_an_earlier_version_counts_what_was_shared_as_unsigned(tmp_path, shared) -> None:
    one = machine(tmp_path, "one", shared)
    one(*WORLD)
    database = one.root / "store" / DATABASE
    with sqlite3.connect(database) as db:
        db.executescript("DROP TABLE origins; PRAGMA user_version=2;")
    db.close()
    with Store(one.root / "store", readonly=True) as store:
        readonly = {key: store.traces.origin(key) for key in store.traces.all_traces()}
    assert set(readonly.values()) == {Origin(f"file://{shared}", "")}
    assert all_origins(one) == readonly
    one.trust = (CI.public,)
    assert one(*WORLD) == {"a": "unchanged", "b": "unchanged"}  # which only building can show


def test_forgetting_a_result_forgets_its_origin(tmp_path, shared) -> None:
    machine(tmp_path, "one", shared)(*WORLD)
    two = machine(tmp_path, "two", shared)
    two(*WORLD)
    with Store(two.root / "store", claims=False) as store:
        keys = list(store.traces.all_traces())
        store.traces.forget(keys)
        assert [store.traces.origin(key) for key in keys] == [None, None]


# -- revalidation -----------------------------------------------------------------------------------------------------


def test_a_result_that_must_be_our_own_is_built_although_the_remote_store_has_it(tmp_path, shared) -> None:
    machine(tmp_path, "one", shared)(*WORLD)
    two = machine(tmp_path, "two", shared)
    from toys import finished

    again = finished(two.events(*WORLD, own=frozenset({"b"})))
    assert {name: outcome.outcome for name, outcome in again.items()} == {"a": "hit", "b": "built"}
    assert dict(two.runner.ran) == {"b": 1}
    assert {name: one.outcome for name, one in finished(two.events(*WORLD, own=frozenset({"b"}))).items()} == HITS


def test_a_stored_result_that_came_from_a_remote_store_is_built_again_with_that_reason(tmp_path, shared) -> None:
    machine(tmp_path, "one", shared)(*WORLD)
    two = machine(tmp_path, "two", shared)
    two(*WORLD)
    from toys import finished

    again = finished(two.events(*WORLD, own=frozenset({"b"})))
    assert again["b"].outcome == "unchanged"
    assert [(reason.part, reason.old) for reason in again["b"].reasons] == [("remote", f"file://{shared}")]


# -- keys -------------------------------------------------------------------------------------------------------------


def test_a_key_is_read_back_from_its_line() -> None:
    key = new_key("a.b_c-1")
    assert signing_key(key.secret_text + "\n").public == key.public == public_key(key.public.text)
    assert key.public.text.startswith("a.b_c-1:")
    assert len(key.public.text) == len("a.b_c-1:") + 44
    assert public_key(key.public.text).verifies(key.sign(b"x"), b"x")
    assert not public_key(key.public.text).verifies(key.sign(b"x"), b"y")
    assert key.public.text.partition(":")[2].startswith(short_identity(key.public.identity)[:-1])


def test_a_key_shows_nothing_of_its_secret() -> None:
    secret = CI.secret_text.rpartition(":")[2]
    assert secret not in repr(CI) + str(CI) + repr(CI.public) + CI.public.text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "a key begins with its name: letters, digits, `.`, `_` and `-`, at most 64"),
        ("no-colon", "a key is `NAME:` and 32 bytes in base64"),
        ("ci:", "a key is `NAME:` and 32 bytes in base64"),
        ("ci:AAAA", "a key is `NAME:` and 32 bytes in base64"),
        ("ci:" + "A" * 44, "a key is `NAME:` and 32 bytes in base64"),
        ("c i:" + "A" * 43 + "=", "a key begins with its name: letters, digits, `.`, `_` and `-`, at most 64"),
        pytest.param(
            CI.secret_text, "this is a private key: keep it secret, and name its public key here", id="private"
        ),
    ],
)
def test_what_is_no_public_key_is_refused_without_showing_it(text, why) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(why)}$"):
        public_key(text)


def test_a_public_key_is_no_private_one() -> None:
    with pytest.raises(ValueError, match="a private key begins with `secret:`"):
        signing_key(CI.public.text)


def test_without_the_package_a_reader_with_trust_takes_nothing(tmp_path, shared, monkeypatch) -> None:
    machine(tmp_path, "ci", shared, signing=CI)(*WORLD)
    reader = machine(tmp_path, "reader", shared, trust=(CI.public,), readonly=True)

    def missing(_self: object, _signature: bytes, _data: bytes) -> bool:
        raise ImportError("No module named 'cryptography'")

    monkeypatch.setattr("onnxbuild.store.remote.signing.PublicKey.verifies", missing)
    assert reader(*WORLD) == BUILT
    why = "signatures need `pip install onnxbuild[remote]` (No module named 'cryptography')"
    assert reader.warnings == [f"the remote store file://{shared} cannot be used: {why}"]


def test_the_modes_of_what_is_written_do_not_matter_to_a_reader(tmp_path, shared) -> None:
    """A signed object in a shared folder may be removed by anybody who may write there: that is a miss."""
    machine(tmp_path, "ci", shared, signing=CI)(*WORLD)
    for path in signed_by(shared, CI):
        path.chmod(stat.S_IRUSR)
        path.unlink()
    assert machine(tmp_path, "reader", shared, trust=(CI.public,))(*WORLD) == BUILT


def test_a_remote_store_knows_who_writes() -> None:
    from onnxbuild.store.remote.address import address_of

    address = address_of("s3://bucket/x", Path())
    assert Remote(address).identity == "s3://bucket/x"
    assert Remote(address, signing=CI).identity == f"s3://bucket/x signed by {CI.public.identity}"
