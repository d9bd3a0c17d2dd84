"""A real browser opens the reports: no console message, no request, the counts on the page, nothing wider than it."""

import dataclasses
import shutil

import pytest
from cisterna.report.movie import render_movie_report
from cisterna.report.volume import render_volume_report

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()


def open_page(browser, path, **options):
    page = browser.new_page(**options)
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_load_state("load")
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    return page


@pytest.fixture(scope="module")
def volume_page(tmp_path_factory, make, volume):
    path = tmp_path_factory.mktemp("volume") / "report.html"
    data = make.volume_data(volume)
    path.write_text(render_volume_report(dataclasses.replace(data, planes=data.planes[:1])), encoding="utf-8")
    return path


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_volume_report(browser, volume_page, volume, width, scheme):
    page = open_page(browser, volume_page, viewport={"width": width, "height": 900}, color_scheme=scheme)
    tiles = page.locator(".tiles li").all_inner_texts()
    counts = volume.sites["site_class"].value_counts()
    assert [int(tile.split("\n")[0]) for tile in tiles] == [
        counts[name]
        for name in (
            "vesicular_standalone",
            "vesicular_mixed",
            "tubular_isolated",
            "tubular_mixed",
            "dispersed",
            "golgi_associated",
        )
    ]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    broken = page.evaluate("[...document.images].filter(i => !i.complete || i.naturalWidth < 100).length")
    assert broken == 0
    ink, paper = page.evaluate(
        "(() => { const s = getComputedStyle(document.documentElement); return [s.color, s.backgroundColor] })()"
    )
    assert contrast(ink, paper) > 7
    page.close()


def test_movie_report_prints(browser, tmp_path, make, movie):
    path = tmp_path / "report.html"
    path.write_text(render_movie_report(make.movie_data(movie)), encoding="utf-8")
    page = open_page(browser, path, viewport={"width": 1280, "height": 900})
    assert page.locator("h1").inner_text() == "ER network"
    assert page.locator("figure img").count() == 3 + 1 + 1 + 4 + 1
    rows = page.locator("table", has_text=f"All {len(movie.frames)} frames").locator("tbody tr")
    assert rows.count() == len(movie.frames)
    pdf = page.pdf(format="A4", print_background=True)
    assert pdf.startswith(b"%PDF")
    assert 3 <= pdf.count(b"/Type /Page\n") <= 14
    page.close()


def contrast(one, other):
    """WCAG contrast ratio of two `rgb(r, g, b)` colours."""

    def luminance(colour):
        parts = [int(v) / 255 for v in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)
