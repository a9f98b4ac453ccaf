"""An action that runs somebody else's code: confined to its own folders as far as the system can."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnxbuild.protocol import Failure, Request

_HINT = (
    "somebody else's code may read its inputs and installed packages and write its outputs; if you trust it, run with"
    " `ONNXBUILD_CONFINE=off`"
)


class Confinement:
    """What confines this process. Decided by its first request, which is the only one if the code is not ours."""

    def __init__(self, request: Request) -> None:
        """Confine this process if the request asks for it. Call before a second thread starts."""
        self.in_force = ""
        self.failure: Failure | None = None
        if request.confined:
            self._confine(request)

    def _confine(self, request: Request) -> None:
        from onnxbuild.confinement.confine import confine, wanted
        from onnxbuild.protocol import Failure
        from onnxbuild.workers.action_context import open_log

        if (how := wanted(os.environ)) == "off":
            return
        sys.dont_write_bytecode = True  # the packages are read-only now
        try:
            os.close(open_log(request.log))  # a rule covers only what exists
            self.in_force = confine(
                request.inputs.values(), request.outputs.values(), request.scratch, request.log, network=request.network
            )
        except OSError as error:
            self.failure = Failure(code="OBE54", message=f"{error.strerror}: {error.filename or request.log}")
        if not self.in_force and how == "require":
            self.failure = self.failure or _unable()

    def explain(self, error: BaseException) -> Failure | None:
        """The failure, if an exception comes from code that tried to access something that it may not."""
        from onnxbuild.protocol import Failure

        refused = next((one for one in _chain(error) if _is_refusal(one)), None) if self.in_force else None
        if refused is None:
            return None
        reached = getattr(refused, "filename", None) or "the network or another process"
        return Failure(code="OBE73", message=f"confined code reached for {reached}", notes=(("hint", _HINT),))


def _unable() -> Failure:
    from onnxbuild.protocol import Failure

    return Failure(
        code="OBE75",
        message="this system cannot confine somebody else's code, and `ONNXBUILD_CONFINE=require` is set",
        notes=(("hint", "Linux 5.13 and later can, unless a container forbids it: see `onnxbuild doctor`"),),
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and those that caused it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        reason = getattr(error, "reason", None)  # of urllib's errors
        error = error.__cause__ or error.__context__ or (reason if isinstance(reason, BaseException) else None)


def _is_refusal(error: BaseException) -> bool:
    # EXDEV is Landlock's answer to a link or a move from a folder with fewer rights.
    refused = isinstance(error, OSError) and error.errno in {errno.EACCES, errno.EPERM, errno.EXDEV}
    return refused or "[Errno 13] Permission denied" in str(error)
