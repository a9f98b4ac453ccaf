"""What a command line asks for, as values. Light: a run with nothing to do imports this module."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from onnxbuild.manifest.spec import Manifest
    from onnxbuild.permissions import Permissions


class Asked(NamedTuple):
    """The options of every command that reads a manifest."""

    manifest: str
    selectors: tuple[str, ...] = ()
    defines: tuple[tuple[str, str], ...] = ()
    store: str | None = None
    remote: str | None = None
    remote_readonly: bool = False
    offline: bool = False
    trust: tuple[str, ...] = ()  # public keys
    out: str | None = None  # the folder that a run writes its outputs to, for the warnings about it
    allow_paths: tuple[str, ...] = ()  # what the manifest may reach outside its folder
    allow_env: tuple[str, ...] = ()  # the variables that it may read
    publish: bool = False  # upload what the manifest publishes
    check_published: bool = False  # ask the destinations of uploads what is there
    change: Callable[[Manifest], Manifest] | None = None  # what a command makes of the manifest before it is planned

    def permissions(self) -> Permissions:
        """What the user permits the manifest, here and elsewhere. Errors: DiagnosticError OB063."""
        from onnxbuild.permissions import permissions

        return permissions(self.allow_paths, self.allow_env)

    def as_arguments(self) -> list[str]:
        """The options as a person would type them, without the manifest and the selectors."""
        arguments = [word for name, value in self.defines for word in ("-D", f"{name}={value}")]
        arguments += ["--store", self.store] if self.store else []
        arguments += ["--remote", self.remote] if self.remote else []
        arguments += ["--remote-readonly"] if self.remote_readonly else []
        arguments += [word for key in self.trust for word in ("--trust", key)]
        arguments += [word for path in self.allow_paths for word in ("--allow-path", path)]
        arguments += [word for name in self.allow_env for word in ("--allow-env", name)]
        arguments += ["--publish"] if self.publish else []
        return [*arguments, *(["--offline"] if self.offline else [])]


class RunOptions(NamedTuple):
    """The options of `onnxbuild run`, as typed values."""

    asked: Asked
    dry_run: bool = False
    jobs: int | None = None  # None: as many as `default_jobs` says
    fail_fast: bool = False
    force: bool = False
    as_json: bool = False
    quiet: bool = False
    verbose: bool = False
    out: str | None = None
    prune: bool = False
    timeout_seconds: float | None = None
    profile: str | None = None
    revalidate: bool = False
    against: str | None = None

    @property
    def repeated(self) -> list[str]:
        """The options that a command needs in order to repeat this run, as a person would type them."""
        words = self.asked.as_arguments()
        words += ["--out", self.out] if self.out else []
        words += ["--jobs", str(self.jobs)] if self.jobs else []
        words += ["--revalidate"] if self.revalidate else []
        words += ["--against", self.against] if self.against else []
        return [*words, *(["--timeout", f"{self.timeout_seconds:g}"] if self.timeout_seconds else [])]


def asked_for(options: argparse.Namespace) -> Asked:
    """The part of a command line that all commands share; an option that a command lacks has its default."""
    return Asked(
        manifest=options.manifest or "",
        selectors=tuple(getattr(options, "selectors", ())),
        defines=tuple(options.define),
        store=options.store,
        remote=options.remote,
        remote_readonly=options.remote_readonly,
        offline=options.offline,
        trust=tuple(options.trust),
        allow_paths=tuple(options.allow_path),
        allow_env=tuple(options.allow_env),
        publish=getattr(options, "publish", False) or getattr(options, "check_published", False),
        check_published=getattr(options, "check_published", False),
    )


def permissions_of(options: argparse.Namespace) -> Permissions:
    """What the user permits a manifest. Errors: DiagnosticError OB063."""
    from onnxbuild.permissions import permissions

    return permissions(options.allow_path, options.allow_env)


def run_options(options: argparse.Namespace) -> RunOptions:
    """The options of `onnxbuild run`."""
    return RunOptions(
        asked=asked_for(options),
        dry_run=options.dry_run,
        jobs=options.jobs,
        fail_fast=options.fail_fast,
        force=options.force,
        as_json=options.json,
        quiet=options.quiet,
        verbose=options.verbose,
        out=options.out,
        prune=options.prune,
        timeout_seconds=options.timeout,
        profile=options.profile,
        revalidate=options.revalidate,
        against=options.against,
    )
