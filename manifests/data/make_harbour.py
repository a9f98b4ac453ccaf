# ruff: noqa: INP001 - a script
"""Writes harbour.txt: plain English about a small harbour, made from sentence patterns with a fixed seed.

The tokenizer of gpt2-offline.yaml is trained on it. Everything in it was written for this repository.
"""

from __future__ import annotations

import random
from pathlib import Path

_WORDS = {
    "who": "the harbour master|an old sailor|the ferry captain|a young carpenter|the lighthouse keeper|her sister|"
    "the baker|a travelling teacher|two fishermen|the mapmaker|the clerk of the customs house|a girl with a red scarf",
    "did": "walked slowly along|looked out over|swept the stones of|painted a picture of|measured|wrote a letter about|"
    "counted the lamps of|waited beside|drew a careful map of|remembered|told a long story about|asked about",
    "place": "the long pier|the northern breakwater|the market square|the narrow bridge|the wooden jetty|"
    "the empty warehouse|the garden behind the church|the steps below the tower|the boat yard|the quiet bay",
    "when": "in the early morning|before the tide turned|after the rain had stopped|while the bells were ringing|"
    "on the first day of spring|when the fog came in|late in the afternoon|as soon as the wind dropped|"
    "every evening before supper|once upon a time",
    "thing": "a coil of rope|a basket of apples|a small brass compass|seven letters|a lantern with a green glass|"
    "an unfinished chart|three silver coins|a box of nails|a blue blanket|the spare key|a loaf of warm bread",
    "quality": "calm and grey|brighter than anyone expected|as smooth as glass|full of small boats|almost silent|"
    "cold but clear|covered with thin ice|busy from dawn until dark|smelling of salt and tar",
    "number": "two|three|five|eight|eleven|fourteen|twenty|thirty-six",
    "unit": "boats|barrels|gulls|crates of oranges|passengers|planks|nets|sacks of grain",
    "reason": "because the ferry was late|since nobody else would do it|although the road was steep|"
    "so that the children could cross safely|because the old rope had broken|even though the light was poor|"
    "since the harbour would close at noon",
    "said": "“The sea keeps its own calendar.”|“Bring it back before the lamps are lit.”|"
    "“We will need more rope than that.”|“Nothing is lost that is written down.”|“Try the other door.”|"
    "“There is room for one more.”|“Count them again, and then once more.”|“It was here yesterday.”",
}
_PATTERNS = (
    "{When}, {who} {did} {place}.",
    "{Who} {did} {place} {reason}.",
    "{When} the water near {place} was {quality}.",
    "{Who} carried {thing} to {place} and set it down beside {thing}.",
    "There were {number} {unit} at {place}, and {number} more were expected {when}.",
    "{said} said {who}, and {who} {did} {place}.",
    "If you stand at {place} {when}, you can see {who} with {thing}.",
    "How many {unit} had come? {Who} counted {number}, but {who} counted {number}.",
    "{Who} kept {thing} in a drawer, {reason}.",
    "Not far from {place}, {number} {unit} lay in the sun; the air was {quality}.",
)
_PARAGRAPHS = 62
_SENTENCES = (4, 8)


def _sentence(rng: random.Random) -> str:
    pattern = rng.choice(_PATTERNS)
    while (start := pattern.find("{")) >= 0:
        end = pattern.index("}", start)
        name = pattern[start + 1 : end]
        word = rng.choice(_WORDS[name.lower()].split("|"))
        pattern = pattern[:start] + (word[0].upper() + word[1:] if name[0].isupper() else word) + pattern[end + 1 :]
    return pattern


def text() -> str:
    """The whole text; the same one every time."""
    rng = random.Random(0)  # noqa: S311 - a text that is the same every time, not a secret
    paragraphs = (" ".join(_sentence(rng) for _ in range(rng.randint(*_SENTENCES))) for _ in range(_PARAGRAPHS))
    return "\n\n".join(paragraphs) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("harbour.txt").write_text(text(), encoding="utf-8")
