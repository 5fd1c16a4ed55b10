"""The factor explorer in a browser: it draws what the model draws, at once, for every reader."""

import base64
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from drawn_study import LOCUS, component_page, covariance_of, shift_of, write_explorer_study

from leadlight.latent.model import load_latent_model
from leadlight.report.explorer_data import SCRIPTS, explorer_data

# Microvolt: what the file's rounding costs at worst within ±4 SD of all factors at once.
_AS_THE_MODEL_UV = 5.0
_ME = "document.querySelector('#component').leadlight"
# A sixtieth of a second; the quickest of many, because other tests may have the processor.
_MOST_MS = 16.0


@pytest.fixture(scope="module")
def model():
    return load_latent_model()


@pytest.fixture(scope="module")
def given(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("explorer") / "study"
    write_explorer_study(folder, model)
    data = explorer_data(folder)
    page = component_page(folder.parent / "explorer.html", "explorer", SCRIPTS, data)
    return page, data


@pytest.fixture
def page(given, open_page):
    return open_page(given[0])


def _picture(page):
    """What is on the canvas, as a string that changes with any pixel."""
    return page.evaluate("document.querySelector('#component canvas').toDataURL()")


def _next_frame(page):
    page.evaluate("new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)))")


def test_the_page_decodes_any_setting_as_the_model_does(page, model):
    rng = np.random.default_rng(4)
    settings = np.concatenate(
        [rng.standard_normal((6, 24)), rng.uniform(-4, 4, (4, 24)), np.zeros((1, 24))]
    )
    drawn = np.array(page.evaluate(f"(all) => all.map((f) => {_ME}.decode(f))", settings.tolist()))
    wrong_uv = 1e3 * np.abs(drawn - model.decode_twelve(settings))
    assert wrong_uv.max() < _AS_THE_MODEL_UV
    assert wrong_uv[:6].mean() < 0.3
    one, two, three = drawn[:, 0], drawn[:, 1], drawn[:, 2]
    np.testing.assert_allclose(three, two - one, atol=1e-12)
    assert page.console_errors == []


def test_moving_a_slider_by_keyboard_and_by_value_redraws(page):
    slider = page.get_by_role("slider", name="1. R in V4")
    before = _picture(page)
    slider.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    _next_frame(page)
    by_key = _picture(page)
    assert by_key != before
    assert page.evaluate(f"{_ME}.sliders()[0]") == pytest.approx(0.5)
    assert slider.get_attribute("aria-valuetext").startswith("+0.5 SD, above ")
    page.get_by_role("slider", name="2. T in V2").fill("-2.5")
    _next_frame(page)
    assert _picture(page) not in (before, by_key)
    assert page.evaluate(f"{_ME}.sliders()[1]") == -2.5
    assert "factor 2 (T in V2) −2.5" in page.locator("#component canvas").get_attribute(
        "aria-label"
    )
    assert page.locator("output").nth(1).inner_text() == "−2.50"


def test_reset_brings_the_mean_beat_back_to_the_pixel(page):
    before = _picture(page)
    page.get_by_role("slider", name="3. T in V5").fill("3")
    page.get_by_role("combobox", name="Add a locus").select_option("0")
    page.get_by_role("combobox", name="Start from").select_option("0")
    _next_frame(page)
    assert _picture(page) != before
    page.get_by_role("button", name="Reset").click()
    _next_frame(page)
    assert page.evaluate(f"{_ME}.total()") == [0.0] * 24
    assert _picture(page) == before


def test_a_locus_adds_what_its_table_says(page, model):
    page.get_by_role("slider", name="4. S in V2").fill("1")
    page.get_by_role("combobox", name="Add a locus").select_option("0")
    page.get_by_label("Times one copy of C").fill("3")
    _next_frame(page)
    wanted = 3 * shift_of(model)
    wanted[3] += 1
    np.testing.assert_allclose(page.evaluate(f"{_ME}.total()"), wanted, atol=1e-9)
    told = page.locator(".explorer-loci").inner_text()
    assert "1,234 people" in told
    assert "AF −0.25 [−0.30, −0.20]" in told
    assert "LBBB" not in told  # its interval holds zero
    # The difference is drawn, against the same beat without the locus.
    assert page.get_by_label("draw the difference").is_checked()
    assert f"the beat minus the beat without {LOCUS}" in page.locator("#component").inner_text()
    assert page.get_by_role("link", name=f"Card of {LOCUS}").count() == 1


def test_the_band_of_a_locus_is_what_its_covariance_leaves_open(page, model):
    page.get_by_role("combobox", name="Add a locus").select_option("0")
    page.get_by_label("Times one copy of C").fill("2")
    page.until(f"{_ME}.band() !== null")
    page.get_by_text("with the 95 % band of the shift").wait_for()
    band_uv = np.array(page.evaluate(f"{_ME}.band()"))
    here = 2 * shift_of(model)
    draws = np.random.default_rng(2).multivariate_normal(np.zeros(24), covariance_of(model), 400)
    spread = (model.decode_twelve(here + draws) - model.decode_twelve(here[None])).std(axis=0)
    wanted = 1.96 * 2 * 1e3 * spread
    assert band_uv.sum() == pytest.approx(wanted.sum(), rel=0.08)
    assert np.corrcoef(band_uv.ravel(), wanted.ravel())[0, 1] > 0.98


def test_a_record_stands_at_its_own_factors_before_its_real_beat(page, given):
    data = given[1]
    for at, record in enumerate(data["records"]):
        page.get_by_role("combobox", name="Start from").select_option(str(at))
        _next_frame(page)
        assert page.evaluate(f"{_ME}.sliders()") == record["factors"]
    text = page.locator("#component").inner_text()
    assert f"the real beat of {record['record_id']}" in text
    kind = "simulated" if record["simulated"] else "a real recording"
    assert f"{record['record_id']} is {kind}" in text
    real = np.frombuffer(base64.b64decode(record["beat"]), "<i2").reshape(8, 600) / 1e3
    drawn = np.array(page.evaluate(f"{_ME}.decode({_ME}.sliders())"))[[0, 1, 6, 7, 8, 9, 10, 11]]
    own = slice(*record["own"])
    error_uv = 1e3 * np.sqrt(((drawn - real)[:, own] ** 2).mean())
    assert error_uv == pytest.approx(record["error_uv"], rel=0.15)


def test_a_redraw_fits_into_a_frame(page):
    times = page.evaluate(
        f"Array.from({{length: 30}}, (_, i) => ({_ME}.set(i % 24, 1.5), {_ME}.redraw()))"
    )
    print(f"decode and draw: median {np.median(times):.1f} ms, best {min(times):.1f} ms")
    assert min(times) < _MOST_MS


def test_measurements_read_off_the_beat_follow_the_factors(page):
    page.get_by_text("Read off the drawn beat").click()
    _next_frame(page)

    def highest():
        row = page.locator(".explorer-measured tbody tr").nth(9)
        assert row.locator("th").inner_text() == "V4"
        return float(row.locator("td").first.inner_text().replace("−", "-"))

    before = highest()
    page.get_by_role("slider", name="1. R in V4").fill("2")
    _next_frame(page)
    assert highest() > before + 0.3
    assert "approximate" in page.locator(".explorer-measured summary").inner_text()
    assert "QRS axis by net area" in page.locator(".explorer-measured").inner_text()


def test_a_factor_swings_only_where_the_reader_allows_movement(given, open_page):
    still = open_page(given[0])
    assert still.get_by_role("button", name="Swing factor 1").is_disabled()
    moving = open_page(given[0], reduced_motion="no-preference")
    before = _picture(moving)
    moving.get_by_role("button", name="Swing factor 1").click()
    moving.until(f"Math.abs({_ME}.sliders()[0]) > 0.5")
    assert _picture(moving) != before
    moving.get_by_role("button", name="Swing factor 1").click()
    _next_frame(moving)
    assert moving.evaluate(f"{_ME}.sliders()[0]") == 0
    assert _picture(moving) == before


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1600, "light"), (320, "light")])
def test_every_reader_can_use_it_on_any_screen(given, open_page, axe, width, scheme, tmp_path):
    page = open_page(given[0], width=width, height=900, colour_scheme=scheme)
    page.get_by_role("combobox", name="Add a locus").select_option("0")
    page.get_by_text("Read off the drawn beat").click()
    _next_frame(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert axe(page) == []
    assert page.console_errors == []
    page.screenshot(path=tmp_path / f"explorer-{width}-{scheme}.png", full_page=True)


def test_the_beat_stays_in_sight_below_what_stays_on_top(page):
    page.evaluate(
        """() => {
          const nav = document.querySelector('nav');
          nav.style.cssText = 'position: sticky; top: 0; z-index: 2';
          document.documentElement.style.scrollBehavior = 'auto';
        }"""
    )
    page.evaluate(f"{_ME}.redraw()")
    page.get_by_role("slider").nth(20).scroll_into_view_if_needed()
    page.evaluate("scrollBy(0, 200)")
    beat = page.locator("#component canvas").bounding_box()
    nav = page.locator("nav").bounding_box()
    assert nav["y"] == pytest.approx(0, abs=1)
    assert beat["y"] >= nav["height"]
    assert beat["y"] + beat["height"] < 900


def test_colours_follow_the_scheme_at_once(page):
    light = _picture(page)
    page.emulate_media(color_scheme="dark")
    _next_frame(page)
    dark = _picture(page)
    assert dark != light
    page.emulate_media(color_scheme="light")
    _next_frame(page)
    assert _picture(page) == light
