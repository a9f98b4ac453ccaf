"""Text from outside in Markdown, read back by a parser of CommonMark with the tables of GitHub."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from onnxbuild.report.markdown_text import block, code, escaped, link, table
from onnxbuild.report.wording import on_one_line

PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
HOSTILE = (
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "[click](javascript:alert(1))",
    "![x](http://evil/x)",
    "a | b", "a \\| b", "`code`", "``", "*bold* _it_ ~~gone~~", "# heading", "- item", "1. item", "+ item", "> quote",
    "---", "===", "a\n\n# heading", "a\n---\nb", "&lt;b&gt; &#60;", "<!-- hidden", "-->",
    "```js", "| a | b |\n|---|---|",
    "[ref]: http://evil", "x\\", "\\", "  four", "\u2028new", "http://evil", "a<b>c", "$x$", "{{7*7}}", "x`y", "|", "",
)  # fmt: skip
TEXTS = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(codec="utf-8"), max_size=40))
SPACES = st.text(alphabet=" -+=1.)#>*_`[]()<>|~&!\\a\n", max_size=16)


def flat(tokens: list[Token]) -> list[Token]:
    return [one for token in tokens for one in (token, *flat(token.children or []))]


def shown(markdown: str) -> tuple[set[str], str]:
    """The kinds of what a parser finds, and the text that a reader sees."""
    tokens = flat(PARSER.parse(markdown))
    text = "".join(one.content for one in tokens if one.type in {"text", "text_special", "code_inline"})
    return {one.type for one in tokens}, text


PARAGRAPH = {"paragraph_open", "inline", "text", "paragraph_close"}


@settings(max_examples=60)
@given(TEXTS | SPACES)
@example("1.")
@example("-")
@example("--- x")
@example("a*b*c")
def test_a_text_in_a_paragraph_is_that_text_and_marks_nothing_up(text: str) -> None:
    kinds, seen = shown(escaped(text))
    assert kinds <= PARAGRAPH, (kinds, escaped(text))
    assert seen.split() == on_one_line(text).split()


@settings(max_examples=60)
@given(TEXTS | SPACES)
def test_a_text_as_code_is_one_span(text: str) -> None:
    kinds, seen = shown(f"x {code(text)} y")
    assert kinds <= PARAGRAPH | {"code_inline"}, kinds
    assert seen.removeprefix("x ").removesuffix(" y").split() == on_one_line(text).split()


@settings(max_examples=60)
@given(st.lists(TEXTS | SPACES, min_size=2, max_size=2))
def test_a_cell_of_a_table_ends_where_it_should(texts: list[str]) -> None:
    tokens = flat(PARSER.parse(table(["one", "two"], [[escaped(texts[0]), code(texts[1])]])))
    cells = [tokens[number + 1] for number, one in enumerate(tokens) if one.type == "td_open"]
    assert len(cells) == 2
    words = [
        "".join(one.content for one in cell.children or [] if one.type in {"text", "text_special", "code_inline"})
        for cell in cells
    ]
    assert words[0].split() == on_one_line(texts[0]).split()
    # In code, a table has no way to write a backslash before a bar.
    assert words[1].replace("\\|", "|").split() == on_one_line(texts[1]).replace("\\|", "|").split()


@settings(max_examples=60)
@given(st.text(alphabet="`~\nab \\", max_size=30))
def test_a_block_ends_where_it_should(lines: str) -> None:
    tokens = PARSER.parse(f"{block('js', lines)}\n\nafter")
    assert [one.type for one in tokens] == ["fence", "paragraph_open", "inline", "paragraph_close"]
    assert tokens[0].content.rstrip("\n") == lines.rstrip().rstrip("\n")


@pytest.mark.parametrize("text", HOSTILE)
def test_a_link_leads_where_we_said(text: str) -> None:
    tokens = flat(PARSER.parse(f"x {link(text, 'https://example.org/a')}"))
    assert [one.attrs for one in tokens if one.type == "link_open"] == [{"href": "https://example.org/a"}]
