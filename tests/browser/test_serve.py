"""The served pages in a browser: they open, draw, answer to keys and clicks, and break no rule."""

import json
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "serve"))
from study_to_serve import FACTORS, HOSTILE, write_served_study

from leadlight.serve.server import leading_page, served

PAGES = (
    "/study", "/records?size=25&label=AF", "/records/plain001", "/factors",
    "/loci/3:38550000-38800000", "/variants/3:38737659", "/api", "/records/nobody",
)  # fmt: skip


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    study = write_served_study(tmp_path_factory.mktemp("browser") / "a-study")
    (study / "report" / "index.html").unlink()  # the first page is then the server's own
    with served(study) as one:
        yield one


@pytest.fixture
def visit(running, open_page):
    """Open a page as a person does: with the token first, then by its address."""

    def opened(path, **kwargs):
        page = open_page(running.url, **kwargs)
        assert page.url == f"http://127.0.0.1:{running.port}/study"
        page.goto(f"http://127.0.0.1:{running.port}{path}", wait_until="load")
        return page

    return opened


def _ink(page, selector="main canvas") -> str:
    """What a canvas shows, as text that differs when the picture does."""
    return str(page.eval_on_selector(selector, "canvas => canvas.toDataURL()"))


def test_pages_open_without_a_fault(visit, axe, tmp_path):
    page = visit(PAGES[0])
    for number, path in enumerate(PAGES):
        page.goto(f"http://{page.url.split('/')[2]}{path}", wait_until="load")
        page.wait_for_timeout(100)
        assert axe(page) == [], path
        page.screenshot(path=tmp_path / f"{number}.png", full_page=True)
    # The one page that is not there says so with its status, which a browser writes down.
    assert [one for one in page.console_errors if "404" not in one] == []
    assert len(page.console_errors) <= 1


def test_pages_fit_a_phone_in_the_dark(visit, axe):
    page = visit(PAGES[0], width=320, height=640, colour_scheme="dark")
    for path in PAGES[:6]:
        page.goto(f"http://{page.url.split('/')[2]}{path}", wait_until="load")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        if path in PAGES[1:3]:
            assert axe(page) == [], path
    assert page.console_errors == []


def test_without_the_token_a_browser_is_shown_nothing(running, open_page):
    page = open_page(f"http://127.0.0.1:{running.port}/records")
    assert "token" in page.inner_text("body")
    assert "plain" not in page.inner_text("body")


def test_the_token_is_gone_from_the_address_and_scripts_cannot_read_the_cookie(visit):
    page = visit("/study")
    assert "token" not in page.url
    assert page.evaluate("document.cookie") == ""
    assert page.context.cookies()[0]["httpOnly"]


def test_a_record_opens_from_the_table_and_shows_its_leads(visit):
    page = visit("/records")
    page.click("table.records >> text=plain001")
    page.wait_for_selector("main canvas")
    assert page.inner_text("h1") == "plain001"
    assert page.get_by_role("button", name="LBBB", exact=True).count() == 1
    assert page.get_by_role("button", name="AF", exact=True).count() == 0  # it is stored
    assert page.console_errors == []


def test_hostile_names_run_nothing(visit):
    page = visit("/records?size=100")
    assert page.title().startswith("Records")
    for name in HOSTILE[:4] + HOSTILE[-3:]:
        page.goto(
            page.evaluate(
                "name => [...document.querySelectorAll('table.records a')]"
                ".find((one) => one.textContent === name).href",
                name,
            )
        )
        assert page.title().startswith(name.strip()[:5]), name
        assert page.inner_text("h1").split() == name.split()
        page.go_back()
    assert page.console_errors == []


def test_the_filter_works_by_keyboard(visit):
    page = visit("/records")
    page.focus("input[name=search]")
    page.keyboard.type("plain02")
    page.keyboard.press("Enter")
    page.wait_for_url("**search=plain02**")
    names = page.eval_on_selector_all(
        "table.records tbody th", "all => all.map((one) => one.textContent)"
    )
    assert names == [f"plain02{digit}" for digit in range(10)]


def test_a_region_zooms_and_tells_the_variant_under_the_pointer(visit):
    page = visit("/loci/3:38550000-38800000")
    whole = _ink(page)
    page.click("text=Zoom in")
    page.wait_for_timeout(100)
    assert _ink(page) != whole
    page.click("text=Whole region")
    page.wait_for_timeout(100)
    page.focus("main canvas")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert "−log₁₀ p" in page.inner_text(".pointed")
    assert "variants" in page.get_attribute("main canvas", "aria-label")
    page.select_option("select[name=trait]", "factor_02")
    page.click("form[aria-label='Which results'] button")
    page.wait_for_url("**trait=factor_02**")
    assert "factor_02" in page.inner_text(".lead")
    page.click("table >> text=38,737,659")
    page.wait_for_url("**/variants/**")
    assert page.inner_text("h1") == "3:38737659:C:T"
    assert page.console_errors == []


def test_a_variant_is_drawn_on_the_mean_beat_too(visit):
    page = visit("/variants/3:38737659")
    difference = _ink(page)
    page.check("input[type=checkbox]")
    page.wait_for_timeout(100)
    on_beat = _ink(page)
    assert on_beat != difference
    page.focus("input[type=range]")
    page.keyboard.press("End")
    page.wait_for_timeout(100)
    assert _ink(page) != on_beat
    page.click("text=add it to any factor setting")
    page.wait_for_url("**/factors?variant=**")
    assert "3:38737659:C:T" in page.inner_text("main")
    assert page.console_errors == []


def test_the_explorer_redraws_for_any_setting_as_the_server_decodes_it(visit, running):
    page = visit("/factors")
    before = _ink(page)
    slider = page.locator("input[type=range]").first
    slider.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.wait_for_timeout(100)
    assert _ink(page) != before
    # The page's own decoder and the server's say the same.
    found = page.evaluate(
        """async (names) => {
          const asked = await fetch("/api/factors?factor_01=1.5&factor_20=-1");
          const theirs = (await asked.json()).beat_uv;
          const data = Leadlight.data("explorer");
          const setting = Float64Array.from(names, (name) =>
            ({ factor_01: 1.5, factor_20: -1 })[name] || 0);
          const mine = Leadlight.decoder(data.decoder, data.model).twelve(setting);
          let worst = 0;
          mine.forEach((lead, row) => lead.forEach((mv, at) => {
            worst = Math.max(worst, Math.abs(1e3 * mv - theirs[row][at]));
          }));
          return worst;
        }""",
        list(FACTORS),
    )
    assert found < 0.05
    assert page.console_errors == []


def test_the_manhattan_plot_stands_on_the_loci_page_and_its_table_leads_on(visit):
    page = visit("/loci")
    page.wait_for_timeout(200)
    assert page.console_errors == []
    assert page.locator("main canvas").count() >= 1
    page.click("table >> text=38,737,659")
    page.wait_for_url("**/loci/3%3A**")
    page.goto(page.url.rpartition("/loci/")[0] + "/loci")
    page.fill("input[name=place]", "3:38550000-38800000")
    page.press("input[name=place]", "Enter")
    page.wait_for_url("**/loci/3:38550000-38800000")


@pytest.mark.slow
def test_a_record_is_explained_on_demand(visit):
    page = visit("/records/plain005")
    button = page.get_by_role("button", name="SB", exact=True)
    button.click()
    page.wait_for_selector("text=are running", timeout=30_000)
    # The page comes again with the answer, and then there is nothing left to ask for.
    button.wait_for(state="detached", timeout=120_000)
    page.wait_for_load_state("load")
    classes = page.evaluate("Leadlight.data('record').classes")
    assert [one["name"] for one in classes if one["relevance"]] == ["SB"]
    assert json.loads(page.text_content("#data-explain"))["can"].count("SB") == 0
    assert page.console_errors == []


def test_an_address_with_a_hostile_question_is_text(visit):
    page = visit("/records?search=" + quote("<img src=x onerror=alert(1)>"))
    assert page.input_value("input[name=search]") == "<img src=x onerror=alert(1)>"
    assert page.locator("main img").count() == 0
    assert page.console_errors == []


def test_a_link_of_another_page_leads_in_too(running, open_page, tmp_path):
    """As from a terminal in a browser, or from the page that `--open` opens."""
    page = open_page(leading_page(running.url))
    page.wait_for_url(f"http://127.0.0.1:{running.port}/study")
    assert page.inner_text("h1") == "a-study"
