"""Records are found, listed and shown as the tables say, whatever their names are made of."""

import base64
import json
from html.parser import HTMLParser
from urllib.parse import quote

import numpy as np
import polars as pl
import pytest
from study_to_serve import CLASSES, CLASSIFIER, HOSTILE, PLAIN, truth_of

from leadlight.cohort.store import open_cohort
from leadlight.serve import tables
from leadlight.serve.folder import open_study
from leadlight.serve.record_list import NONE, RecordQuery, list_records
from leadlight.serve.tables import keyed


class _Reader(HTMLParser):
    """Links with their text, and every element that could run something."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[tuple[str, str]] = []
        self.running: list[str] = []
        self.headings: list[str] = []
        self._open: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        known = dict(attributes)
        self._open.append((tag, known.get("href") or ""))
        if tag == "a":
            self.links.append((known.get("href") or "", ""))
        if tag == "script" and known.get("type") != "application/json" and "src" not in known:
            self.running.append(f"script {known}")
        if tag in ("img", "iframe", "object", "embed", "svg", "base"):
            self.running.append(tag)
        self.running += [f"{tag} {name}" for name in known if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        tag, _ = self._open[-1] if self._open else ("", "")
        if tag == "a":
            self.links[-1] = (self.links[-1][0], self.links[-1][1] + data)
        if tag == "h1":
            self.headings.append(data)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass


def _read(text: str) -> _Reader:
    reader = _Reader()
    reader.feed(text)
    return reader


def test_hostile_names_are_text_and_their_links_lead_to_them(ask):
    page = _read(ask("/records?size=100").text)
    assert page.running == []
    links = {text: href for href, text in page.links}
    for name in HOSTILE:
        shown = name.replace("\u2028", "\u2028")
        reply = ask(links[shown])
        assert reply.status == 200, name
        one = _read(reply.text)
        assert one.running == [], name
        assert "".join(one.headings) == name
        data = reply.text.partition('id="data-record">')[2].partition("</script>")[0]
        assert json.loads(data)["record_id"] == name


def test_any_record_is_given_by_the_api_whatever_its_name(ask):
    for name in HOSTILE:
        found = ask(f"/api/record?id={quote(name, safe='')}").json()
        assert found["record_id"] == name
        assert found["about"]["patient_id"] == f"patient of {name}"


def test_a_record_shows_its_own_signal(ask, served_study):
    name = HOSTILE[0]
    drawing = ask(f"/api/record?id={quote(name, safe='')}").json()["drawing"]
    cohort = open_cohort(served_study)
    recording = cohort.recording(cohort.row_of(name))
    shape = (len(drawing["leads"]), drawing["n_samples"])
    counts = np.frombuffer(base64.b64decode(drawing["signal"]), "<i2").reshape(shape)
    shown_mv = counts * drawing["unit_uv"] / 1000
    assert drawing["rate_hz"] == 250
    # At every second sample of the record; resampling rounds the beats' tips off a little.
    assert np.abs(shown_mv - recording.signal_mv.values[:, ::2]).max() < 0.05


def test_stored_relevance_comes_along_and_the_rest_can_be_asked_for(ask):
    found = ask("/api/record?id=plain001").json()
    classes = {one["name"]: one["relevance"] for one in found["drawing"]["classes"]}
    assert classes["AF"] is not None
    assert classes["LBBB"] is None
    assert found["can_explain"] == [name for name in CLASSES if name != "AF"]
    assert ask("/api/record?id=plain004").json()["can_explain"] == list(CLASSES)


def test_what_is_known_of_a_record_is_of_that_record(ask, served_study):
    names = open_cohort(served_study).records["record_id"].to_list()
    found = ask("/api/record?id=plain011").json()
    measured = {row["name"]: row["value"] for row in found["measurements"]}
    assert measured["pr_ms"] == 150.0 + names.index("plain011")
    assert (found["before"], found["after"]) == ("plain010", "plain012")
    factors = pl.read_parquet(served_study / "latent" / "leadlight-factors" / "factors.parquet")
    truth = factors.filter(pl.col("record_id") == "plain011").row(0, named=True)
    assert found["factors"]["factors"]["factor_07"] == pytest.approx(truth["factor_07"])
    absent = ask(f"/api/record?id={quote(names[-1], safe='')}").json()
    assert [row["value"] for row in absent["measurements"] if row["name"] == "pr_ms"] == [None]


def test_a_record_that_the_model_refused_says_so(ask):
    found = ask("/api/record?id=plain007").json()
    assert found["classes"] == []
    assert "Lead V1 is missing." in found["not_classified"]
    assert "Lead V1 is missing." in ask("/records/plain007").text


def test_who_is_not_there_is_not_found(ask):
    for path in ("/records/nobody", "/api/record?id=nobody", "/api/record", "/record?id="):
        reply = ask(path)
        assert reply.status == 404
        assert "Traceback" not in reply.text
    assert ask("/api/record?id=plain001&model=nobody").status == 404


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("search=PLAIN01", pl.col("record_id").str.starts_with("plain01")),
        ("search=%5E.*", pl.lit(False)),  # text, no pattern
        ("label=AF", pl.col("labels").list.contains("AF")),
        (f"label={quote(NONE)}", pl.col("labels").list.len().fill_null(0) == 0),
        ("flag=flat_lead:V1", pl.col("flags").list.contains("flat_lead:V1")),
        ("split=test&label=NORM",
         (pl.col("split") == "test") & pl.col("labels").list.contains("NORM")),
        ("class=AF&low=0.5", pl.col("AF") >= 0.5),
        ("class=LBBB&high=0.4&label=AF",
         (pl.col("LBBB") <= 0.4) & pl.col("labels").list.contains("AF")),
    ],
)  # fmt: skip
def test_filters_find_what_the_tables_hold(ask, served_study, query, wanted):
    found = ask(f"/api/records?{query}&size=200").json()
    truth = truth_of(served_study).filter(wanted)["record_id"].to_list()
    assert [one["record_id"] for one in found["records"]] == truth
    assert found["total"] == len(truth)


def test_records_are_ordered_by_probability_and_pages_do_not_overlap(ask, served_study):
    names, values = [], []
    for page in range(1, 5):
        found = ask(f"/api/records?class=AF&order=high&size=15&page={page}").json()
        names += [one["record_id"] for one in found["records"]]
        values += [one["probabilities"]["AF"] for one in found["records"]]
    truth = truth_of(served_study).drop_nulls("AF").sort("AF", descending=True)
    assert names == truth["record_id"].to_list()
    assert values == pytest.approx(truth["AF"].to_list())
    assert "plain007" not in names  # it has no probability


def test_every_page_is_a_stretch_of_the_table(ask, served_study):
    truth = truth_of(served_study)
    found = [ask(f"/api/records?size=7&page={page}").json() for page in range(1, 9)]
    names = [one["record_id"] for part in found for one in part["records"]]
    assert names == truth["record_id"].to_list()
    probable = [one["probabilities"]["SB"] for part in found for one in part["records"]]
    assert probable == truth["SB"].to_list()
    assert ask("/api/records?size=7&page=9").json()["records"] == []


@pytest.mark.parametrize(
    "query",
    ["page=0", "page=x", "page=1e9", "page=²", "size=0", "size=100000", "low=2", "low=nan",
     "order=sideways", "class=AF&low=-1", "search=" + "x" * 300],
)  # fmt: skip
def test_questions_that_make_no_sense_are_sentences(ask, query):
    reply = ask("/api/records?" + quote(query, safe="=&"))
    assert reply.status == 422
    assert reply.json()["error"].endswith(".")


def test_an_unknown_class_model_or_label_is_no_fault(ask):
    assert ask("/api/records?class=XX&low=0.1").status == 404
    assert ask("/api/records?model=XX").status == 404
    assert ask("/api/records?label=XX").json()["total"] == 0
    assert ask("/records?label=XX").status == 200


def test_the_form_keeps_what_was_asked_and_escapes_it(ask):
    page = ask("/records?search=" + quote('"><script>x</script>')).text
    assert "<script>x" not in page
    assert "&lt;script&gt;x" in page
    page = ask("/records?label=AF&size=25").text
    assert '<option value="AF" selected>' in page


def test_a_table_is_read_alone_and_in_the_order_asked_for(tmp_path):
    names = [f"r{number:05d}" for number in range(5000)]
    path = tmp_path / "records.parquet"
    pl.DataFrame({"record_id": names, "value": np.arange(5000.0)}).write_parquet(
        path, row_group_size=300
    )
    table = keyed(open_study_of(tmp_path), path)
    rows = [4999, 0, 300, 299, 17, 300]
    assert table.read(rows)["value"].to_list() == rows
    assert table.row_of("r04242") == 4242
    assert table.row_of("R04242") is None
    assert table.column("value").tolist() == list(range(5000))


def test_names_with_equal_hashes_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "hashes_of", lambda names: np.full(len(names), 7, dtype=np.uint64))
    path = tmp_path / "records.parquet"
    pl.DataFrame({"record_id": ["a", "b", "c"]}).write_parquet(path)
    table = keyed(open_study_of(tmp_path), path)
    assert [table.row_of(name) for name in "cabx"] == [2, 0, 1, None]


def test_a_new_import_under_the_server_is_seen_whole(own_study):
    study = open_study(own_study)
    query = RecordQuery(of_class="AF", order="high", size=100)
    before = list_records(study, query)
    path = own_study / "classify" / CLASSIFIER / "probabilities.parquet"
    table = pl.read_parquet(path)
    turned = table.with_columns(AF=1 - pl.col("AF")).reverse()
    turned.write_parquet(own_study / "new.parquet")
    (own_study / "new.parquet").replace(path)
    after = list_records(study, query)
    assert [one["record_id"] for one in after["records"]] == [
        one["record_id"] for one in before["records"]
    ][::-1]


def test_damaged_files_are_sentences(own_study, serve_it, capfd):
    ask = serve_it(own_study)
    for shard in (own_study / "cohort.zarr" / "signal" / "c").rglob("*"):
        if shard.is_file():
            shard.write_bytes(b"rubbish" * 100)
    reply = ask("/records/plain001")
    assert reply.status == 422
    assert "cohort.zarr is damaged" in reply.text
    (own_study / "measurements.parquet").write_bytes(b"PAR1rubbish")
    assert ask("/api/record?id=plain001").status == 422
    (own_study / "records.parquet").write_bytes(b"rubbish")
    for path in ("/api/records", "/records", "/api/record?id=plain001", "/study"):
        reply = ask(path)
        assert reply.status == 422
        assert "damaged" in reply.text
    (own_study / "records.parquet").unlink()
    assert ask("/records").status == 404
    assert "Traceback" not in capfd.readouterr().err


def test_there_are_as_many_records_as_made(ask):
    about = ask("/api/study").json()
    assert about["records"]["records"] == PLAIN + len(HOSTILE)
    assert about["classifiers"] == [CLASSIFIER]


def open_study_of(folder):
    (folder / "cohort.zarr").mkdir(exist_ok=True)
    return open_study(folder)
