"""The addresses of what a folder was made from: package URLs, and SPDX names of licenses."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from onnxbuild.deliver.checking.account import Account, SourceRead
from onnxbuild.steps.fetch import DATASETS

_HUB = "https://huggingface.co"


def purl_of_package(name: str, version: str) -> str:
    """The package URL of a Python package."""
    return f"pkg:pypi/{quote(name.lower().replace('_', '-'), safe='')}@{quote(version, safe='')}"


def purl_of_repository(repository: str, commit: str) -> str:
    """The package URL of a Hub repository at a commit."""
    path = "/".join(quote(part, safe="") for part in repository.removeprefix(DATASETS).split("/"))
    return f"pkg:huggingface/{path}@{quote(commit.lower(), safe='')}"


def page_of_repository(repository: str, commit: str) -> str:
    """The address of a Hub repository at a commit."""
    return f"{_HUB}/{quote(repository)}/tree/{quote(commit, safe='')}"


def name_of(source: SourceRead) -> str:
    """A name for people, which holds no path of a machine."""
    return source.repository or source.package or source.architecture or f"{source.kind or 'local'} source"


def spdx(license_: str) -> str | None:
    """The SPDX name of a license; None for a text that is the name of none, such as `other`."""
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    try:
        name: str = canonicalize_license_expression(license_)
    except InvalidLicenseExpression:
        return None
    return None if name.startswith("LicenseRef-") else name


def packages_of(account: Account) -> dict[tuple[str, str], list[str]]:
    """The Python packages of a build, and the steps that used each. One that was absent is none."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, version, step in _used(account):
        found.setdefault((name, version), []).append(step)
    return dict(sorted(found.items()))


def _used(account: Account) -> Iterator[tuple[str, str, str]]:
    for step in account.steps:
        for name, version in step.packages.items():
            if version != "absent":
                yield name, version, step.id
