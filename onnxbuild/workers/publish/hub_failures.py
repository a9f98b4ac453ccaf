"""What an answer of the Hub means for a publish."""

from __future__ import annotations

from onnxbuild.protocol import CheckFailed
from onnxbuild.workers.libraries.hub_tries import is_transient, status_of

_STALE = 412

# The name of an exception or the status of an answer, and what it means; the first that fits counts.
_ANSWERS = (
    ("GatedRepoError", "OBE202", "{repo} is gated, and the token has no access", "request access on its page"),
    ("401", "OBE200", "the Hub does not accept the token", "log in again with `hf auth login`, or renew HF_TOKEN"),
    (
        "403", "OBE201", "the token may not write to {repo}",
        "use a token with write access to this repository: https://huggingface.co/settings/tokens",
    ),
    (
        "RepositoryNotFoundError", "OBE202", "{repo} does not exist, or the token may not see it",
        "check the name of the repository",
    ),
    (
        str(_STALE), "OBE205", "{repo} changes while it is compared",
        "run it again when no other upload is under way",
    ),
    ("429", "OBE206", "the Hub limits the rate of requests", "wait some minutes, and run it again"),
    (
        "cut", "OBE207", "the upload to {repo} was cut off",
        "run it again: large files that arrived are not sent again",
    ),
    ("", "OBE208", "the Hub refuses the upload to {repo}", "the cause has the answer of the Hub"),
)  # fmt: skip


def is_stale(error: BaseException) -> bool:
    """Whether another commit came between the comparison and ours."""
    return status_of(error) == _STALE


def explained(error: Exception, repo: str, token: str) -> CheckFailed:
    """The failure that an exception of huggingface_hub means. No text of it holds the token."""
    code, message, hint = _meaning(error, repo)
    cause = " ".join(str(error).replace(token, "***").split())[:400]
    return CheckFailed(code, message, notes=[("cause", cause), ("hint", hint)], transient=is_transient(error))


def _meaning(error: Exception, repo: str) -> tuple[str, str, str]:
    """Code, message and hint."""
    if isinstance(error, ValueError) and "metadata in README.md" in str(error):
        faults = "; ".join(line.removeprefix("- ") for line in str(error).splitlines()[1:])
        return "OBE204", f"the Hub refuses the model card: {faults}", "correct the metadata of README.md in the package"
    names = {type(error).__name__, str(status_of(error)), *(["cut"] if is_transient(error) else [])}
    found = next((row for row in _ANSWERS if row[0] in names), _ANSWERS[-1])
    return found[1], found[2].replace("{repo}", repo), found[3]
