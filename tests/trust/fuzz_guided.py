"""`make fuzz-guided MINUTES=10`: the surfaces of `fuzz.py` with inputs that atheris chooses by what they reach."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
EACH = {
    "manifest": 3,
    "expander": 2,
    "lock": 1,
    "selectors": 1,
    "remote": 1,
    "message": 1,
    "rows": 1,
}  # tenths of the time


def guided(name: str, seconds: int) -> None:
    """Fuzz one surface in this process; atheris ends the process."""
    import atheris

    sys.path.insert(0, str(HERE))
    with atheris.instrument_imports(include=["onnxbuild"]):
        import fuzz

    folder = Path(tempfile.mkdtemp(prefix="onnxbuild-fuzz-"))
    os.chdir(folder)
    surface = next(make for make in fuzz.SURFACES if make.name == name)(folder)
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(surface.seeds()):
        (corpus / str(number)).write_bytes(seed)

    def one(data: bytes) -> None:
        with contextlib.suppress(*surface.errors):
            surface.read(data)

    limits = [f"-max_total_time={seconds}", "-timeout=20", "-rss_limit_mb=1500", "-max_len=20000", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *limits, "-print_final_stats=1", str(corpus)], one)
    atheris.Fuzz()


def main() -> int:
    """Fuzz each surface in a process of its own, for its part of the time. The exit code is 1 after a finding."""
    seconds = 60 * float(sys.argv[1])
    failed = []
    for name, tenths in EACH.items():
        words = [sys.executable, __file__, name, str(max(5, int(seconds * tenths / 10)))]
        print(f"{name}: {words[-1]} s", flush=True)
        if subprocess.run(words, check=False).returncode:
            failed.append(name)
    print(f"findings in: {', '.join(failed)}" if failed else "no findings")
    return min(len(failed), 1)


if __name__ == "__main__":
    if sys.argv[1] in EACH:
        guided(sys.argv[1], int(sys.argv[2]))
    sys.exit(main())
