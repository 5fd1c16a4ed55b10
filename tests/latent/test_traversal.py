from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadlight.latent.beats import Beats
from leadlight.latent.through import through_factors
from leadlight.latent.training import Trained
from leadlight.latent.traversal import (
    algebra_residual,
    decile_means,
    effects,
    measure_beat,
    sensitivity,
    traverse,
)
from leadlight.simulate.population import simulate_recordings


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_no_decoded_beat_breaks_the_lead_algebra(trained: Trained, seed: int) -> None:
    rng = np.random.default_rng(seed)
    factors = 3 * rng.standard_normal((4, len(trained.model.names)))
    assert algebra_residual(trained.model.decode_twelve(factors)) == 0


def test_a_traversal_moves_one_factor_about_the_mean_beat(trained: Trained) -> None:
    beats = traverse(trained.model)
    middle = beats[:, 3]
    assert np.abs(middle - middle[0]).max() == 0
    # The factor that is decoded is found again by the encoder, in order.
    for place in range(len(trained.model.names)):
        independent = beats[place][:, [0, 1, 6, 7, 8, 9, 10, 11]].astype(np.float32)
        again = trained.model.encode(independent).factors[:, place]
        assert np.corrcoef(again, np.arange(7))[0, 1] > 0.9


def test_a_beat_measures_as_its_strip_does() -> None:
    one = next(iter(simulate_recordings(1, seed=12, noise=0.0, severities={})))
    from leadlight.ecg.median_beat import median_beat

    beat = median_beat(one.recording.signal_mv, one.recording.rate_hz)
    found = measure_beat(beat.beat_mv.values)
    assert found["qrs_ms"] == pytest.approx(float(one.truth["qrs_ms"]), abs=15)
    assert found["pr_ms"] == pytest.approx(float(one.truth["pr_ms"]), abs=20)


def test_effects_are_given_for_every_factor_and_quantity(trained: Trained) -> None:
    table = effects(trained.model, (-1.0, 0.0, 1.0))
    assert table["factor"].n_unique() == len(trained.model.names)
    per_sd = table.filter(pl.col("quantity") == "r_mv_V5").unique("factor")["per_sd"]
    assert per_sd.abs().max() > 0.02  # some factor moves the height of R


def test_sensitivity_adds_up_and_is_nil_where_nothing_was_seen(
    trained: Trained, healthy: tuple[Beats, np.ndarray]
) -> None:
    beats = healthy[0].of_split("test")
    fast = beats.take(np.argsort(beats.own[:, 1])[:5])
    found = sensitivity(trained.model, fast, records=5)
    assert (found.completeness_error < 0.1).all()
    hidden = np.arange(600) >= fast.own[:, 1].max()
    assert found.relevance[:, :, hidden].max(initial=0.0) == 0


def test_deciles_of_real_beats_are_what_the_decoder_draws(
    trained: Trained, healthy: tuple[Beats, np.ndarray]
) -> None:
    beats = healthy[0].take(np.arange(200))
    factors = trained.model.encode_all(beats).factors
    found = decile_means(trained.model, beats, factors, 0)
    inside = slice(150, 450)
    real = (found.high - found.low)[:, inside].ravel()
    drawn = (found.drawn_high - found.drawn_low)[:, inside].ravel()
    assert np.corrcoef(real, drawn)[0, 1] > 0.9


def test_a_logit_made_of_factors_is_explained_by_them(
    trained: Trained, healthy: tuple[Beats, np.ndarray]
) -> None:
    factors = trained.model.encode_all(healthy[0]).factors
    rng = np.random.default_rng(0)
    logit = 2 * factors[:, 1] + rng.standard_normal(len(factors))
    patients = healthy[0].records["patient_id"].to_list()
    found = through_factors(trained.model, factors, logit, patients, "made")
    assert found.share_low < 0.8 < found.share_high
    assert int(np.argmax(np.abs(found.weights))) == 1
    assert found.weights_low[1] < 2 < found.weights_high[1]
    others = np.delete(np.arange(len(found.weights)), 1)
    assert ((found.weights_low[others] < 0) & (found.weights_high[others] > 0)).mean() > 0.7
    nothing = through_factors(
        trained.model, factors, rng.standard_normal(len(factors)), patients, "noise"
    )
    assert nothing.share_low < 0.05


@pytest.mark.slow
def test_the_page_shows_every_factor(trained: Trained, tmp_path: Path, shared_data: Path) -> None:
    from leadlight.cohort.importing import import_cohort
    from leadlight.cohort.measuring import measure_cohort
    from leadlight.latent.exploring import explore
    from leadlight.report.latent_page import write_latent_page

    study = tmp_path / "ward"
    import_cohort(sorted((shared_data / "ptbxl").rglob("*.hea"))[:12], study)
    measure_cohort(study)
    page = write_latent_page(explore(study, trained.model).parent)
    text = page.read_text(encoding="utf-8")
    for name in trained.model.names:
        assert f'id="{name}"' in text
        assert (page.parent / "figures" / f"{name}.png").stat().st_size > 10_000
    assert "residual 0.0 mV" in text
    assert "http" not in text.replace("http-equiv", "")
