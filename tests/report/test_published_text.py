"""What a run and a plan say about uploads."""

from msgspec import structs

from onnxbuild.execute.events import Outcome
from onnxbuild.planning.action_graph import ActionGraph, Published
from onnxbuild.publishing.difference import Difference
from onnxbuild.publishing.planned_upload import PlannedUpload
from onnxbuild.report.publishing.difference_text import upload_lines
from onnxbuild.report.publishing.published_text import published_lines

REASON = "its folder in the output has no signature of this content; `onnxbuild sign` makes one"


def lines(outcome, **facts):
    upload = Published(model="m", package="plain", place="hub:me/m", action="m:publish")
    facts = {"url": "https://hub/me/m", "deleted": 1, "changed_bytes": 0, **facts}
    return list(
        published_lines(
            ActionGraph({}, uploads=(upload,)),
            {"m:publish": Outcome(id="m:publish", kind="publish", outcome=outcome, facts=facts)},
        )
    )


def test_a_run_says_that_a_signature_was_withdrawn():
    assert lines("built", unsigned=True) == [
        "m is published (plain), 1 file deleted (0 bytes): https://hub/me/m",
        f"m is no longer signed at hub:me/m: {REASON}",
    ]
    assert lines("hit", unsigned=True) == ["m is published (plain): https://hub/me/m"]


def test_a_plan_says_that_a_signature_would_be_withdrawn():
    changes = Difference(added={}, replaced={}, deleted={"model.sig": 19, "old.bin": 7}, unchanged={}, foreign=())
    upload = PlannedUpload(model="m", package="plain", place="hub:me/m", because="compared", difference=changes)
    assert list(upload_lines(upload))[1:] == [
        f"  delete    model.sig  19 bytes  ({REASON})",
        "  delete    old.bin  7 bytes",
    ]


def test_a_plan_says_what_would_be_refused():
    changes = Difference(
        added={}, replaced={"a": 1003}, deleted={}, unchanged={"b": 5, "c": 7}, foreign=("a", "c"),
        other="has a publication of the model `x`, and this one is of `m`",
    )  # fmt: skip
    upload = PlannedUpload(model="m", package="plain", place="hub:me/m", because="compared", difference=changes)
    assert list(upload_lines(upload))[1:] == [
        "  refused (OBE205) without `overwrite: true`: it has a publication of the model `x`, and this one is of `m`",
        "  replace   a  1.0 kB  (somebody has changed it since the last publish)",
        "  equal     c  7 bytes  (no publish has written it)",
        "  unchanged 2 files, 12 bytes",
    ]
    edited = structs.replace(upload, difference=structs.replace(changes, other=""))
    assert list(upload_lines(edited))[1] == (
        "  refused (OBE205) without `overwrite: true`: it has files that somebody else has written or changed"
    )
    assert list(upload_lines(structs.replace(edited, overwrites=True)))[1].startswith("  replace ")
    same = structs.replace(changes, other="", replaced={})
    assert list(upload_lines(structs.replace(edited, difference=same)))[1].startswith("  equal ")
