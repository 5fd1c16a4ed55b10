"""The record viewer in a browser: what is read there is what the study's arrays hold."""

import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

sys.path.insert(0, str(Path(__file__).parent))
from drawn_study import component_page, plain_card, recording, write_record_study

from leadlight.report.record_data import SCRIPTS, record_data
from leadlight.report.results import read_results

_ME = "document.querySelector('#component').leadlight"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records") / "study"
    two = [
        recording("first", rate_hz=500.0, seconds=10.0, empty_s=0.6),
        recording("second", rate_hz=500.0, seconds=10.0),
    ]
    seen = write_record_study(folder, two, plain_card(250.0, 2000))
    return folder, seen


@pytest.fixture(scope="module")
def file(study, tmp_path_factory):
    results = read_results(study[0])
    given = [record_data(results, name) for name in ("first", "second")]
    return component_page(tmp_path_factory.mktemp("page") / "r.html", "record", SCRIPTS, given)


@pytest.fixture
def page(file, open_page):
    return open_page(file)


def _picture(page):
    return page.evaluate("document.querySelector('.record-frame canvas').toDataURL()")


def _next_frame(page):
    page.evaluate("new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)))")


@pytest.mark.parametrize("name", ["first", "second"])
def test_readings_are_the_numbers_of_relevance_zarr(page, study, name):
    page.get_by_role("combobox", name="Record", exact=True).select_option(label=f"{name}: AF, LBBB")
    folder, seen = study
    dataset = xr.open_zarr(folder / "relevance.zarr", consolidated=False, chunks=None)
    stored = dataset["relevance"].isel(record=list(dataset["record_id"].values).index(name))
    rng = np.random.default_rng(1)
    for class_name in ("AF", "LBBB"):
        page.evaluate(f"(name) => {_ME}.showClass(name)", class_name)
        for _ in range(6):
            lead = str(rng.choice(stored["lead"].values))
            at = int(rng.integers(seen[name].first_valid, seen[name].first_valid + 2000))
            time_s = float(seen[name].time_of(at))
            start = page.evaluate(f"{_ME}.moveTo('I', 0), {_ME}.read().time_s")
            page.evaluate(
                f"([lead, sample]) => {_ME}.moveTo(lead, sample)",
                [lead, round((time_s - start) * 250.0)],
            )
            read = page.evaluate(f"{_ME}.read()")
            wanted = float(stored.sel({"class": class_name, "lead": lead}).isel(sample=at))
            assert read["lead"] == lead
            assert read["time_s"] == pytest.approx(time_s, abs=1e-6)
            assert read["relevance"] == pytest.approx(wanted, abs=1e-4)
            sign = (
                1 if class_name == "AF" else -1
            )  # relevance here is the input itself, or minus it
            assert read["mv"] == pytest.approx(sign * wanted, abs=2e-3)
            assert f"{lead}, {time_s:.3f} s: " in read["text"]
            assert f"relevance for {class_name}" in read["text"]


def test_relevance_goes_off_and_on_and_changes_with_the_class(page):
    shown = page.get_by_role("combobox", name="Relevance for")
    assert shown.input_value() == "AF"
    coloured = _picture(page)
    assert page.locator(".record-scale").is_visible()
    assert "completeness error 1.2 %" in page.locator(".record-told").inner_text()
    shown.select_option("")
    _next_frame(page)
    plain = _picture(page)
    assert plain != coloured
    assert not page.locator(".record-scale").is_visible()
    shown.select_option("LBBB")
    _next_frame(page)
    assert _picture(page) not in (plain, coloured)
    shown.select_option("AF")
    _next_frame(page)
    assert _picture(page) == coloured


def test_the_table_by_lead_says_what_the_colours_say(page, study):
    dataset = xr.open_zarr(study[0] / "relevance.zarr", consolidated=False, chunks=None)
    stored = dataset["relevance"].isel(record=0).sel({"class": "AF"}).load()
    assert str(dataset["record_id"].values[0]) == "first"
    page.get_by_text("Relevance by lead").click()
    rows = page.locator(".record-leads tbody tr")
    shares = 0.0
    for at in range(12):
        lead, total, share = (rows.nth(at).locator("th, td").nth(k).inner_text() for k in range(3))
        wanted = float(stored.sel(lead=lead).sum())
        assert float(total.replace("−", "-")) == pytest.approx(wanted, rel=0.01, abs=0.1)
        shares += float(share.removesuffix(" %"))
    assert shares == pytest.approx(100, abs=1)
    page.get_by_role("combobox", name="Relevance for").select_option("")
    assert not page.locator(".record-leads").is_visible()


def test_two_fingers_zoom(file, open_page):
    page = open_page(file, width=400, height=800, touch=True)
    page.locator(".record-frame").scroll_into_view_if_needed()
    box = page.locator(".record-frame").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + 120
    before = page.evaluate(f"{_ME}.view().scale")
    fingers = page.context.new_cdp_session(page)

    def touch(kind, apart):
        points = [{"x": x - apart, "y": y}, {"x": x + apart, "y": y}] if apart else []
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", 40)
    for apart in (50, 60, 80):
        touch("touchMove", apart)
    touch("touchEnd", 0)
    page.until(f"Math.abs({_ME}.view().scale / {before} - 2) < 0.05")
    assert page.evaluate("visualViewport.scale") == 1  # the sheet grew, not the page


def test_red_speaks_for_and_blue_against(page):
    """Relevance is the signal here, so R waves upward are red for AF and blue for LBBB."""
    page.get_by_role("combobox", name="Record", exact=True).select_option(label="second: AF, LBBB")
    count = """(red) => {
      const c = document.querySelector('.record-frame canvas');
      const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
      let n = 0;
      for (let i = 0; i < d.length; i += 4) {
        const [r, b] = [d[i], d[i + 2]];
        if (red ? r > 120 && b < 60 : b > 120 && r < 60) n += 1;
      }
      return n; }"""
    _next_frame(page)
    red, blue = page.evaluate(count, True), page.evaluate(count, False)
    page.get_by_role("combobox", name="Relevance for").select_option("LBBB")
    _next_frame(page)
    assert red > 3 * blue
    assert page.evaluate(count, False) > 3 * page.evaluate(count, True)


def test_the_keyboard_reads_zooms_and_pans(page):
    frame = page.locator(".record-frame")
    frame.focus()
    page.keyboard.press("ArrowRight")
    first = page.evaluate(f"{_ME}.read()")
    assert (first["lead"], first["time_s"]) == ("I", pytest.approx(0.6, abs=0.004))
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("ArrowDown")
    moved = page.evaluate(f"{_ME}.read()")
    assert moved["lead"] == "II"
    assert moved["time_s"] == pytest.approx(first["time_s"] + 0.004 + 0.1, abs=1e-6)
    assert page.locator(".record-readout").inner_text() == moved["text"]
    before = page.evaluate(f"{_ME}.view()")
    for _ in range(4):
        page.keyboard.press("+")
    zoomed = page.evaluate(f"{_ME}.view()")
    assert zoomed["scale"] == pytest.approx(before["scale"] * 1.25**4)
    page.keyboard.press("PageDown")
    assert page.evaluate(f"{_ME}.view()")["left"] > zoomed["left"]
    page.keyboard.press("End")
    assert page.evaluate(f"{_ME}.read()")["time_s"] == pytest.approx(10.0 - 0.004)
    page.keyboard.press("0")
    _next_frame(page)
    fitted = page.evaluate(f"{_ME}.view()")
    assert fitted["scale"] < zoomed["scale"]
    assert fitted["left"] == 0
    page.keyboard.press("Escape")
    assert page.locator(".record-readout").inner_text() == ""


def test_buttons_wheel_and_pointer_do_the_same(page):
    scale = page.evaluate(f"{_ME}.view().scale")
    page.get_by_role("button", name="Zoom in").click()
    assert page.evaluate(f"{_ME}.view().scale") == pytest.approx(1.25 * scale)
    page.get_by_role("button", name="Fit to the width").click()
    _next_frame(page)
    box = page.locator(".record-frame").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)
    read = page.evaluate(f"{_ME}.read()")
    assert read["lead"] == "I"
    assert 4.0 < read["time_s"] < 6.0
    page.keyboard.down("Control")
    page.mouse.wheel(0, -250)
    page.keyboard.up("Control")
    page.until(f"{_ME}.view().scale > {scale} * 1.5")
    # What was under the pointer stays there.
    page.mouse.move(box["x"] + box["width"] / 2 + 1, box["y"] + 41)
    assert page.evaluate(f"{_ME}.read().time_s") == pytest.approx(read["time_s"], abs=0.06)


def test_paper_keeps_its_proportions_at_any_zoom(page):
    """25 mm a second and 10 mm a millivolt: the pulse of 1 mV is twice as high as 200 ms are wide.

    The width of the sheet follows the time, and both axes have one scale.
    """
    sizes = []
    for _ in range(3):
        view = page.evaluate(f"{_ME}.view()")
        width = page.evaluate("document.querySelector('.record-frame > div').offsetWidth")
        sizes.append(width / view["scale"])
        page.get_by_role("button", name="Zoom in").click()
    seconds = 10.0 - 0.6
    assert sizes == pytest.approx([12 + 25 * seconds + 2] * 3, abs=0.6)


def test_the_layout_of_two_columns_shows_the_same_record(page):
    before = _picture(page)
    page.get_by_role("combobox", name="Layout").select_option("6x2")
    _next_frame(page)
    assert page.evaluate(f"{_ME}.view().layout") == "6x2"
    assert _picture(page) != before
    page.evaluate(f"{_ME}.moveTo('V6', 100)")
    assert page.evaluate(f"{_ME}.read().lead") == "V6"


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1600, "light"), (320, "light")])
def test_every_reader_can_use_it_on_any_screen(file, open_page, axe, width, scheme):
    page = open_page(file, width=width, height=900, colour_scheme=scheme)
    page.locator(".record-frame").focus()
    page.keyboard.press("ArrowRight")
    _next_frame(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert axe(page) == []
    assert page.console_errors == []


def test_a_viewer_that_is_given_another_record_shows_that_one(page):
    page.evaluate(
        """() => {
          const element = document.querySelector('#component');
          element.replaceChildren();
          Leadlight.record(element, Leadlight.data('given')[1]);
        }"""
    )
    _next_frame(page)
    assert page.locator(".record-facts strong").inner_text() == "second"
    assert page.locator(".record-frame").count() == 1
    assert "of second" in page.locator(".record-frame canvas").get_attribute("aria-label")
    page.evaluate(f"{_ME}.moveTo('II', 0)")
    assert page.evaluate(f"{_ME}.read().time_s") == 0


def test_it_prints_as_the_whole_sheet(page, tmp_path):
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    sheet = page.evaluate("document.querySelector('.record-frame > div').offsetHeight")
    drawn = page.evaluate("document.querySelector('.record-frame canvas').offsetHeight")
    assert drawn == pytest.approx(sheet, abs=2)
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.pdf(path=tmp_path / "record.pdf")
    assert (tmp_path / "record.pdf").stat().st_size > 20_000
