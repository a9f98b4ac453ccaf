"""The license of a source: where it is stated, and that nothing is guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxbuild.planning.origins.source_license import (
    OtherLicense,
    license_of_card,
    license_of_readme,
    license_of_text,
    other_license_of_card,
    other_license_of_readme,
)

ROOT = Path(__file__).parents[2]
APACHE = (ROOT / "LICENSE").read_text(encoding="utf-8")
MIT = """MIT License

Copyright (c) 2021 Somebody

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        ("license: mit", "mit"),
        ("license: 'mit' # ours", "mit"),
        ("language: en\nlicense: apache-2.0\ntags:\n- x", "apache-2.0"),
        ("license:\n- mit", "mit"),
        ("license: [mit]", "mit"),
        ("license:\r\n- mit\r", "mit"),
        ("license: other\nlicense_name: x", "other"),
        ("license:\n- mit\n- gpl-3.0", None),  # which of the two?
        ("license: [mit, gpl-3.0]", None),
        ("license:\ntags:\n- a", None),
        ("license:", None),
        ("model-index:\n  license: mit", None),
        ("license: mit # ours", "mit"),
        ("license: [ 'mit' ] # ours", "mit"),
        ("'license': mit", "mit"),
        ("license: 'mit\n  x'", None),
        ("license: [mit,\n  isc]", None),
        ("license: null", None),
        ("license: ~", None),
        ("license: {name: mit}", None),
        ("\ttags: [a\nlicense: mit", "mit"),  # not YAML
        ("license: <script>", None),
        ("license: " + "x" * 100, None),
    ],
)
def test_a_readme_states_it_in_its_metadata(lines, wanted):
    assert license_of_readme(f"---\n{lines}\n---\ntext\n".encode()) == wanted


def test_text_below_the_metadata_states_nothing():
    assert license_of_readme(b"# A model\nlicense: mit\n") is None
    assert license_of_readme(b"---\ntags: x\n---\nlicense: mit\n") is None
    assert license_of_readme(b"\xff\xfe") is None


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_readme_of_any_encoding_states_it(encoding, end):
    text = end.join(["---", "language: de", "license: mit # für alle", "---", "Größe"])
    assert license_of_readme(text.encode(encoding)) == "mit"


def test_a_license_without_a_word_of_the_hub_has_a_name():
    lines = "license: other\nlicense_name: my-license\nlicense_link: https://example.org/license"
    readme = f"---\n{lines}\n---\n".encode()
    assert other_license_of_readme(readme) == OtherLicense("my-license", "https://example.org/license")
    assert other_license_of_readme(readme.replace(b"other", b"mit")) == OtherLicense()
    assert other_license_of_readme(readme.replace(b"https:", b"javascript:")) == OtherLicense("my-license", None)
    card = {"license": "other", "license_name": "my-license", "license_link": 7}
    assert other_license_of_card({"cardData": card}) == OtherLicense("my-license", None)


def test_the_text_of_a_license_has_to_be_that_text():
    assert license_of_text(MIT.encode()) == "MIT"
    assert license_of_text(MIT.replace("\n", "\r\n  ").encode()) == "MIT"
    assert license_of_text(APACHE.encode()) == "Apache-2.0"
    assert license_of_text(MIT.replace("sublicense, ", "").encode()) is None
    assert license_of_text((MIT + "\nBut not for evil.\n").encode()) is None
    assert license_of_text(("x" * 3000 + MIT).encode()) is None
    assert license_of_text((APACHE + MIT).encode()) is None
    assert license_of_text(b"You may do as you like.") is None


def test_an_spdx_line_at_the_top_names_it():
    assert license_of_text(b"SPDX-License-Identifier: BSD-3-Clause\n") == "BSD-3-Clause"
    assert license_of_text(b"x" * 600 + b"\nSPDX-License-Identifier: MIT\n") is None


def test_the_hub_knows_the_card():
    assert license_of_card({"cardData": {"license": "mit"}}) == "mit"
    for answer in ({}, [], {"cardData": None}, {"cardData": {"license": 7}}, {"tags": ["license:mit"]}):
        assert license_of_card(answer) is None
