"""`onnxbuild lock`: resolves the Hub revisions of a manifest and writes them to the lock file."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from onnxbuild.diagnostics import Diagnostic, DiagnosticError, did_you_mean, fault
from onnxbuild.manifest.load import load_manifest
from onnxbuild.manifest.spec import Manifest, Toolchain
from onnxbuild.permissions import Permissions
from onnxbuild.planning.lock_file import (
    HubUse,
    hub_resolve,
    hub_uses,
    lock_key,
    lock_path,
    lock_toolchains,
    read_lock,
    toolchains_in_use,
    unlocked,
    unlocked_toolchains,
    update_lock,
    write_lock,
)
from onnxbuild.planning.locked import Lock, Resolve
from onnxbuild.steps import Kinds, all_kinds


def run_lock(
    manifest_path: str,
    *,
    upgrade: Sequence[str] | None = None,
    kinds: Kinds | None = None,
    defines: Mapping[str, str] | None = None,
    resolve: Resolve | None = None,
    permissions: Permissions | None = None,
) -> int:
    """Resolve what the lock lacks and, with `upgrade`, what the named models use (all models for an empty sequence).

    Prints what changed. Errors: DiagnosticError for the manifest, an unknown name, or a source that cannot be resolved.
    """
    manifest = load_manifest(manifest_path, kinds=kinds or all_kinds(), defines=defines, permissions=permissions)
    path = lock_path(manifest_path)
    old = read_lock(path)
    wanted = [*unlocked(manifest, old), *(_upgraded(manifest, upgrade) if upgrade is not None else ())]
    new = update_lock(old, wanted, resolve or hub_resolve()) if wanted else old
    toolchains = toolchains_in_use(manifest) if upgrade == [] else unlocked_toolchains(manifest, old)
    new = lock_toolchains(new, toolchains, lambda text: print(text, file=sys.stderr))
    if new != old:
        write_lock(path, new)
    for line in (*_changes(old, new), *_toolchain_changes(old, new, toolchains)):
        print(line)
    pinned = len({use.key for use in hub_uses(manifest)})
    print(f"{path}: {pinned} source{'' if pinned == 1 else 's'} pinned", file=sys.stderr)
    return 0


def _upgraded(manifest: Manifest, names: Sequence[str]) -> list[HubUse]:
    known = {model.name for model in manifest.models} | manifest.datasets.keys()
    faults: list[Diagnostic] = [
        fault("OB018", f"`--upgrade {name}` names no model and no dataset", hint=did_you_mean(name, known))
        for name in names
        if name not in known
    ]
    if faults:
        raise DiagnosticError(faults)
    return [use for use in hub_uses(manifest) if not names or use.name in names]


def _toolchain_changes(old: Lock, new: Lock, resolved: Sequence[Toolchain]) -> list[str]:
    """What changed in each toolchain; for a new one, the number of its packages."""
    lines = []
    for toolchain in resolved:
        key = lock_key(toolchain)
        before = {one.name: one.version for one in old.toolchains[key].packages} if key in old.toolchains else None
        after = {one.name: one.version for one in new.toolchains[key].packages}
        if before is None:
            lines.append(f"toolchain {toolchain.name}: {len(after)} packages")
            continue
        for name in sorted(before.keys() | after.keys()):
            if before.get(name) != after.get(name):
                moved = f"{before.get(name, 'absent')} → {after.get(name, 'absent')}"
                lines.append(f"toolchain {toolchain.name}: {name} {moved}")
    return lines


def _changes(old: Lock, new: Lock) -> list[str]:
    lines = []
    for key, entry in sorted(new.sources.items()):
        before = old.sources.get(key)
        if before is None:
            lines.append(f"{key} is {entry.commit}")
        elif before.commit != entry.commit:
            lines.append(f"{key} moved: {before.commit} → {entry.commit}")
    return lines
