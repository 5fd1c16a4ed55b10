import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from scipy.special import expit

from leadlight.classify.cards import card_from_tables
from leadlight.classify.models import Model, build_network, load_model, save_model
from leadlight.classify.predict import classify_cohort, logits_of
from leadlight.classify.prepare import prepare
from leadlight.cohort.importing import import_cohort
from leadlight.cohort.store import CohortWriter, open_cohort
from leadlight.ecg.leads import LEADS, as_leads
from leadlight.ecg.quality import EXCLUDING_FLAGS
from leadlight.ecg.recording import Recording
from leadlight.errors import LeadlightError


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    card = card_from_tables(
        {
            "model": {
                "name": "small",
                "architecture_settings": {"stem_filters": 4, "filters": [6, 8], "kernel": 8},
            },
            "input": {"samples": 2048, "rate_hz": 200.0},
            "output": {"classes": ["AF", "LBBB"], "thresholds": {"AF": 0.5}},
        },
        "here",
    )
    folder = tmp_path_factory.mktemp("model")
    save_model(build_network(card, torch.Generator().manual_seed(0)).eval(), card, folder)
    return load_model(folder)


def recordings(n: int = 20) -> Iterator[Recording]:
    rng = np.random.default_rng(1)
    for place in range(n):
        rate_hz = (250.0, 500.0)[place % 2]
        signal = rng.normal(size=(12, int(10 * rate_hz)), scale=0.3).round(3)
        yield Recording(as_leads(signal.astype(np.float32)), rate_hz, f"r{place}", f"p{place}")


def fill(study: Path, *, labelled: bool = True) -> None:
    """Twenty records; r3 has no V2, r4 is excluded by its quality."""
    with CohortWriter(study) as writer:
        for place, rec in enumerate(recordings()):
            if place == 3:
                rec.signal_mv.loc["V2"] = np.nan
            labels = (("AF",) if place % 3 == 0 else ()) if labelled else None
            flags = (excluding_flag(),) if place == 4 else ()
            writer.add(rec, labels, ("train", "validation", "test")[place % 3], flags)


def excluding_flag() -> str:
    return sorted(EXCLUDING_FLAGS)[0]


def test_every_record_gets_the_logits_of_its_own_prepared_input(
    tmp_path: Path, model: Model
) -> None:
    fill(tmp_path)
    done = classify_cohort(tmp_path, model, batch=3, n_bootstrap=10)
    logits = pl.read_parquet(done.folder / "logits.parquet")
    probabilities = pl.read_parquet(done.folder / "probabilities.parquet")
    assert done.folder == tmp_path / "classify" / "small"
    assert logits.columns == probabilities.columns == ["record_id", "AF", "LBBB"]
    assert logits["record_id"].to_list() == [f"r{i}" for i in range(20) if i != 3]
    cohort = open_cohort(tmp_path)
    for row in (0, 5, 19):
        rec = cohort.recording(row)
        x = torch.from_numpy(prepare(rec, model.card).values.values)[None]
        alone = model.network(x)[0].numpy()
        stored = logits.filter(record_id=rec.record_id).select("AF", "LBBB").to_numpy()[0]
        np.testing.assert_allclose(stored, alone, atol=1e-5)
    np.testing.assert_allclose(
        probabilities["AF"].to_numpy(), expit(logits["AF"].to_numpy().astype(float)), rtol=1e-6
    )
    assert done.n_called == {"AF": int((probabilities["AF"] >= 0.5).sum())}


def test_a_record_that_the_model_cannot_take_is_listed_with_the_reason(
    tmp_path: Path, model: Model
) -> None:
    fill(tmp_path)
    done = classify_cohort(tmp_path, model, n_bootstrap=0)
    refused = pl.read_parquet(done.folder / "refused.parquet")
    assert refused["record_id"].to_list() == ["r3"]
    assert "lacks V2" in refused["reason"][0]
    assert (done.n_records, done.n_predicted, done.n_refused) == (20, 19, 1)


def test_records_excluded_by_quality_are_predicted_but_not_scored(
    tmp_path: Path, model: Model
) -> None:
    fill(tmp_path)
    done = classify_cohort(tmp_path, model, n_bootstrap=10)
    assert "r4" in pl.read_parquet(done.folder / "probabilities.parquet")["record_id"]
    scores = json.loads((done.folder / "scores.json").read_text())
    assert done.n_excluded == scores["n_records_excluded"] == 1
    assert scores["splits"]["all"]["n_records"] == 18


def test_a_study_without_labels_has_no_scores(tmp_path: Path, model: Model) -> None:
    fill(tmp_path, labelled=False)
    done = classify_cohort(tmp_path, model)
    assert done.scores is None
    assert not (done.folder / "scores.json").exists()
    made = json.loads((done.folder / "provenance.json").read_text())
    assert made["verb"] == "classify"
    assert set(made["inputs"]) == {"records.parquet", "card.toml", "weights.safetensors"}


def test_chosen_rows_only_and_any_batch_size_give_the_same(tmp_path: Path, model: Model) -> None:
    fill(tmp_path)
    tables = []
    for batch in (1, 7, 32):
        done = classify_cohort(
            tmp_path, model, rows=[9, 2, 11], batch=batch, overwrite=True, n_bootstrap=0
        )
        tables.append(pl.read_parquet(done.folder / "logits.parquet"))
    assert tables[0]["record_id"].to_list() == ["r9", "r2", "r11"]
    for table in tables[1:]:
        np.testing.assert_allclose(
            table.select("AF", "LBBB").to_numpy(), tables[0].select("AF", "LBBB").to_numpy(),
            atol=1e-5,
        )  # fmt: skip


def test_results_are_not_replaced_unless_told_and_never_half(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path)
    done = classify_cohort(tmp_path, model, n_bootstrap=0)
    before = (done.folder / "logits.parquet").read_bytes()
    with pytest.raises(LeadlightError, match="already exists"):
        classify_cohort(tmp_path, model)

    def broken(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("leadlight.classify.predict.write_provenance", broken)
    with pytest.raises(OSError, match="disk full"):
        classify_cohort(tmp_path, model, rows=[0], overwrite=True, n_bootstrap=0)
    assert (done.folder / "logits.parquet").read_bytes() == before
    assert [path.name for path in (tmp_path / "classify").iterdir()] == ["small"]


def test_a_study_that_the_model_cannot_take_at_all_is_refused(tmp_path: Path, model: Model) -> None:
    fill(tmp_path)
    with pytest.raises(LeadlightError, match=r"None of 1 records.*lacks V2"):
        classify_cohort(tmp_path, model, rows=[3])
    assert not (tmp_path / "classify").exists()


def test_logits_are_asked_for_lazily(model: Model) -> None:
    taken = []

    def inputs() -> Iterator[object]:
        for rec in recordings(6):
            taken.append(rec.record_id)
            yield prepare(rec, model.card)

    streamed = logits_of(model, inputs(), batch=2)  # type: ignore[arg-type]
    next(streamed)
    assert taken == ["r0", "r1"]


def test_a_device_that_is_not_there_is_a_sentence(tmp_path: Path, model: Model) -> None:
    fill(tmp_path)
    with pytest.raises(LeadlightError, match='cannot compute on "nonsense"'):
        classify_cohort(tmp_path, model, device="nonsense")
    assert {p.device.type for p in model.network.parameters()} == {"cpu"}


def test_real_recordings_are_classified_from_their_files(
    tmp_path: Path, model: Model, shared_data: Path
) -> None:
    sources = sorted((shared_data / "ptbxl").rglob("*_hr.hea"))[:6]
    import_cohort(sources, tmp_path)
    done = classify_cohort(tmp_path, model)
    assert done.n_predicted == len(sources)
    logits = pl.read_parquet(done.folder / "logits.parquet")
    assert np.isfinite(logits.select("AF", "LBBB").to_numpy()).all()
    assert set(LEADS) == set(model.card.input.leads)
