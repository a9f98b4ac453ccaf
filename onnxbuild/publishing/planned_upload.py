"""What `plan` knows about an upload: the difference, and what it was compared with."""

from __future__ import annotations

from msgspec import Struct

from onnxbuild.publishing.difference import Difference


class PlannedUpload(Struct, frozen=True, kw_only=True, tag="upload", tag_field="event"):
    """One upload. `difference` is None if it is not known; `because` says why, or what was compared.

    `overwrites`: whether `overwrite: true` lets it replace what somebody else has written.
    """

    model: str
    package: str
    place: str
    because: str
    difference: Difference | None = None
    overwrites: bool = False

    @property
    def refused(self) -> str | None:
        """Why the upload will be refused (OBE205); None if it will not."""
        changes = self.difference
        if changes is None or changes.is_empty or self.overwrites:
            return None
        if changes.other:
            return f"it {changes.other}"
        return "it has files that somebody else has written or changed" if changes.foreign else None

    @property
    def heading(self) -> str:
        """One line about it."""
        title = f"publish {self.model} ({self.package}) → {self.place}"
        return f"{title}: {self.because}" if self.difference is None else f"{title} ({self.because})"
