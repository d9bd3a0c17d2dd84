"""A real browser opens the reports: no console message, no request, the counts on the page, nothing wider than it."""

import dataclasses
import shutil

import numpy as np
import pytest
from cisterna.report.build import build_report
from cisterna.report.film import FilmFrame, Screen, panel_size, write_film
from cisterna.report.movie import render_movie_report
from cisterna.report.volume import render_volume_report
from cisterna.store.objects import connect
from cisterna.tables.networks import EDGES, NODES

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
    assert page.locator("figure img").count() >= 3 + 2 + 1 + 4 + 1
    rows = page.locator("table", has_text=f"All {len(movie.frames)} frames").locator("tbody tr")
    assert rows.count() == len(movie.frames)
    pdf = page.pdf(format="A4", print_background=True)
    assert pdf.startswith(b"%PDF")
    assert 3 <= pdf.count(b"/Type /Page\n") <= 14
    page.close()


PLAY = """async () => {
  const film = document.querySelector("video");
  if (film.readyState < 1) await new Promise(done => film.addEventListener("loadedmetadata", done));
  film.currentTime = film.duration / 2;
  await new Promise(done => film.addEventListener("seeked", done));
  const copy = document.createElement("canvas");
  copy.width = film.videoWidth; copy.height = film.videoHeight;
  const pen = copy.getContext("2d");
  pen.drawImage(film, 0, 0);
  const middle = pen.getImageData(film.videoWidth / 2, film.videoHeight / 2, 1, 1).data;
  await film.play();
  const before = film.currentTime;
  await new Promise(done => setTimeout(done, 300));
  return {state: film.readyState, width: film.videoWidth, height: film.videoHeight, duration: film.duration,
          error: film.error, moved: film.currentTime !== before, middle: [...middle]};
}"""


def test_the_film_in_a_report_plays(browser, tmp_path, make, movie):
    """VP9 in MP4 inside the page: decoded, seekable, as long as it should be."""
    store = connect("memory://")
    path = tmp_path / "report.html"
    path.write_bytes(build_report(store, make.put_movie_run(store, movie)))
    page = open_page(browser, path, viewport={"width": 1280, "height": 900})
    seen = page.evaluate(PLAY)
    assert seen["error"] is None
    assert seen["state"] >= 2
    assert seen["moved"]
    assert (seen["width"], seen["height"]) == tuple(
        int(page.locator("video").get_attribute(n)) for n in ("width", "height")
    )
    assert seen["duration"] == pytest.approx(len(movie.raw) / 10, abs=0.02)
    page.close()


def test_a_film_of_one_frame_and_odd_size_plays(browser, tmp_path):
    raw = np.full((65, 127), 200, np.uint16)
    screen = Screen((6.5, 12.7), (0.1, 0.1), (0, 255), panel_size(raw.shape, (0.1, 0.1), 320))
    frame = FilmFrame(0.0, raw, np.full(raw.shape, 2, np.uint8), NODES.frame(), EDGES.frame())
    film = write_film(tmp_path / "film.mp4", screen, [frame], 1)
    path = tmp_path / "page.html"
    path.write_text('<video muted src="film.mp4"></video>')
    page = browser.new_page()
    page.goto(path.as_uri())
    assert page.evaluate(
        "async () => { const v = document.querySelector('video'); if (v.readyState < 2) await new Promise(d => "
        "v.addEventListener('loadeddata', d)); return [v.videoWidth, v.videoHeight, v.duration] }"
    ) == [film.width_px, film.height_px, pytest.approx(0.1, abs=0.02)]
    page.close()


def contrast(one, other):
    """WCAG contrast ratio of two `rgb(r, g, b)` colours."""

    def luminance(colour):
        parts = [int(v) / 255 for v in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)
