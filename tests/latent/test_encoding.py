from pathlib import Path

import numpy as np
import polars as pl
import pytest
from latent_settings import small_settings

from leadlight.cohort import beats as store
from leadlight.cohort.importing import import_cohort
from leadlight.cohort.measuring import measure_cohort
from leadlight.errors import LeadlightError
from leadlight.latent.beats import Beats
from leadlight.latent.decoder_file import read_decoder
from leadlight.latent.encoding import (
    encode_files,
    encode_out_of_fold,
    encode_study,
    factor_table,
    flags_of,
)
from leadlight.latent.training import Trained


def test_a_beat_that_is_no_ecg_is_flagged_and_usual_ones_are_not(
    trained: Trained, healthy: tuple[Beats, np.ndarray]
) -> None:
    held = healthy[0].of_split("test")
    usual = flags_of(trained.model, trained.model.encode_all(held))
    assert np.mean([bool(one) for one in usual]) < 0.2
    rng = np.random.default_rng(0)
    strange = rng.standard_normal((5, 8, 600)).astype(np.float32)
    found = flags_of(trained.model, trained.model.encode(strange))
    assert all("unusual-beat" in one for one in found)
    huge = held.millivolts(slice(0, 3))[0] * 6
    assert all("far" in one for one in flags_of(trained.model, trained.model.encode(huge)))


def test_a_record_does_not_depend_on_its_neighbours(
    trained: Trained, healthy: tuple[Beats, np.ndarray]
) -> None:
    beats_mv, _ = healthy[0].millivolts(slice(0, 30))
    own = healthy[0].own[:30]
    together = trained.model.encode(beats_mv, own).factors
    alone = np.concatenate(
        [trained.model.encode(beats_mv[i : i + 1], own[i : i + 1]).factors for i in range(30)]
    )
    np.testing.assert_allclose(together, alone, atol=2e-4)


def test_a_record_without_a_beat_has_a_row_without_factors(
    trained: Trained, healthy: tuple[Beats, np.ndarray]
) -> None:
    found = trained.model.encode_all(healthy[0].take(np.arange(2)))
    table = factor_table(trained.model, found, ["a", "b"], np.array([True, False]))
    assert table["factor_01"].null_count() == 1
    assert table["flags"].to_list()[1] == ["no-median-beat"]


def test_a_study_is_encoded_in_its_order_and_not_twice(
    shared_data: Path, trained: Trained, tmp_path: Path
) -> None:
    study = tmp_path / "ward"
    import_cohort(sorted((shared_data / "ptbxl").rglob("*.hea"))[:5], study)
    measure_cohort(study)
    missing = store.open_store(study / "beats.zarr", "r+")
    missing["median_beat"][2] = -32768
    summary = encode_study(study, trained.model)
    table = pl.read_parquet(summary.path)
    names = pl.read_parquet(study / "records.parquet")["record_id"].to_list()
    assert table["record_id"].to_list() == names
    assert summary.n_encoded == 4
    assert table["factor_01"].is_null().to_list() == [False, False, True, False, False]
    people = table.select(trained.model.names).drop_nulls().to_numpy()
    drawn = read_decoder(summary.path.parent).decode(people)
    assert np.abs(drawn - trained.model.decode(people)).max() < 0.005
    with pytest.raises(LeadlightError, match="already exists"):
        encode_study(study, trained.model)


def test_a_carts_own_median_beat_is_encoded(
    shared_data: Path, trained: Trained, tmp_path: Path
) -> None:
    found = sorted((shared_data / "formats").rglob("*.xml"))
    carts = [path for path in found if "cardiosoft" in str(path).lower()]
    if not carts:
        pytest.skip("no CardioSoft file is here")
    summary = encode_files(carts, trained.model, tmp_path / "factors.parquet")
    table = pl.read_parquet(summary.path)
    assert summary.n_encoded >= 1
    assert table.filter(pl.col("error_uv").is_not_null())["factor_01"].null_count() == 0
    assert float(table["error_uv"].max()) < 250  # an ECG, in the right unit and place


@pytest.mark.slow
def test_out_of_fold_factors_are_close_to_the_models_own(
    shared_data: Path, trained: Trained, beats_folder: Path, tmp_path: Path
) -> None:
    study = tmp_path / "ward"
    import_cohort(sorted((shared_data / "ptbxl").rglob("*.hea"))[:40], study)
    measure_cohort(study)
    summary, matches = encode_out_of_fold(
        study, trained.model, small_settings(), 2, others=[beats_folder], cache=tmp_path / "cache"
    )
    table = pl.read_parquet(summary.path)
    assert set(table["fold"]) == {0, 1}
    people = pl.read_parquet(study / "records.parquet").select("record_id", "patient_id")
    of_patient = table.join(people, on="record_id").group_by("patient_id").agg(
        pl.col("fold").n_unique()
    )  # fmt: skip
    assert of_patient["fold"].max() == 1
    assert matches.filter(pl.col("factor") == "factor_01")["r"].min() > 0.5
    for fold in (0, 1):
        used = pl.read_parquet(tmp_path / "cache" / f"fold-{fold}-of-2" / "trained-on.parquet")
        held = table.filter(pl.col("fold") == fold)["record_id"]
        assert not set(used["record_id"]) & set(held)
