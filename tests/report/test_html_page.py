"""The page in a real browser."""

import re
import shutil
from collections.abc import Iterator

import pytest
from evidence_worlds import evidence
from msgspec import structs

from onnxbuild.report.page.canvas import as_files, as_svg
from onnxbuild.report.page.html_page import html_page
from onnxbuild.report.page.plots import plots

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"]

in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


def page_of(one, texts=""):
    return html_page(one, plots(one), texts)


def with_variants(count):
    """The toy build with as many variants: copies under other names, with other latencies."""
    base = evidence()
    variants = []
    for number in range(count):
        one = base.variants[number % 3]
        row = structs.replace(one.row, name=f"bert/v{number}", latency_ms=one.row.latency_ms + number / 7)
        variants.append(structs.replace(one, target=f"v{number}", row=row))
    return structs.replace(base, variants=tuple(variants))


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def opened(browser, tmp_path):
    """A function that opens a page, and the faults that the browser reported."""
    faults = []

    def opens(text, *, width=1200, scheme="light"):
        path = tmp_path / "page.html"
        path.write_text(text, encoding="utf-8")
        page = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme).new_page()
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: None if request.url == path.as_uri() else faults.append(request.url))
        page.goto(path.as_uri())
        return page

    yield opens
    assert faults == []


def column(page, table, number):
    return page.eval_on_selector_all(
        f"#{table}-table tbody tr > :nth-child({number})", "cells => cells.map((cell) => cell.textContent)"
    )


@in_a_browser
def test_every_plot_is_in_the_page_and_has_words(opened):
    page = opened(page_of(evidence()))
    assert page.eval_on_selector_all("figure svg", "all => all.map((one) => one.getBBox().width > 100)") == [True] * 3
    labels = page.eval_on_selector_all("figure [role=img]", "all => all.map((one) => one.getAttribute('aria-label'))")
    assert labels[0].startswith("bert: accuracy against latency. Lower and further left is better.")
    assert "torch 30.00 ms, torch.compile 25.00 ms, fp32 20.00 ms" in labels[1]


def test_a_plot_says_beside_which_variant_its_baseline_was_measured():
    words = {plot.name: plot.description for plot in plots(evidence())}["latency-bert"]
    assert words.endswith(" The baselines are those measured beside fp32; the table has those of each variant.")


@in_a_browser
def test_a_heading_sorts_by_number_and_again_the_other_way(opened):
    page = opened(page_of(evidence()))
    heads = column(page, "variants", 1)
    assert heads == ["bert/fp32", "bert/o2", "bert/int8"]
    page.click("#variants-table thead th:nth-child(2) button")
    assert column(page, "variants", 2) == ["22.8 MB", "90.3 MB", "90.4 MB"]
    assert page.get_attribute("#variants-table thead th:nth-child(2)", "aria-sort") == "ascending"
    page.click("#variants-table thead th:nth-child(2) button")
    assert column(page, "variants", 2) == ["90.4 MB", "90.3 MB", "22.8 MB"]
    page.click("#checks-table thead th:nth-child(4) button")
    bounds = column(page, "checks", 4)
    assert bounds.index("–") > max(number for number, text in enumerate(bounds) if text != "–")  # noqa: RUF001


@in_a_browser
def test_sorting_works_by_keyboard(opened):
    page = opened(page_of(evidence()))
    page.focus("#variants-table thead th:nth-child(2) button")
    page.keyboard.press("Enter")
    assert column(page, "variants", 2)[0] == "22.8 MB"


@in_a_browser
def test_both_themes_are_readable(opened):
    backgrounds = {}
    for scheme in ("light", "dark"):
        page = opened(page_of(evidence()), scheme=scheme)
        colours = "() => [document.body, document.querySelector('figure svg text')].map((one) => getComputedStyle(one))"
        ink, paper, label = page.evaluate(
            f"() => {{ const [body, text] = ({colours})(); return [body.color, body.backgroundColor, text.fill]; }}"
        )
        assert contrast(ink, paper) > 7
        assert contrast(label, paper) > 4.5
        backgrounds[scheme] = paper
        page.click("#theme")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != paper
    assert backgrounds["light"] != backgrounds["dark"]


def contrast(one, other):
    """The contrast ratio of two colours (WCAG 2, relative luminance)."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour):
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@in_a_browser
def test_a_telephone_shows_it_without_sideways_scrolling(opened):
    page = opened(page_of(with_variants(40)), width=400)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    # A plot scrolls within its own box, so that its labels of 9 points are not scaled to 6 pixels.
    sizes = page.eval_on_selector_all(".plot svg", "all => all.map((one) => one.getBoundingClientRect().width)")
    assert len(sizes) == page.locator(".plot").count() > 0
    assert min(sizes) >= 500
    assert page.evaluate("document.querySelector('.plot').scrollWidth") >= 500
    page.locator(".plot").first.focus()
    assert page.evaluate("document.activeElement.className") == "plot"


@in_a_browser
def test_print_shows_whole_tables_without_controls(opened):
    page = opened(page_of(evidence()))
    page.emulate_media(media="print")
    assert not page.is_visible("#theme")
    assert page.evaluate("getComputedStyle(document.querySelector('.scroll')).overflowX") == "visible"


@in_a_browser
def test_names_are_text_and_never_markup(opened):
    hostile = "<script>document.title = 'owned'</script><img src=x onerror=alert(1)>"
    base = evidence(source=hostile)
    variants = tuple(
        structs.replace(one, model=hostile, row=structs.replace(one.row, name=f"{hostile}/{one.target}"))
        for one in base.variants
    )
    page = opened(page_of(structs.replace(base, variants=variants), texts=hostile))
    assert page.title() == f"{hostile}: report of onnxbuild"
    assert page.eval_on_selector_all("img", "all => all.length") == 0
    assert column(page, "variants", 1)[0] == f"{hostile}/fp32"


@in_a_browser
def test_ids_are_unique_and_links_lead_somewhere(opened):
    page = opened(page_of(with_variants(5)))
    ids = page.eval_on_selector_all("[id]", "all => all.map((one) => one.id)")
    assert len(ids) == len(set(ids))
    targets = page.eval_on_selector_all("nav a", "all => all.map((one) => one.hash.slice(1))")
    assert set(targets) <= set(ids)


def test_forty_variants_are_at_most_two_megabytes():
    assert len(page_of(with_variants(40)).encode()) < 2e6


def test_equal_evidence_gives_equal_bytes():
    assert page_of(evidence()) == page_of(evidence())
    first, second = ([as_files(plot.figure, plot.name) for plot in plots(evidence())] for _ in range(2))
    assert first == second


def test_the_colours_of_the_page_are_in_its_plots():
    text = as_svg(plots(evidence())[0].figure, "a")
    assert "var(--ink)" in text
    assert "var(--line)" in text
    assert not re.search(r'id="(?!a-)', text)


def test_a_build_without_results_is_a_page_without_plots():
    base = evidence()
    empty = structs.replace(base, ended=None, variants=())
    text = page_of(empty)
    assert "Nothing has been run yet." in text
    assert "<svg" not in text
