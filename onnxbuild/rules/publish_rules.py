"""Codes of `publish:`. Planning finds them; the pages are here."""

from __future__ import annotations

from onnxbuild.rules.rule import Rule, described

RULES: tuple[Rule, ...] = (
    described(
        "OB780",
        "one-destination",
        """
        `publish:` names no destination, or several.

        Why: one upload has one receipt, which says what is there.
        Fix: name one of `hub`, `folder`, `s3` and `oci`.
        Bad:
            publish: {private: true}
        Good:
            publish: {hub: me/sst2-onnx, private: true}
        """,
    ),
    described(
        "OB781",
        "malformed-destination",
        """
        A destination or a tag does not have its form.

        Why: the server would refuse it after the build.
        Bad:
            publish: {hub: sst2-onnx}
        Good:
            publish: {hub: me/sst2-onnx}
        """,
    ),
    described(
        "OB782",
        "setting-of-the-hub",
        """
        A setting of the Hub stands beside another destination, where it has no effect.

        Why: somebody may believe that the upload is private, or a pull request.
        Fix: remove the setting, or publish to `hub`.
        """,
        severity="warning",
    ),
    described(
        "OB783",
        "package-to-publish",
        """
        It is not clear which package is published: the model has none of this name, none at all, or several.

        Why: what is published is one folder for one kind of client.
        Fix: give the model a `package:`, and name it in `publish:` if there are several.
        Bad:
            publish: me/sst2-onnx
        Good:
            package: plain
            publish: me/sst2-onnx
        """,
    ),
    described(
        "OB784",
        "unknown-license",
        """
        A model is published to the Hub, and the license of its source is unknown.

        Why: whoever publishes a model that is made from another one must keep its license, and the Hub shows one.
        Fix: write the license of the source, as its page on the Hub has it.
        Bad:
            publish: me/sst2-onnx
        Good:
            publish: {hub: me/sst2-onnx, license: apache-2.0}
        """,
    ),
    described(
        "OB785",
        "upload-offline",
        """
        A run with `--offline` is asked to upload something over the network.

        Why: the two contradict each other.
        Fix: leave out `--offline`, or do not ask for the upload.
        """,
    ),
)  # fmt: skip
