"""The messages between the engine and a worker."""

from __future__ import annotations

import pytest

from onnxbuild import secrets
from onnxbuild.protocol import Failure, Response, without_secrets


@pytest.mark.parametrize("secret", ["4711", "response", "peak_bytes", "transient", '"facts"', "0.25"])
def test_whatever_the_secret_is_a_message_stays_one(monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    known = secrets._Known()
    known.environment_read = True
    monkeypatch.setattr(secrets, "_KNOWN", known)
    secrets.register(secret)
    facts = {"bytes": 947114711, "seconds": 0.25, "rows": [{"text": f"<{secret}>"}], f"of {secret}": None}
    failure = Failure(code="OBE50", message=f"see {secret}\udcff", notes=(("hint", f"not {secret} "),), transient=True)
    clean = without_secrets(Response(id="m:fetch", facts=facts, failure=failure, peak_bytes=4711))
    assert clean.facts == {"bytes": 947114711, "seconds": 0.25, "rows": [{"text": "<***>"}], "of ***": None}
    assert clean.failure == Failure(code="OBE50", message="see ***\\xff", notes=(("hint", "not *** "),), transient=True)
    assert clean.peak_bytes == 4711
