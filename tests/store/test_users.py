"""Several users of one store: what docs/how-to/share-a-store.md promises, with two real users.

Only root can become another user, so these tests are skipped elsewhere. Those of modes at the end need no rights.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from forked import User, as_root, open_folder
from toys import FUNCTIONS, Bench, InlineRunner, step

from onnxbuild.store import group_access, locks
from onnxbuild.store.collect import Limits, collect
from onnxbuild.store.files import write_atomically
from onnxbuild.store.group_access import grant_as_folder, grant_below, make_folder
from onnxbuild.store.inventory import verify
from onnxbuild.store.locking import lock_files
from onnxbuild.store.store import Store, opened

pytestmark = pytest.mark.skipif(not lock_files.HAS_FLOCK, reason="users and modes of POSIX, and its locks")

ANNA, BERT, GROUP = 12345, 12346, 12300


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that both users may enter, with a store's folder as the how-to creates it."""
    with open_folder() as place:
        store = place / "store"
        store.mkdir()
        os.chown(store, ANNA, GROUP)
        store.chmod(0o2775)
        for user in (ANNA, BERT):
            (place / str(user)).mkdir()
            os.chown(place / str(user), user, user)
        yield place


@pytest.fixture(params=[(0o022, 0o022), (0o077, 0o077), (0o002, 0o077)], ids=str)
def users(request) -> tuple[User, User]:
    Bench(Path(tempfile.mkdtemp()))(step("a", text="load what children import"))
    anna, bert = request.param
    return User(ANNA, anna, group=GROUP), User(BERT, bert, group=GROUP)


def bench_of(shared: Path, user: int, runner: InlineRunner | None = None) -> Bench:
    """A bench with the shared store, and logs of the user's own."""
    bench = Bench(shared, runner or InlineRunner())
    bench.logs = str(shared / str(user) / "logs")
    return bench


def build(shared: Path, user: int, *texts: str, runner: InlineRunner | None = None) -> dict[str, str]:
    bench = bench_of(shared, user, runner)
    return bench(*(step(f"a{text}", text=text) for text in texts), logs=bench.logs, scope=str(shared / str(user)))


@as_root
def test_what_one_user_built_is_a_hit_for_the_other_and_both_build(shared: Path, users: tuple[User, User]) -> None:
    anna, bert = users
    assert anna(lambda: build(shared, ANNA, "x")) == {"ax": "built"}
    assert bert(lambda: build(shared, BERT, "x", "y")) == {"ax": "hit", "ay": "built"}
    assert anna(lambda: build(shared, ANNA, "y", "z")) == {"ay": "hit", "az": "built"}
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (shared / "store" / "blobs").rglob("*/*")}
    assert modes == {0o444}
    assert (shared / "store" / "toolchains").is_dir()
    for path in [path for path in (shared / "store").rglob("*") if path.is_dir()]:
        assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_gid) == (0o2775, GROUP), path
    for name in ("traces.db", "gc.lock"):
        assert stat.S_IMODE((shared / "store" / name).stat().st_mode) == 0o664
    assert sorted(path.name for path in (shared / "store" / "work").iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")
def test_what_has_its_name_in_a_shared_store_has_its_permissions(tmp_path: Path, monkeypatch) -> None:
    """Between a name and its permissions, another user or thread would find a folder that is closed."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o2775)
    seen = []

    def look(path: Path, descriptor: int | None = None) -> None:
        seen.append(sorted(entry.name for entry in shared.iterdir() if not entry.name.startswith(".")))
        grant_as_folder(path, descriptor)

    monkeypatch.setattr(group_access, "grant_as_folder", look)
    make_folder(shared / "blobs")
    write_atomically(shared / "marker", b"x", prepare=look)
    assert seen == [[], ["blobs"]]
    assert stat.S_IMODE((shared / "blobs").stat().st_mode) == 0o2775
    assert stat.S_IMODE((shared / "marker").stat().st_mode) == 0o664
    make_folder(shared / "blobs")
    (shared / "file").touch()
    with pytest.raises(FileExistsError):
        make_folder(shared / "file")
    assert sorted(entry.name for entry in shared.iterdir()) == ["blobs", "file", "marker"]


@pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")
def test_a_folder_that_another_process_makes_meanwhile_is_kept(tmp_path: Path, monkeypatch) -> None:
    tmp_path.chmod(0o775)

    def meanwhile(path: Path, descriptor: int | None = None) -> None:
        (tmp_path / "blobs").mkdir()
        (tmp_path / "blobs" / "kept").touch()
        grant_as_folder(path, descriptor)

    monkeypatch.setattr(group_access, "grant_as_folder", meanwhile)
    make_folder(tmp_path / "blobs")
    assert [path.name for path in tmp_path.rglob("*")] == ["blobs", "kept"]


@as_root
def test_one_user_reads_an_input_that_the_other_has_built(shared: Path, users: tuple[User, User]) -> None:
    anna, bert = users
    anna(lambda: build(shared, ANNA, "x"))

    def chain() -> dict[str, str]:
        bench = bench_of(shared, BERT)
        return bench(step("ax", text="x"), step("b", of="ax", text="b"), logs=bench.logs)

    assert bert(chain) == {"ax": "hit", "b": "built"}


@as_root
def test_a_damaged_result_of_one_user_is_repaired_by_the_other(shared: Path, users: tuple[User, User]) -> None:
    anna, bert = users
    anna(lambda: build(shared, ANNA, "x"))
    (blob,) = (shared / "store" / "blobs").rglob("*/*")
    blob.chmod(0o644)
    blob.write_text("y")
    blob.chmod(0o444)

    def check() -> int:
        with Store(shared / "store", claims=False) as store:
            return len(verify(store))

    assert bert(check) == 1
    assert bert(lambda: build(shared, BERT, "x"))["ax"] in {"built", "unchanged"}
    assert anna(lambda: build(shared, ANNA, "x")) == {"ax": "hit"}


@as_root
def test_the_garbage_of_one_user_is_collected_by_the_other(shared: Path, users: tuple[User, User]) -> None:
    anna, bert = users
    anna(lambda: build(shared, ANNA, "x", "y"))
    anna(lambda: build(shared, ANNA, "x"))
    shutil.rmtree(shared / str(ANNA))  # the folder that stands for a manifest

    def gc() -> int:
        with Store(shared / "store", claims=False) as store:
            return collect(store, Limits()).blobs

    assert bert(gc) == 2
    assert list((shared / "store" / "blobs").rglob("*/*")) == []


@as_root
def test_what_a_killed_run_of_one_user_left_is_swept_by_the_other(shared: Path, users: tuple[User, User]) -> None:
    anna, bert = users

    def die() -> None:
        store = Store(shared / "store")
        (store.workspace() / "half a result").write_text("x")
        with store.lock("a" * 64, lambda _holder: None, lambda: False):
            os._exit(0)

    with pytest.raises(json.JSONDecodeError):
        anna(die)
    left = [path.name for path in (shared / "store").rglob("*") if path.parent.name in {"work", "locks"}]
    assert len(left) == 2
    assert bert(lambda: build(shared, BERT, "x")) == {"ax": "built"}
    assert [path for path in (shared / "store").rglob("*") if path.parent.name in {"work", "locks"}] == []


@as_root
def test_one_user_waits_for_the_other_who_builds_the_same(shared: Path, users: tuple[User, User]) -> None:
    anna, bert = users
    began, go_on = os.pipe(), os.pipe()

    def slow(params, inputs, outputs, tell):
        os.write(began[1], b"!")
        os.read(go_on[0], 1)
        return FUNCTIONS["cat"](params, inputs, outputs, tell)

    first = anna.start(lambda: build(shared, ANNA, "x", runner=InlineRunner({"cat": slow})))
    os.read(began[0], 1)

    def wait_and_build() -> dict[str, str]:
        bench, told = bench_of(shared, BERT), []
        own = locks.holder

        def holder(path: Path):
            told.append(own(path))
            os.write(go_on[1], b"!")
            return told[-1]

        locks.holder = holder
        outcome = bench(step("ax", text="x"), logs=bench.logs)
        return {**outcome, "named": bool(told[0]), "ran": bench.runner.ran["ax"]}

    assert bert(wait_and_build) == {"ax": "hit", "named": True, "ran": 0}
    assert first() == {"ax": "built"}


@as_root
def test_both_users_at_once(shared: Path, users: tuple[User, User]) -> None:
    texts = [chr(ord("a") + number) for number in range(8)]

    def rounds(user: int) -> Callable[[], list[str]]:
        return lambda: sorted({o for _ in range(4) for o in build(shared, user, *texts).values()})

    ends = [user.start(rounds(uid)) for user, uid in zip(users, (ANNA, BERT), strict=True)]
    for end in ends:
        assert set(end()) <= {"built", "hit"}
    assert len(list((shared / "store" / "blobs").rglob("*/*"))) == len(texts)


@as_root
def test_a_user_who_may_only_read_plans_and_is_told_when_a_run_cannot_write(shared: Path, users) -> None:
    anna, _ = users
    anna(lambda: build(shared, ANNA, "x"))
    reader = User(BERT)

    def read() -> int:
        with opened(shared / "store", write=False) as store:
            return len([key for key in store.traces.all_traces() if store.lookup(key)])

    assert reader(read) == 1

    def write() -> str:
        try:
            build(shared, BERT, "x")
        except Exception as error:
            return str(error)
        return "no error"

    assert "OB040" in reader(write)


@as_root
def test_a_store_that_is_shared_later_is_opened_to_the_group_by_its_owner(shared: Path, users) -> None:
    """The folders get their modes as the how-to says, and the files of the store by the next run of their owner."""
    anna, bert = users
    (shared / "store").chmod(0o755)
    anna(lambda: build(shared, ANNA, "x"))
    (shared / "store").chmod(0o2775)
    for path in [path for path in (shared / "store").rglob("*") if path.is_dir()]:
        os.chown(path, -1, GROUP)
        path.chmod(0o2775)
    anna(lambda: build(shared, ANNA, "x"))
    assert bert(lambda: build(shared, BERT, "x", "y")) == {"ax": "hit", "ay": "built"}


@pytest.mark.parametrize(
    ("of_folder", "file", "folder"),
    [(0o2775, 0o664, 0o2775), (0o775, 0o664, 0o775), (0o2770, 0o660, 0o2770), (0o1777, 0o666, 0o777)],
)
def test_what_is_new_gets_the_permissions_of_its_folder(tmp_path: Path, of_folder: int, file: int, folder: int) -> None:
    before = os.umask(0o077)
    try:
        (tmp_path / "root").mkdir()
        (tmp_path / "root").chmod(of_folder)
        (tmp_path / "root" / "file").touch()
        grant_as_folder(tmp_path / "root" / "file")
        make_folder(tmp_path / "root" / "folder")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / "root" / name).stat().st_mode) for name in ("file", "folder")]
    assert modes == [file, folder]


@pytest.mark.parametrize("of_folder", [0o755, 0o700, 0o2755])
def test_in_a_folder_of_one_user_the_umask_decides(tmp_path: Path, of_folder: int) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root").chmod(of_folder)
    before = os.umask(0o027)
    try:
        (tmp_path / "root" / "file").touch()
        grant_as_folder(tmp_path / "root" / "file")
        make_folder(tmp_path / "root" / "folder")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / "root" / name).stat().st_mode) & 0o777 for name in ("file", "folder")]
    assert modes == [0o640, 0o750]


def test_a_folder_of_the_store_is_no_link_and_no_file(tmp_path: Path) -> None:
    make_folder(tmp_path / "folder")
    make_folder(tmp_path / "folder")
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    (tmp_path / "file").touch()
    for name in ("link", "file"):
        with pytest.raises(FileExistsError):
            make_folder(tmp_path / name)


def made_by_another_program(folder: Path, mode: int) -> None:
    folder.mkdir()
    (folder / "inner").mkdir()
    for name, own in {"text": 0o600, "inner/program": 0o744, "inner/fixed": 0o444}.items():
        (folder / name).touch()
        (folder / name).chmod(own)
    (folder.parent / "outside").touch(0o600)
    (folder / "link").symlink_to(folder.parent / "outside")
    (folder / "inner").chmod(0o700)
    folder.chmod(mode)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (0o2775, {"text": 0o660, "inner": 0o2770, "inner/program": 0o774, "inner/fixed": 0o444}),
        (0o755, {"text": 0o600, "inner": 0o700, "inner/program": 0o744, "inner/fixed": 0o444}),
    ],
)
def test_what_another_program_made_is_given_to_the_group_of_a_shared_folder(
    tmp_path: Path, mode: int, expected: dict[str, int]
) -> None:
    folder = tmp_path / "root"
    made_by_another_program(folder, mode)
    grant_below(folder)
    assert {name: stat.S_IMODE((folder / name).stat().st_mode) for name in expected} == expected
    assert stat.S_IMODE((tmp_path / "outside").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == mode


@as_root
def test_what_another_program_made_gets_the_group_of_a_shared_folder(tmp_path: Path) -> None:
    folder = tmp_path / "root"
    made_by_another_program(folder, 0o2775)
    os.chown(folder, -1, GROUP)
    grant_below(folder)
    assert {path.stat().st_gid for path in (folder / "text", folder / "inner", folder / "inner" / "program")} == {GROUP}
    assert (tmp_path / "outside").stat().st_gid != GROUP
