"""Keys, trust and `--revalidate` as a user meets them, and who may be contacted by which command."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile import Hostile, head
from msgspec import structs
from plugin.world import Ended, World
from toys import graph_of, step

from onnxbuild.commands.sharing.revalidation import own_actions
from onnxbuild.planning.action_graph import ActionGraph, OutputRef, Variant

STEPS = {"one": [{"text": "1"}], "two": [{"text": "2"}, {"text": "3"}]}
READING = ("plan", "status", "explain", "graph", "lint", "dry-run", "stats")


@pytest.fixture
def shared(tmp_path: Path) -> str:
    return f"file://{tmp_path}/shared"


def machine(tmp_path: Path, name: str, **store: Any) -> World:
    """A world with its own configuration folder, and these settings of `store:` in its manifest."""
    world = World(tmp_path / name)
    world.manifest(STEPS)
    world.environment["XDG_CONFIG_HOME"] = str(tmp_path / name / "config")
    if store:
        edit(world, store)
    return world


def edit(world: World, store: dict[str, Any]) -> None:
    path = world.root / "manifest.yaml"
    path.write_text(json.dumps({**json.loads(path.read_text()), "store": store}))


def configure(world: World, text: str) -> None:
    folder = world.root / "config" / "onnxbuild"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(text)


def onnxbuild(world: World, *arguments: str) -> Ended:
    command = [sys.executable, "-m", "onnxbuild", *arguments]
    done = subprocess.run(
        command, cwd=world.root, env=world.environment, text=True, capture_output=True, timeout=120, check=False
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def keygen(world: World, name: str = "ci.key") -> str:
    made = onnxbuild(world, "cache", "keygen", "--output", name)
    said = f"the private key is in {name}, for ONNXBUILD_SIGN_KEY; its public key, for `trust`:\n"
    assert (made.code, made.err) == (0, said), made
    return made.out.strip()


def outcomes(ended: Ended) -> set[str]:
    return set(ended.outcomes().values())


# -- keys -------------------------------------------------------------------------------------------------------------


def test_keygen_writes_a_file_for_its_owner_and_prints_the_public_key(tmp_path) -> None:
    world = machine(tmp_path, "one")
    public = keygen(world, "my ci.key")
    path = world.root / "my ci.key"
    name, _, encoded = public.partition(":")
    assert name == "my-ci"
    assert len(base64.b64decode(encoded)) == 32
    assert path.read_text().startswith("secret:my-ci:")
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_public_key_of_a_private_one_can_be_had_again(tmp_path) -> None:
    world = machine(tmp_path, "one")
    public = keygen(world)
    again = onnxbuild(world, "cache", "keygen", "--output", "ci.key")
    assert (again.code, again.out) == (2, "")
    assert "`onnxbuild cache public-key ci.key` prints its public key" in again.err
    assert onnxbuild(world, "cache", "public-key", "ci.key").out == f"{public}\n"
    (world.root / "ci.pub").write_text(public)
    wrong = onnxbuild(world, "cache", "public-key", "ci.pub")
    assert wrong.code == 2
    assert "OB077 `ci.pub` has no private key" in wrong.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["keygen", "manifest.yaml"], "unrecognized arguments: manifest.yaml"),
        (["public-key"], "the following arguments are required: FILE"),
        (["public-key", "a.key", "b.key"], "unrecognized arguments: b.key"),
        (["keygen", "--output", "keys/"], "OB016 `keys/` is a folder"),
    ],
)
def test_commands_for_keys_take_what_they_need(tmp_path, arguments, said) -> None:
    world = machine(tmp_path, "one")
    before = set(world.root.iterdir())
    made = onnxbuild(world, "cache", *arguments)
    assert (made.code, set(world.root.iterdir())) == (2, before)
    assert said in made.err


@pytest.mark.parametrize("kind", ["file", "link"])
def test_keygen_replaces_no_key_and_follows_no_link(tmp_path, kind) -> None:
    world = machine(tmp_path, "one")
    path, elsewhere = world.root / "ci.key", tmp_path / "elsewhere"
    path.write_text("precious") if kind == "file" else path.symlink_to(elsewhere)
    made = onnxbuild(world, "cache", "keygen", "--output", "ci.key")
    assert (made.code, made.out) == (2, "")
    assert "OB016 `ci.key` exists" in made.err
    assert not elsewhere.exists()
    assert kind == "link" or path.read_text() == "precious"


def test_keygen_into_a_folder_that_is_missing_is_a_fault(tmp_path) -> None:
    made = onnxbuild(machine(tmp_path, "one"), "cache", "keygen", "--output", "no/ci.key")
    assert made.code == 2
    assert "create the folder `no` first" in made.err


def test_the_other_subcommands_need_a_manifest(tmp_path) -> None:
    made = onnxbuild(machine(tmp_path, "one"), "cache", "push")
    assert made.code == 2
    assert "the following arguments are required: MANIFEST" in made.err


# -- the file of a key -------------------------------------------------------------------------------------------------


def signing(tmp_path: Path, shared: str, by: str) -> tuple[World, str]:
    """A machine that has shared what it signed with a key in a file, and is up to date; the public key."""
    ci = machine(tmp_path, "ci")
    public = keygen(ci)
    if by == "variable":
        ci.environment["ONNXBUILD_SIGN_KEY"] = "ci.key"
    else:
        edit(ci, {"sign": "ci.key"})
    for _ in range(2):
        assert ci.run("--remote", shared).code == 0
    assert ci.run("--remote", shared).out.startswith("up to date")
    return ci, public


@pytest.mark.parametrize("by", ["variable", "manifest"])
def test_another_key_in_the_same_file_signs_again(tmp_path, shared, by) -> None:
    ci, _ = signing(tmp_path, shared, by)
    (ci.root / "ci.key").unlink()
    other = keygen(ci)
    assert ci.run("--remote", shared).code == 0
    reader = machine(tmp_path, "reader")
    assert outcomes(reader.run("--json", "--remote", shared, "--trust", other)) == {"hit"}


@pytest.mark.parametrize("by", ["variable", "manifest"])
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.unlink(), "names the file"),
        pytest.param(
            lambda path: path.chmod(0o644), "others may read", marks=pytest.mark.skipif(os.name != "posix", reason="")
        ),
        (lambda path: path.write_text("nonsense"), "has no key"),
    ],
)
def test_a_key_that_no_longer_serves_is_a_fault_in_an_up_to_date_run(tmp_path, shared, by, spoil, said) -> None:
    ci, _ = signing(tmp_path, shared, by)
    spoil(ci.root / "ci.key")
    ended = ci.run("--remote", shared)
    assert ended.code == 2
    assert "OB077" in ended.err
    assert said in ended.err


def test_an_empty_key_signs_nothing_and_says_so(tmp_path, shared) -> None:
    ci = machine(tmp_path, "ci")
    ci.environment["ONNXBUILD_SIGN_KEY"] = ""
    ended = ci.run("--remote", shared)
    assert ended.code == 2
    assert "OB077 ONNXBUILD_SIGN_KEY is empty, so nothing would be signed" in ended.err
    assert ci.run("--remote", shared, "--remote-readonly").code == 0
    assert ci.run("--force").code == 0


def test_a_public_key_in_the_place_of_a_private_one(tmp_path, shared) -> None:
    ci = machine(tmp_path, "ci")
    ci.environment["ONNXBUILD_SIGN_KEY"] = keygen(ci)
    ended = ci.run("--remote", shared)
    assert ended.code == 2
    assert "ONNXBUILD_SIGN_KEY has a public key: a private one is needed to sign" in ended.err


def test_a_trusted_key_may_be_in_a_file_which_counts_for_the_answer(tmp_path, shared) -> None:
    ci = machine(tmp_path, "ci")
    public, other = keygen(ci), keygen(ci, "other.key")
    ci.environment["ONNXBUILD_SIGN_KEY"] = str(ci.root / "ci.key")
    ci.run("--remote", shared)
    reader = machine(tmp_path, "reader")
    keys = reader.root / "keys.pub"
    keys.write_text(f"{other}\n{public}\n")
    arguments = ("--json", "--remote", shared, "--remote-readonly", "--trust", "keys.pub")
    assert [outcomes(reader.run(*arguments)) for _ in range(2)] == [{"hit"}, {"hit"}]
    keys.write_text(f"{other}\n")
    assert outcomes(reader.run(*arguments)) == {"unchanged"}  # built here, with the same content


def test_a_list_of_trusted_keys_that_is_empty_is_a_fault(tmp_path, shared) -> None:
    reader = machine(tmp_path, "reader", trust=[])
    for command in (("run", "manifest.yaml", "--remote", shared), ("lint", "manifest.yaml")):
        ended = onnxbuild(reader, *command)
        assert ended.code in {1, 2}
        assert "OB077 `store.trust` names no key, so everything would be taken" in ended.err + ended.out
    configured = machine(tmp_path, "configured")
    configure(configured, "trust = []\n")
    assert "OB063 `trust` names no key, so everything would be taken" in configured.run("--remote", shared).err


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("s3:/bucket/x", "an address begins with `s3://`"),
        ("webdavs:host/x", "an address begins with `webdavs://`"),
        ("no/such/folder", "no/such` does not exist"),
        (" ", "it is empty"),
    ],
)
def test_a_slip_in_an_address_makes_no_folder(tmp_path, address, said) -> None:
    world = machine(tmp_path, "one")
    before = set(world.root.iterdir())
    ended = world.run("--remote", address)
    assert ended.code == 2
    assert "OB079" in ended.err
    assert said in ended.err
    assert {path.name for path in world.root.iterdir()} - {path.name for path in before} <= {".onnxbuild"}


# -- CI writes, people read -------------------------------------------------------------------------------------------


def test_ci_signs_with_a_secret_in_its_environment_and_people_trust_its_key(tmp_path, shared) -> None:
    ci = machine(tmp_path, "ci")
    public = keygen(ci)
    ci.environment["ONNXBUILD_SIGN_KEY"] = (ci.root / "ci.key").read_text()
    assert outcomes(ci.run("--json", "--remote", shared)) == {"built"}
    stranger = machine(tmp_path, "stranger")
    assert outcomes(stranger.run("--json", "--remote", shared, "--trust", public)) == {"hit"}
    configured = machine(tmp_path, "configured")
    configure(configured, f'trust = ["{public}"]\n')
    assert outcomes(configured.run("--json", "--remote", shared)) == {"hit"}


@pytest.mark.parametrize("by", ["manifest", "config", "path in the environment"])
def test_the_key_can_be_named_in_three_more_ways(tmp_path, shared, by) -> None:
    ci = machine(tmp_path, "ci")
    public = keygen(ci)
    if by == "manifest":
        edit(ci, {"sign": "ci.key"})
    elif by == "config":
        configure(ci, f'sign = "{ci.root / "ci.key"}"\n')
    else:
        ci.environment["ONNXBUILD_SIGN_KEY"] = str(ci.root / "ci.key")
    ci.run("--remote", shared)
    reader = machine(tmp_path, "reader")
    assert outcomes(reader.run("--json", "--remote", shared, "--trust", public)) == {"hit"}


def test_a_reader_takes_nothing_unsigned_and_is_told_once(tmp_path, shared) -> None:
    machine(tmp_path, "one").run("--remote", shared)
    reader = machine(tmp_path, "reader")
    public = keygen(reader)
    taken = reader.run("--json", "--remote", shared, "--trust", public, "--remote-readonly")
    assert outcomes(taken) == {"built"}
    assert taken.err.count("OB076") == 1
    assert f"trusted is `{public.partition(':')[0]}`" in taken.err


def test_the_user_decides_whose_results_count_not_the_manifest(tmp_path, shared) -> None:
    ci = machine(tmp_path, "ci")
    public = keygen(ci)
    mine = keygen(ci, "mine.key")
    ci.environment["ONNXBUILD_SIGN_KEY"] = (ci.root / "ci.key").read_text()
    ci.run("--remote", shared)
    reader = machine(tmp_path, "reader", trust=[public])
    assert outcomes(reader.run("--json", "--remote", shared, "-n")) == {"hit"}
    assert outcomes(reader.run("--json", "--remote", shared, "-n", "--trust", mine)) == {"run"}
    configure(reader, f'trust = ["{mine}"]\n')
    assert outcomes(reader.run("--json", "--remote", shared, "-n")) == {"run"}


def test_a_receipt_does_not_answer_for_other_keys(tmp_path, shared) -> None:
    machine(tmp_path, "one").run("--remote", shared)
    reader = machine(tmp_path, "reader")
    public = keygen(reader)
    assert outcomes(reader.run("--json", "--remote", shared)) == {"hit"}
    assert "up to date" in reader.run("--remote", shared).out
    assert outcomes(reader.run("--json", "--remote", shared, "--trust", public)) == {"unchanged"}


def test_explain_says_where_a_result_came_from(tmp_path, shared) -> None:
    ci = machine(tmp_path, "ci")
    public = keygen(ci)
    ci.environment["ONNXBUILD_SIGN_KEY"] = (ci.root / "ci.key").read_text()
    ci.run("--remote", shared)
    reader = machine(tmp_path, "reader")
    reader.run("--remote", shared, "--trust", public)
    told = onnxbuild(reader, "explain", "m/one:toy", "-m", "manifest.yaml", "--store", str(reader.store)).out
    assert f"made by local, from {shared}, signed by {public.partition(':')[2][:12]}…" in told


@pytest.mark.skipif(os.name != "posix", reason="only POSIX has these permissions")
def test_a_key_that_others_may_read_is_refused(tmp_path, shared) -> None:
    ci = machine(tmp_path, "ci", sign="ci.key")
    keygen(ci)
    (ci.root / "ci.key").chmod(0o640)
    done = ci.run("--remote", shared)
    assert done.code == 2
    assert "OB077 `store.sign` has no key: others may read" in done.err
    assert "manifest.yaml:1:" in done.err


def secret_of(path: Path) -> str:
    return path.read_text().strip().rpartition(":")[2]


@pytest.mark.parametrize("what", ["missing", "fifo", "huge", "public", "text"])
def test_a_file_that_is_no_key_is_a_fault_that_shows_none_of_it(tmp_path, shared, what) -> None:
    ci = machine(tmp_path, "ci", sign="bad.key")
    public, path = keygen(ci), ci.root / "bad.key"
    if what == "fifo":
        if not hasattr(os, "mkfifo"):
            pytest.skip("this system has no FIFOs")
        os.mkfifo(path, 0o600)
    elif what != "missing":
        path.write_text({"huge": "x" * 5000, "public": public, "text": "hush-hush-hush"}[what])
        path.chmod(0o600)
    done = ci.run("--remote", shared)
    assert done.code == 2, done
    assert "OB077" in done.err
    assert "hush" not in done.err + done.out


def test_a_manifest_names_no_key_outside_its_folder(tmp_path, shared) -> None:
    ci = machine(tmp_path, "ci", sign="../other.key")
    keygen(ci)
    (ci.root / "ci.key").rename(tmp_path / "other.key")
    ci.environment.pop("ONNXBUILD_ALLOW_PATH", None)
    refused = ci.run("--remote", shared)
    assert refused.code == 2
    assert "OB060 `store.sign`" in refused.err
    assert "is outside the folder of the manifest" in refused.err
    ci.environment["ONNXBUILD_ALLOW_PATH"] = str(tmp_path)
    assert ci.run("--remote", shared).code == 0


def test_a_secret_key_is_written_nowhere(tmp_path, shared) -> None:
    ci = machine(tmp_path, "ci")
    keygen(ci)
    text = (ci.root / "ci.key").read_text()
    (ci.root / "ci.key").unlink()
    ci.environment["ONNXBUILD_SIGN_KEY"] = text
    done = ci.run("--json", "--remote", shared)
    secret = text.strip().rpartition(":")[2]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if secret.encode() in path.read_bytes()]
    assert secret not in done.out + done.err


# -- who is contacted -------------------------------------------------------------------------------------------------


@pytest.fixture
def listening() -> Iterator[Hostile]:
    server = Hostile(lambda request: head(request, 404, Content_Length="0"))
    yield server
    server.close()


def reading(world: World, verb: str, *more: str) -> Ended:
    store = ("--store", str(world.store))
    commands = {
        "dry-run": ("run", "manifest.yaml", "-n", *store),
        "explain": ("explain", "m/one:toy", "-m", "manifest.yaml", *store),
        "stats": ("cache", "stats", "manifest.yaml", *store),
    }
    return onnxbuild(world, *commands.get(verb, (verb, "manifest.yaml", *store)), *more)


@pytest.mark.parametrize("verb", READING)
def test_a_command_that_only_reads_contacts_no_server_that_a_manifest_names(tmp_path, listening, verb) -> None:
    world = machine(tmp_path, "one", remote=f"webdav://127.0.0.1:{listening.port}/store")
    done = reading(world, verb)
    assert done.code == 0, done
    assert listening.seen == []
    world.run("--json")
    assert listening.seen  # and a run does


def test_a_plan_asks_the_store_that_the_user_names(tmp_path, listening) -> None:
    world = machine(tmp_path, "one")
    assert reading(world, "plan", "--remote", f"webdav://127.0.0.1:{listening.port}/store").code == 0
    assert listening.seen


@pytest.mark.parametrize("remote", ["../shared", "memory://x"])
@pytest.mark.parametrize("verb", ["lint", "plan", "run"])
def test_a_manifest_names_no_folder_and_no_other_scheme(tmp_path, verb, remote) -> None:
    world = machine(tmp_path, "one", remote=remote)
    done = world.run() if verb == "run" else reading(world, verb)
    assert done.code == 2, done
    assert "OB075" in done.err + done.out
    assert "manifest.yaml:1:" in done.err + done.out
    assert not (tmp_path / "shared").exists()


@pytest.mark.parametrize(
    "remote", ["webdav://me:pa/ss-hush@host/x", "webdav://[::1/x", "s3://a:b/c", "webdav://h:99999/x"]
)
def test_an_address_that_is_none_is_a_fault_and_shows_no_password(tmp_path, remote) -> None:
    written = reading(machine(tmp_path, "one", remote=remote), "lint")
    named = machine(tmp_path, "two").run("--remote", remote)
    assert (written.code, named.code) == (2, 2)
    assert "OB079" in written.out
    assert "OB079" in named.err
    assert "ss-hush" not in named.err + named.out


def test_a_trusted_key_that_is_none_is_a_fault_of_lint_plan_and_run(tmp_path) -> None:
    world = machine(tmp_path, "one", trust=["ci"])
    assert "OB077 `store.trust` has no public key" in reading(world, "lint").out
    for done in (reading(world, "plan"), world.run()):
        assert done.code == 2
        assert "OB077 `store.trust` has no public key" in done.err
    named = machine(tmp_path, "two").run("--trust", "ci")
    assert "OB077 `--trust` has no public key" in named.err


# -- revalidation -----------------------------------------------------------------------------------------------------


def test_revalidate_takes_nothing_that_no_check_proves(tmp_path, shared) -> None:
    """The toy models have no checks: whatever came from elsewhere is built here."""
    machine(tmp_path, "one").run("--remote", shared)
    two = machine(tmp_path, "two")
    assert outcomes(two.run("--json", "--remote", shared)) == {"hit"}
    assert "up to date" in two.run("--remote", shared).out
    planned = two.run("--remote", shared, "--revalidate", "-n").out
    assert f"the stored result came from {shared}" in planned
    assert outcomes(two.run("--json", "--remote", shared, "--revalidate")) == {"unchanged"}
    assert outcomes(two.run("--json", "--remote", shared, "--revalidate")) == {"hit"}


def test_revalidate_runs_sources_and_checks_and_takes_what_they_prove() -> None:
    actions = (
        structs.replace(step("m:fetch"), kind="fetch"), step("m:export", of="m:fetch"),
        step("m/good:quantize", of="m:export"),
        step("m/good:validate", of=("m:fetch", "m/good:quantize")), step("m/good:benchmark", of="m/good:quantize"),
        step("m/loose:quantize", of="m:export"),
    )  # fmt: skip
    graph = ActionGraph(graph_of(*actions).actions, (
        variant("good", "m:fetch", "m:export", "m/good:quantize", checks=("m/good:validate",)),
        variant("loose", "m:fetch", "m:export", "m/loose:quantize"),
    ))  # fmt: skip
    assert own_actions(graph) == {"m:fetch", "m/good:validate", "m/good:benchmark", "m/loose:quantize"}


def variant(target: str, *steps: str, checks: tuple[str, ...] = ()) -> Variant:
    return Variant(
        model="m", target=target, output=OutputRef(steps[-1], "out"), precision="fp32", steps=steps, checks=checks,
        measures=(),
    )  # fmt: skip
