import base64
import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from leadlight.errors import LeadlightError
from leadlight.report.page import write_report

HOSTILE = "<script>alert('x')</script>&\"$\\frac{"


class _Page(HTMLParser):
    """Tags with their attributes, and the text outside of script and style.

    `raw` has the code of each script and style that runs; `data` the JSON that scripts read.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self.data: dict[str, str] = {}
        self._inside: list[str] | None = None
        self._name = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        given = dict(attrs)
        self._inside, self._name = None, ""
        if given.get("type") == "application/json":
            self._name = given["id"] or "nameless"
            self.data[self._name] = ""
        elif tag in self.raw:
            self._inside = self.raw[tag]
            self._inside.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside, self._name = None, ""

    def handle_data(self, data: str) -> None:
        if self._name:
            self.data[self._name] += data
        elif self._inside is not None:
            self._inside[-1] += data
        else:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="session")
def report(whole_study: Path) -> Path:
    return write_report(whole_study)


@pytest.fixture(scope="session")
def page(report: Path) -> _Page:
    return _Page(report.read_text(encoding="utf-8"))


def test_the_page_asks_for_nothing_outside_of_itself(report: Path, page: _Page) -> None:
    for tag, attrs in page.tags:
        for name in ("src", "srcset", "data", "action", "poster"):
            if value := attrs.get(name):
                assert value.startswith("data:image/png;base64,"), (tag, name, value[:40])
        assert "style" not in attrs
        assert not any(name.startswith("on") for name in attrs)
    for link in page.all("a"):
        href = link["href"] or ""
        assert href.startswith("#") or (report.parent / href).is_file()
    assert not page.all("link")
    assert not page.all("iframe")
    (style,), scripts = page.raw["style"], page.raw["script"]
    assert "url(" not in style
    assert "@import" not in style
    assert scripts
    for script in scripts:
        assert not re.search(r"fetch|XMLHttp|import\(|WebSocket|sendBeacon", script)


def test_the_policy_allows_only_the_pages_own_script_and_style(page: _Page) -> None:
    (policy,) = [
        m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    allowed = dict(part.split(" ", 1) for part in policy.split("; "))
    for kind, texts in page.raw.items():
        digests = [base64.b64encode(hashlib.sha256(t.encode()).digest()).decode() for t in texts]
        assert allowed[f"{kind}-src"].split(" ") == [f"'sha256-{digest}'" for digest in digests]


def test_each_picture_has_an_alternative_text_that_tells_the_finding(page: _Page) -> None:
    pictures = page.all("img")
    assert len(pictures) >= 16
    for picture in pictures:
        assert len(picture["alt"] or "") > 60
    alts = " ".join(picture["alt"] or "" for picture in pictures)
    assert "Cliff's delta" in alts
    assert "identity" in alts


def test_tables_have_captions_and_scoped_heads(report: Path, page: _Page) -> None:
    html = report.read_text(encoding="utf-8")
    assert html.count("<table") == html.count("<caption>")
    assert all(head.get("scope") in ("col", "row") for head in page.all("th"))


def test_headings_step_down_one_by_one(page: _Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


def test_each_figure_lies_beside_the_page_with_its_numbers(report: Path) -> None:
    figures = report.parent / "figures"
    pictures = {path.stem for path in figures.glob("*.png")}
    assert pictures == {path.stem for path in figures.glob("*.csv")}
    for wanted in ("identity-AF", "beats-AF-V1", "beats-LBBB-aVL", "ecg-AF-tp", "ecg-LBBB-tn",
                   "leads-absolute-share-AF", "leads-mean-relevance-LBBB"):  # fmt: skip
        assert wanted in pictures
    assert (report.parent / "provenance.json").is_file()


def test_the_page_says_what_it_is_and_counts_what_came_in(page: _Page) -> None:
    text = page.text
    assert "Research software, not a medical device" in text
    assert "The file is empty." in text
    assert "too-short" in text
    assert "25 mm/s" in text
    assert text.count("What this does not show.") >= 8


def test_the_page_stays_small(report: Path) -> None:
    assert 200_000 < report.stat().st_size < 15_000_000


def test_groups_with_records_of_the_training_are_marked(page: _Page) -> None:
    assert re.search(r"trained on: LBBB 1 of \d+\.", page.text)


def test_example_colours_lie_on_the_samples_that_the_model_saw(
    report: Path, whole_study: Path
) -> None:
    drawn = pl.read_csv(report.parent / "figures" / "ecg-AF-tp.csv")
    v1 = drawn.filter(pl.col("lead") == "V1")
    assert v1["time_s"].max() == pytest.approx(9.9975)
    # The fixture's relevance is the signal's size times a smooth shape, zero in the padding.
    total = drawn["relevance"].sum()
    records = pl.read_parquet(whole_study / "findings" / "records.parquet").filter(
        (pl.col("class") == "AF") & (pl.col("model") == "trained")
    )
    gap = (records["total_relevance"] - total).abs().min()
    assert gap < 1e-3 * abs(total)  # type: ignore[operator]
    quiet = v1.filter(pl.col("mv").abs() < 1e-3)["relevance"].abs().mean()
    loud = v1.filter(pl.col("mv").abs() > 0.3)["relevance"].abs().mean()
    assert quiet < 0.05 * loud  # type: ignore[operator]


def test_a_hostile_record_name_stays_text(make_study: Callable[..., Path]) -> None:
    study = make_study(rename=lambda name: f"{HOSTILE}{name}")
    html = write_report(study).read_text(encoding="utf-8")
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert" in html
    page = _Page(html)
    assert len(page.all("script")) == len(page.raw["script"]) + len(page.data)
    assert not any("alert(" in script for script in page.raw["script"])
    figures = study / "report" / "figures"
    assert all(re.fullmatch(r"[A-Za-z0-9-]+\.(png|csv)", path.name) for path in figures.iterdir())


def test_simulated_records_are_marked(make_study: Callable[..., Path]) -> None:
    study = make_study(groups=("AF", "NORM"), source_format="simulated")
    text = _Page(write_report(study).read_text(encoding="utf-8")).text
    assert "All 8 records are simulated" in text


def test_a_study_without_a_group_says_so(make_study: Callable[..., Path]) -> None:
    study = make_study(groups=("AF", "NORM"), classes=("AF", "LBBB"))
    text = _Page(write_report(study).read_text(encoding="utf-8")).text
    assert "There is no LBBB record among those used" in text
    assert "In AF against NORM" in text


def test_a_class_whose_rows_are_all_empty_gets_no_figures(
    make_study: Callable[..., Path],
) -> None:
    study = make_study(groups=("AF", "NORM"))
    empty = {
        "leads": ["mean_case", "cliffs_delta", "q_value"],
        "beats": ["mean_mv", "mean_relevance", "relevance_low"],
    }
    for name, columns in empty.items():
        path = study / "findings" / f"{name}.parquet"
        table = pl.read_parquet(path)
        nothing = table.with_columns(
            pl.lit("LBBB").alias("class"),
            *[pl.lit(None, dtype=pl.Float64).alias(column) for column in columns],
        )
        if name == "beats":
            nothing = nothing.with_columns(pl.col("group").replace("AF", "LBBB"))
        pl.concat([table, nothing]).write_parquet(path)
    (study / "findings" / "summary.json").write_text(
        json.dumps({"classes": ["AF", "LBBB"], "counts": {"excluded": {}, "refused_by_model": 7}})
    )
    text = _Page(write_report(study).read_text(encoding="utf-8")).text
    assert "No comparison of leads for LBBB." in text
    assert "No average beats for LBBB." in text
    assert "refused by the model's card7" in text
    assert not list((study / "report" / "figures").glob("*LBBB*"))


def test_a_study_without_controls_says_so(make_study: Callable[..., Path]) -> None:
    study = make_study(groups=("AF",))
    text = _Page(write_report(study).read_text(encoding="utf-8")).text
    assert "There is no NORM record among those used" in text


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        (("findings", "relevance.zarr", "classify"), "Nothing has been explained"),
        (("findings", "relevance.zarr"), "AUROC"),
        (("relevance.zarr",), "no record can be coloured"),
        (("cohort.zarr", "records.parquet"), "In AF against NORM"),
        (("findings/beats.parquet", "findings/summary.json"), "No average beats"),
    ],
)
def test_a_study_with_parts_missing_gets_a_page_of_what_there_is(
    make_study: Callable[..., Path], gone: tuple[str, ...], said: str
) -> None:
    study = make_study()
    for name in gone:
        path = study / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert said in _Page(write_report(study).read_text(encoding="utf-8")).text


def test_a_report_is_not_overwritten_unless_told(make_study: Callable[..., Path]) -> None:
    study = make_study()
    shutil.rmtree(study / "findings")
    first = write_report(study)
    first.write_text("mine", encoding="utf-8")
    with pytest.raises(LeadlightError, match="--overwrite"):
        write_report(study)
    assert first.read_text(encoding="utf-8") == "mine"
    assert "Leadlight" in write_report(study, overwrite=True).read_text(encoding="utf-8")


def test_an_empty_folder_is_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(LeadlightError, match="leadlight import"):
        write_report(tmp_path)
    assert not (tmp_path / "report").exists()


def test_findings_of_another_version_are_refused_by_column(
    make_study: Callable[..., Path],
) -> None:
    study = make_study()
    table = study / "findings" / "leads.parquet"
    pl.read_parquet(table).drop("cliffs_delta").write_parquet(table)
    with pytest.raises(LeadlightError, match=r"leads\.parquet lacks the columns cliffs_delta"):
        write_report(study)


def test_too_many_pictures_are_linked_and_not_inlined(
    make_study: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leadlight.report.page.INLINE_BYTES", 100_000)
    path = write_report(make_study())
    page = _Page(path.read_text(encoding="utf-8"))
    assert path.stat().st_size - sum(map(len, page.data.values())) < 250_000
    assert "too large for the page" in page.text


def test_the_verb_prints_where_the_page_is(make_study: Callable[..., Path]) -> None:
    import typer

    from leadlight.cli.report import report as verb

    study = make_study()
    shutil.rmtree(study / "findings")
    app = typer.Typer()
    app.command()(verb)
    done = CliRunner().invoke(app, ["--study", str(study), "--quiet"])
    assert done.exit_code == 0
    assert done.stdout.strip() == str(study / "report" / "index.html")
    again = CliRunner().invoke(app, ["--study", str(study), "--overwrite", "--json"])
    assert json.loads(again.stdout.splitlines()[-1])["page"].endswith("index.html")


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 1440])
def test_a_browser_opens_the_page_without_complaint(
    report: Path, tmp_path: Path, width: int
) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium in the path")
    shot = tmp_path / "page.png"
    done = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr",
            "--v=0", f"--window-size={width},2000", f"--screenshot={shot}", report.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert shot.is_file(), done.stderr
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not complaints
