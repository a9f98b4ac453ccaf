"""`onnxbuild run`: build what is not up to date. This module stays light: most runs have nothing to do."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from onnxbuild.commands.parsing.options import RunOptions
from onnxbuild.commands.state.trusted_state import distrust, state_beside
from onnxbuild.permissions import PATHS_VARIABLE, config_stamp
from onnxbuild.receipts.receipt import Standing, fingerprint, standing
from onnxbuild.report.terminal import width_of


def run(options: RunOptions) -> int:
    """Answer from a receipt if nothing has changed, else build; return the exit code. Errors: DiagnosticError."""
    if options.profile:
        from onnxbuild.commands.workspace import check_output

        check_output(options.profile)
    if options.dry_run:
        from onnxbuild.commands.plan import show_plan

        asked, as_json = options.asked, options.as_json
        return show_plan(asked, as_json=as_json, force=options.force, revalidate=options.revalidate, out=options.out)
    if options.against is not None:
        from onnxbuild.commands.reporting.against import run_against

        return run_against(options)
    return answer_or_build(options)


def answer_or_build(options: RunOptions) -> int:
    """Answer from a receipt, or build; return the exit code. Errors: DiagnosticError."""
    question = question_of(options)
    receipt = None if options.force or options.prune or options.asked.check_published else _receipt(options, question)
    if receipt is not None and not receipt.moved and _answers(receipt.answer, options):
        sys.stdout.write(last_line(receipt.answer) if options.quiet else receipt.answer)
        return 0
    from onnxbuild.commands.building.build import build

    return build(options, question, receipt)


def _receipt(options: RunOptions, question: Mapping[str, Any]) -> Standing | None:
    state = state_beside(options.asked.manifest)
    receipt = standing(state, question)
    # Checked last, because reading git's index takes longer than the rest of the check.
    return None if receipt is None or distrust(state) or _distrusts_store(receipt, state, options) else receipt


def _distrusts_store(receipt: Standing, state: str, options: RunOptions) -> bool:
    """Whether a store that the manifest alone names must not be trusted; the user may name any."""
    is_named = options.asked.store or os.environ.get("ONNXBUILD_STORE")
    return not is_named and receipt.store != os.path.join(state, "store") and distrust(receipt.store) is not None


def _answers(answer: str, options: RunOptions) -> bool:
    """Whether a receipt can answer: unlike a verbose run it lists no actions, and the width of its lines is fixed.

    On a narrower terminal, the engine prints the result again from the remembered plan, fitted to the terminal.
    """
    if options.quiet or options.as_json:
        return True
    width = width_of(sys.stdout)
    return not options.verbose and (width is None or all(len(line) <= width for line in answer.splitlines()))


def last_line(answer: str) -> str:
    """The closing line of an answer: what a quiet run prints of it."""
    return answer.rstrip("\n").rpartition("\n")[2] + "\n"


def question_of(options: RunOptions) -> Mapping[str, Any]:
    """Everything on the command line and in the environment that the answer of a run depends on.

    The values of `-D` and the address of a remote store may hold secrets, and receipts are on the disk: both are
    compared by their digests.
    """
    asked = options.asked
    remote = asked.remote or os.environ.get("ONNXBUILD_REMOTE")
    store = asked.store or os.environ.get("ONNXBUILD_STORE")
    key = os.environ.get("ONNXBUILD_SIGN_KEY")
    paths = (options.out, store, None if key is None or key.startswith("secret:") else key, *asked.trust)
    relative = not all(os.path.isabs(path) for path in paths if path)
    return {
        "selectors": asked.selectors,
        "define": [(name, fingerprint(value)) for name, value in asked.defines],
        "store": asked.store,
        "out": options.out,
        "json": options.as_json,
        "offline": asked.offline,
        "remote_readonly": asked.remote_readonly,
        "trust": asked.trust,
        "revalidate": options.revalidate,
        "publish": asked.publish,
        "HF_ENDPOINT": fingerprint(os.environ.get("HF_ENDPOINT")),
        "ONNXBUILD_SIGN_KEY": fingerprint(key),
        "manifest": os.path.realpath(asked.manifest),
        "spelled": asked.manifest,
        "ONNXBUILD_STORE": os.environ.get("ONNXBUILD_STORE"),
        "remote": fingerprint(remote if not remote or "://" in remote else os.path.abspath(remote)),
        "folder": os.getcwd() if relative else "",
        # Other permissions make another question.
        "allowed": [
            *map(os.path.abspath, asked.allow_paths),
            *asked.allow_env,
            os.environ.get(PATHS_VARIABLE),
            config_stamp(),
        ],
    }
