"""The study's page in a browser: whole on any screen, in both schemes, by keyboard and on paper."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))
from gene_study import first_study, variant, write_second_study

from leadlight.cohort.measuring import measure_cohort
from leadlight.latent.encoding import encode_study
from leadlight.latent.model import load_latent_model
from leadlight.report.page import write_report
from leadlight.simulate.population import simulate_recordings

PARTS = ["overview", "explain", "factors", "genes", "method"]
SIZES = [(360, "light"), (360, "dark"), (1600, "light"), (1600, "dark")]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a small study that has every part: both studies and the join."""
    study = tmp_path_factory.mktemp("page") / "ward"
    recordings = {
        group: [
            one.recording
            for one in simulate_recordings(
                2, seed=7, first=first, rhythms={rhythm: 1.0}, conductions={"normal": 1.0}
            )
        ]
        for group, rhythm, first in (("AF", "AF", 0), ("NORM", "sinus", 10))
    }
    first_study().write_study(study, recordings, ("AF",))
    measure_cohort(study)
    encode_study(study, load_latent_model())
    write_second_study(study)
    return write_report(study)


@pytest.fixture
def page(report: Path, open_page: Callable[..., Any]) -> Any:
    return open_page(report)


@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_it_opens_without_complaint_on_any_screen(
    report: Path, open_page: Callable[..., Any], axe: Callable[[Any], list[str]], width: int,
    scheme: str,
) -> None:  # fmt: skip
    page = open_page(report, width=width, colour_scheme=scheme)
    assert page.console_errors == []
    wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0
    assert page.locator("canvas").count() >= 4  # record, explorer, plot, the locus's ECG
    assert axe(page) == []


def test_it_is_small_and_opens_fast(report: Path, page: Any) -> None:
    assert report.stat().st_size < 15_000_000
    assert page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd") < 8000


def test_the_bar_leads_to_five_parts_and_marks_where_one_is(page: Any) -> None:
    links = page.locator("nav.parts a")
    assert [a.get_attribute("href") for a in links.all()] == [f"#{part}" for part in PARTS]
    for part in PARTS:
        page.locator(f"nav.parts a[href='#{part}']").click()
        page.wait_for_function(
            "(part) => document.querySelector(`nav.parts a[href='#${part}']`)"
            ".getAttribute('aria-current')",
            arg=part,
        )
        assert page.locator("nav.parts a[aria-current]").count() == 1
        top = page.evaluate(f"document.getElementById('{part}').getBoundingClientRect().top")
        bar = page.evaluate("document.querySelector('nav.parts').getBoundingClientRect().bottom")
        assert top >= bar - 1 or part == PARTS[-1]  # the bar covers no heading


def test_every_link_leads_somewhere(report: Path, page: Any) -> None:
    hrefs = page.evaluate(
        "[...document.querySelectorAll('a[href]')].map((a) => a.getAttribute('href'))"
    )
    ids = set(page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)"))
    assert len(ids) == page.evaluate("document.querySelectorAll('[id]').length")  # none twice
    inside = [href[1:] for href in hrefs if href.startswith("#")]
    assert len(inside) > 15
    assert set(inside) <= ids
    files = [href for href in hrefs if not href.startswith("#")]
    assert any(href.startswith("../effects/") for href in files)
    assert all((report.parent / href).is_file() for href in files)


def test_tables_sort_as_numbers_with_what_is_unknown_last(page: Any) -> None:
    table = page.locator("table.loci")
    head = table.get_by_role("button", name="−log₁₀ p")

    def column() -> list[str]:
        return [row.inner_text() for row in table.locator("tbody tr td:nth-child(3)").all()]

    head.click()
    assert column() == ["9.0", "14.0"]
    assert table.locator("thead th[aria-sort=ascending]").inner_text().startswith("−log")
    head.click()
    assert column() == ["14.0", "9.0"]
    place = table.get_by_role("button", name="Place")
    place.click()
    found = [row.inner_text() for row in table.locator("tbody tr td:nth-child(2)").all()]
    assert found == ["1:10,600,000", "3:11,400,000"]
    for _ in range(2):
        table.get_by_role("button", name="ECG").click()
        assert table.locator("tbody tr").last.locator("td").nth(5).inner_text() == "–"


def _choose(page: Any, name: str, option: str) -> None:
    labels = page.locator("[data-component=manhattan] .controls label")
    labels.filter(has_text=re.compile(f"^{name} ")).locator("select").select_option(label=option)


def _view(page: Any, other_than: str = "") -> str:
    """What the plot says of its view, once that is something else."""
    page.wait_for_function(
        "(was) => document.querySelector('.mh-said').textContent !== was", arg=other_than
    )
    return str(page.locator(".mh-said").text_content())


def test_the_plot_zooms_by_buttons_and_by_keys(page: Any) -> None:
    whole = _view(page)
    assert "the whole genome" in whole
    assert "2 of 2 loci" in whole
    page.get_by_role("button", name="Zoom in").last.click()
    closer = _view(page, whole)
    plot = page.locator(".mh-plot")
    plot.focus()
    page.keyboard.press("+")
    closest = _view(page, closer)
    assert closest != whole
    page.keyboard.press("ArrowRight")
    moved = _view(page, closest)
    page.keyboard.press("ArrowLeft")
    back = _view(page, moved)
    page.keyboard.press("0")
    assert _view(page, back) == whole
    _choose(page, "Show", "chromosome 3")
    assert "chromosome 3, 10 to 12.998 Mb; 1 of 2 loci" in _view(page, whole)


def test_the_wheel_zooms_only_where_the_reader_asked_for_it(page: Any) -> None:
    plot = page.locator(".mh-plot")
    plot.scroll_into_view_if_needed()
    plot.hover()
    before = page.evaluate("scrollY")
    page.mouse.wheel(0, 120)
    page.wait_for_function("(y) => scrollY !== y", arg=before)  # the page scrolls
    assert "the whole genome" in _view(page)
    plot.click(position={"x": 300, "y": 200})
    page.mouse.wheel(0, -400)
    page.wait_for_function(
        "!document.querySelector('.mh-said').textContent.includes('whole genome')"
    )


def test_a_locus_opens_its_card_by_keyboard(page: Any) -> None:
    card = page.locator("section.locus h4")
    assert "SCN10A" in card.inner_text()  # the strongest is open from the beginning
    page.locator(".mh-mark[tabindex='0']").focus()
    page.keyboard.press("Home")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("NOS1AP")
    page.keyboard.press("Enter")
    assert "NOS1AP" in card.inner_text()
    assert page.evaluate("document.activeElement.tagName") == "H4"
    assert "has not been drawn" in page.locator("section.locus").inner_text()
    page.locator(".mh-mark[tabindex='0']").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    text = page.locator("section.locus").inner_text()
    assert variant("SCN10A") in card.inner_text()
    assert "−5.0 ms [−6.0, −4.0]" in text
    assert "−0.40 [−0.50, −0.30]" in text
    assert "II at −150 ms" in text
    assert f"(covers 96 %): 3 variants, likeliest {variant('SCN10A')} (probability 0.7)" in text
    whole = _view(page)
    page.get_by_role("button", name="Zoom the plot to it").click()
    assert "chromosome 3, 11.15 to 11.65 Mb; 1 of 2 loci" in _view(page, whole)


def test_the_overview_and_the_table_open_loci_too(page: Any) -> None:
    title = page.locator("section.locus h4")
    page.locator("table.loci").get_by_role("button", name="Open NOS1AP").click()
    assert "NOS1AP" in title.inner_text()
    page.get_by_role("link", name="Locus SCN10A").first.click()
    assert "SCN10A" in title.inner_text()
    assert page.evaluate("document.activeElement.tagName") == "H4"


def test_other_sets_and_tests_are_drawn_when_asked_for(page: Any) -> None:
    picture = "document.querySelector('.mh-plot canvas').toDataURL()"
    before = page.evaluate(picture)
    _choose(page, "Traits", "permuted (1), null control")
    page.wait_for_function(f"(was) => {picture} !== was", arg=before)
    assert "permuted" in _view(page)
    null = page.evaluate(picture)
    _choose(page, "Traits", "factors (3)")
    _choose(page, "Test", "least p of its single traits")
    page.wait_for_function(f"(was) => {picture} !== was", arg=null)
    plain = page.evaluate(picture)
    _choose(page, "Mark", "where factor_02 is strongest")
    page.wait_for_function(f"(was) => {picture} !== was", arg=plain)


def test_drawings_follow_the_scheme_and_go_light_for_paper(page: Any) -> None:
    colours = """[...document.querySelectorAll('.mh-plot canvas, .effect-ecg canvas')]
        .map((c) => c.toDataURL())"""
    light = page.evaluate(colours)
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(300)
    dark = page.evaluate(colours)
    assert all(a != b for a, b in zip(light, dark, strict=True))
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("Leadlight.colours().ink") == "#1f2328"
    closed = "document.querySelectorAll('details:not([open])').length"
    printed = page.evaluate(closed)
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(closed) > printed  # tables are opened for paper, and closed again
    assert page.evaluate("Leadlight.colours().ink") == "#e6e8ea"


def test_it_prints_whole(report: Path, open_page: Callable[..., Any], tmp_path: Path) -> None:
    page = open_page(report, colour_scheme="dark")
    pdf = tmp_path / "page.pdf"
    page.pdf(path=str(pdf), format="A4")
    assert 100_000 < pdf.stat().st_size < 15_000_000
    assert len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes())) >= 8
    if shutil.which("pdftotext") is None:
        return
    done = subprocess.run(
        ["pdftotext", str(pdf), "-"], capture_output=True, text=True, timeout=60, check=True
    )
    for told in ("Overview", "Explain", "Factors", "Genes", "Method and limits", "SCN10A",
                 "What this does not show", "Calibration"):  # fmt: skip
        assert told in done.stdout
    assert "Zoom in" not in done.stdout


def test_the_skip_link_jumps_over_the_bar(page: Any) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#main"


def test_a_part_that_cannot_be_drawn_says_so_and_stops_no_other(page: Any) -> None:
    page.evaluate(
        """() => {
            const broken = document.createElement('div');
            broken.dataset.component = 'broken';
            broken.dataset.source = 'qq';
            document.querySelector('main').prepend(broken);
            document.querySelectorAll('[data-component]').forEach((one) => {
                if (one !== broken && one.dataset.component !== 'qq') one.remove();
                else one.replaceChildren();
            });
            Leadlight.broken = () => { throw new Error('no beat'); };
            Leadlight.place();
        }"""
    )
    assert "could not be drawn: no beat" in page.locator("[data-component=broken]").inner_text()
    assert page.locator("[data-component=qq] svg").count() == 3


def test_names_from_files_stay_text(page: Any) -> None:
    page.evaluate(
        """() => {
            const hostile = "<img src=x onerror=\\"document.title='gone'\\">";
            const locus = { ...Leadlight.data('manhattan').loci[0] };
            for (const key of ['name', 'gene', 'lead', 'trait', 'label']) locus[key] = hostile;
            for (const key of ['genes', 'traits', 'labels']) locus[key] = [hostile, hostile];
            locus.published = { traits: [hostile], references: [hostile] };
            locus.effect = { ...locus.effect, step: hostile };
            const holder = document.querySelector('.mh-card');
            holder.replaceChildren();
            Leadlight.locus(holder, locus);
        }"""
    )
    assert page.locator(".mh-card img").count() == 0
    assert "<img src=x" in page.locator(".mh-card h4").inner_text()
    assert page.title() != "gone"
