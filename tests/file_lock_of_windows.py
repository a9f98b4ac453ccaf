"""filelock as it behaves on Windows: the kernel holds the lock, and the file is removed with it."""

from pathlib import Path

import filelock


class FileLockOfWindows(filelock.UnixFileLock):
    """On POSIX, filelock leaves the file."""

    def _release(self) -> None:
        Path(self.lock_file).unlink(missing_ok=True)
        super()._release()
