"""A real browser opens compare.html: no console message, no request, nothing wider than the page, readable pictures."""

import shutil

import pytest
from cisterna.compare.build import compare_study, write_comparison

CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="module")
def path(movies, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page") / "out"
    write_comparison(compare_study(movies.study, movies.store, ["junctions_per_um2"]), folder)
    return folder / "compare.html"


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_compare_page(path, width, scheme):
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
    said, asked = [], []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_load_state("load")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("[...document.images].filter(i => !i.complete || i.naturalWidth < 100).length") == 0
        headings = page.locator("h2").all_inner_texts()
        browser.close()
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert headings[0] == "What differs"
    assert "Brightness" in headings
    assert "How it was computed" in headings
