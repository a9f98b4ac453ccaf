"""Copies of the working tree, into which mutants are written."""

import contextlib
import os
import shutil
import subprocess
from itertools import count
from pathlib import Path

RECORDER = Path(__file__).with_name("recorder.py")
_GUARD = 'if __name__ == "__main__":'


class Copy:
    """A copy of the files of a repository. The processes of its tests import onnxbuild from here."""

    def __init__(self, root: Path, place: Path) -> None:
        self.place = place
        self.calls = place.with_name(f"{place.name}-calls.log")
        # An age of its own for each mutant: compiled files are recognised by the time and the size of the source.
        self._times = count(10**9)
        for name in working_tree(root):
            target = place / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, target)

    @contextlib.contextmanager
    def changed(self, path, text):
        """The file holds another text meanwhile."""
        target = self.place / path
        before, status = target.read_bytes(), target.stat()
        target.write_text(text, encoding="utf-8")
        os.utime(target, (time := next(self._times), time))
        try:
            yield
        finally:
            target.write_bytes(before)
            os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))

    @contextlib.contextmanager
    def recorded(self):
        """Every process that runs code of the copy meanwhile records the functions that it calls."""
        package = self.place / "onnxbuild"
        recorder = f"__import__('runpy').run_path({str(RECORDER)!r})"
        start = f"{recorder}['record']({str(package) + os.sep!r}, {str(self.calls)!r})"
        # Tests also run code as another user.
        self.calls.touch()
        self.calls.chmod(0o666)
        self.place.parent.chmod(0o755)
        with contextlib.ExitStack() as stack:
            for path in sorted(package.rglob("*.py")):
                text = path.read_text(encoding="utf-8")
                if path == package / "__init__.py":
                    stack.enter_context(self.changed(path, f"{text}\n{start}\n"))
                elif _GUARD in text:
                    stack.enter_context(self.changed(path, text.replace(_GUARD, f"{start}\n{_GUARD}")))
            yield


def working_tree(root: Path) -> list[str]:
    """The files of a repository that git knows or does not ignore."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root, check=True, capture_output=True, text=True,
    ).stdout.split("\0")  # fmt: skip
    return [name for name in names if name and (root / name).is_file()]
