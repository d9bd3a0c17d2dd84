"""A real browser: look at a site, measure on voxels of 10 × 4 × 5 nm, judge, download, import, see the figure."""

import contextlib
import re
import shutil

import numpy as np
import pytest
from cisterna.cli.main import main
from cisterna.review.layer import read_review
from cisterna.review.sheet import read_sheet
from cisterna.store import open_store

CHROMIUM = shutil.which("chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()


SAMPLE = ("--class", "all", "--n", "4", "--seed", "3", "--edge-nm", "1000", "--out")


@contextlib.contextmanager
def opened(browser, path):
    """The page in a window of its own; it must say nothing on the console and ask nobody for anything."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000}, accept_downloads=True)
    page = context.new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-ready='01']")
    yield page
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    context.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make):
    """The folder of a sample, for tests that hand nothing in."""
    place = tmp_path_factory.mktemp("review")
    url = f"file://{place}/store"
    run = make.put_run(open_store(url))
    assert main(["review", "sample", run.run_id, *SAMPLE, str(place / "out"), "--store", url]) == 0
    return place / "out"


@pytest.fixture
def page(browser, folder):
    with opened(browser, folder / "review.html") as found:
        yield found


def plane(page, name, channel="raw"):
    return page.locator(f"canvas[data-plane={name}][data-channel={channel}]")


def click(page, canvas, across, down, **more):
    """A click at fractions of the picture; what they mean in nm follows from the crop's size alone."""
    box = canvas.bounding_box()
    canvas.click(position={"x": across * box["width"], "y": down * box["height"]}, **more)


def measured(page):
    return [float(text.removesuffix(" nm")) for text in page.locator("#lengths li").all_inner_texts()]


def stack(page):
    return page.evaluate(
        """() => { const s = JSON.parse(document.getElementById("data").textContent).items[0].stacks.raw;
                   return [s.shape, s.voxel, s.origin] }"""
    )


def test_pictures_have_their_true_scale(page):
    shape, voxel, _ = stack(page)
    assert voxel == [10, 4, 5]
    size = dict(zip("zyx", (n * v for n, v in zip(shape, voxel, strict=True)), strict=True))
    per_nm = []
    for name in ("yx", "zx", "zy"):
        for channel in ("raw", "denoised"):
            box = plane(page, name, channel).bounding_box()
            per_nm += [box["height"] / size[name[0]], box["width"] / size[name[1]]]
    assert np.ptp(per_nm) < 1e-3 * np.mean(per_nm), "one nm is the same in all planes and directions"


def test_a_ball_is_round_and_in_the_middle(page):
    """The planted vesicle, 70 nm across: dark pixels in each plane, in nm from the site."""
    page.uncheck("#marks")
    _, _, origin = stack(page)
    position = page.evaluate('() => JSON.parse(document.getElementById("data").textContent).items[0].position')
    for name in ("yx", "zx", "zy"):
        grey, box = page.evaluate(
            """(name) => { const c = document.querySelector(`canvas[data-plane=${name}]`);
                 const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data, rows = [];
                 for (let y = 0; y < c.height; y++)
                   rows.push(Array.from({ length: c.width }, (_, x) => d[4 * (y * c.width + x)]));
                 return [rows, [parseFloat(c.style.height), c.height]] }""",
            name,
        )
        shape, voxel, _ = stack(page)
        letters = {"z": 0, "y": 1, "x": 2}
        row, column = letters[name[0]], letters[name[1]]
        nm = shape[row] * voxel[row] / box[1]
        grey = np.array(grey, float)
        y, x = np.indices(grey.shape) + 0.5
        away = np.hypot(y * nm + origin[row] - position[row], x * nm + origin[column] - position[column])
        inside, around = grey[away < 25].mean(), grey[(away > 50) & (away < 80)].mean()
        assert inside < around - 60, name


def test_two_clicks_measure_nm_on_anisotropic_voxels(page):
    (nz, ny, nx), (vz, vy, vx), _ = stack(page)
    zx, yx, zy = plane(page, "zx"), plane(page, "yx"), plane(page, "zy")
    for canvas, one, other in (
        (zx, (0.25, 0.2), (0.25, 0.8)),
        (zx, (0.2, 0.5), (0.8, 0.5)),
        (yx, (0.3, 0.1), (0.3, 0.9)),
        (zy, (0.2, 0.2), (0.6, 0.7)),
    ):
        click(page, canvas, *one)
        click(page, canvas, *other)
    expected = [0.6 * nz * vz, 0.6 * nx * vx, 0.8 * ny * vy, np.hypot(0.5 * nz * vz, 0.4 * ny * vy)]
    assert measured(page) == pytest.approx(expected, abs=1.5)  # a click falls on whole pixels
    # Through the stack: the same place three z slices on is 30 nm away.
    click(page, yx, 0.5, 0.5)
    for _ in range(3):
        page.mouse.wheel(0, 100)
    click(page, yx, 0.5, 0.5)
    assert measured(page)[-1] == 30.0
    page.keyboard.press("Backspace")
    click(page, yx, 0.5, 0.5)
    page.keyboard.press("Escape")
    click(page, yx, 0.1, 0.1)
    click(page, yx, 0.1, 0.1)
    assert len(measured(page)) == 5
    assert measured(page)[-1] == 0.0, "Escape forgot the first point"


def test_from_the_page_to_the_figure(browser, folder_run, tmp_path, capsys):
    assert main(["review", "sample", folder_run.run_id, *SAMPLE, "out"]) == 0
    with opened(browser, tmp_path / "out/review.html") as page:
        hand_in_and_look(page, folder_run, tmp_path, capsys)


def hand_in_and_look(page, run, tmp_path, capsys):
    page.click("#save")
    assert "Write your name" in page.locator("#kept").inner_text()
    page.fill("#reviewer", 'Ada "A", Lab Ö')
    page.keyboard.press("Enter")
    page.keyboard.press("v")
    page.keyboard.type("12")
    page.keyboard.press("Enter")
    page.keyboard.press("1")
    page.keyboard.press("b")
    page.keyboard.press("w")
    page.keyboard.type('round; "dark", all of them\nsecond line')
    page.keyboard.press("Escape")
    click(page, plane(page, "zx", "denoised"), 0.5, 0.25)
    click(page, plane(page, "zx"), 0.5, 0.75)
    page.keyboard.press("n")
    page.wait_for_selector("body[data-ready='02']")
    assert page.input_value("#vesicles") == ""
    page.fill("#vesicles", "-3")
    assert "whole number" in page.locator("#wrong").inner_text()
    page.click("#save")
    assert "The count of site 02" in page.locator("#kept").inner_text()
    page.fill("#vesicles", "0")
    page.check("input[value='generic ER']")
    assert page.locator("#done").inner_text() == "2 of 4 reviewed"
    page.reload()
    page.wait_for_selector("body[data-ready='02']")
    assert page.locator("#done").inner_text() == "2 of 4 reviewed", "it was kept in the browser"
    with page.expect_download() as got:
        page.click("#save")
    assert got.value.suggested_filename == "decisions.csv"
    got.value.save_as(tmp_path / "decisions.csv")
    decisions, _ = read_sheet((tmp_path / "decisions.csv").read_bytes(), "", "", "x", "x")
    assert [(d.item, d.vesicles, d.form, d.bud) for d in decisions] == [
        ("01", 12, "vesicle cluster", "yes"),
        ("02", 0, "generic ER", ""),
    ]
    (nz, _, _), (vz, _, _), _ = stack(page)
    assert decisions[0].lengths[0].nm == pytest.approx(0.5 * nz * vz, abs=1.5)
    assert decisions[0].why == 'round; "dark", all of them\nsecond line'
    capsys.readouterr()
    assert main(["review", "import", run.run_id, "decisions.csv", "--reviewer", 'Ada "A", Lab Ö']) == 0
    assert read_review(run.store, run.run_id).decisions == tuple(decisions)
    report = tmp_path / "report.html"
    report.write_bytes(run.store.get(f"runs/{run.run_id}/report.html"))
    page.goto(report.as_uri())
    section = page.locator("section", has=page.locator("h2", has_text="Reviewed sites"))
    assert re.search(r"2 of 24 candidates were reviewed by Ada", section.inner_text())
    figure = section.locator("figure img").first
    assert "Vesicles per site" in figure.get_attribute("alt")
    assert figure.evaluate("i => i.complete && i.naturalWidth > 300")


def test_nothing_is_wider_than_the_window(page):
    for width in (390, 768, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
