"""Whole-genome regression: calibration among relatives, power, resuming, files, refusals."""

import numpy as np
import pytest

from leadlight.errors import LeadlightError
from leadlight.genetics.designs import orthonormal_basis, standard_residuals
from leadlight.genetics.loco_files import read_loco, write_loco
from leadlight.genetics.whole_genome import (
    NO_CHROMOSOME,
    background,
    calibrated,
    open_predictions,
    whole_genome_regression,
)

CHROMOSOMES = np.repeat(["1", "2", "3", "4"], [260, 240, 150, 150])


def _study(seed=0, people=600, traits=2):
    rng = np.random.default_rng(seed)
    calls = rng.binomial(2, rng.uniform(0.1, 0.5, (800, 1)), (800, people)).astype(np.int8)
    calls[rng.random(calls.shape) < 0.003] = -9
    covariates = rng.normal(size=(people, 2))
    genes = np.maximum(calls, 0).T @ rng.normal(size=(800, traits))
    genes /= genes.std(axis=0)
    values = 5 * (genes + rng.normal(size=genes.shape)) + covariates[:, :1] * 3 + 40
    values[rng.random(values.shape) < 0.04] = np.nan
    return calls, covariates, values


def _run(folder, calls, covariates, traits, **options):
    people = calls.shape[1]
    return whole_genome_regression(
        options.pop("read", lambda first, last: calls[first:last]),
        CHROMOSOMES,
        traits,
        covariates,
        folder,
        trait_names=[f"trait_{at}" for at in range(traits.shape[1])],
        person_ids=[f"p{at}" for at in range(people)],
        block_size=options.pop("block_size", 100),
        workers=options.pop("workers", 1),
        **options,
    )


def test_the_prediction_without_a_chromosome_is_unmoved_by_that_chromosome(tmp_path):
    calls, covariates, traits = _study()
    changed = calls.copy()
    # Shuffled people on chromosome 2: same frequencies, other people.
    of_two = np.flatnonzero(CHROMOSOMES == "2")
    changed[of_two] = calls[of_two][:, np.random.default_rng(5).permutation(calls.shape[1])]
    options = {"calibrate": False, "heritabilities": (0.5,)}
    one = _run(tmp_path / "a", calls, covariates, traits, **options)
    other = _run(tmp_path / "b", changed, covariates, traits, **options)
    same = np.corrcoef(*(np.nan_to_num(d["loco"].sel(chromosome="2")[0]) for d in (one, other)))
    all_of_it = np.corrcoef(
        *(np.nan_to_num(d["loco"].sel(chromosome=NO_CHROMOSOME)[0]) for d in (one, other))
    )
    assert same[0, 1] > 0.97
    assert all_of_it[0, 1] < same[0, 1]


def test_predictions_are_missing_where_the_trait_is_and_correlate_with_it_elsewhere(tmp_path):
    calls, covariates, traits = _study()
    found = _run(tmp_path, calls, covariates, traits)
    whole = found["loco"].sel(chromosome=NO_CHROMOSOME).values.T
    assert (np.isnan(whole) == np.isnan(traits)).all()
    known = np.isfinite(traits[:, 0])
    assert np.corrcoef(whole[known, 0], traits[known, 0])[0, 1] > 0.2
    assert found["score"].values.min() > 0.02


def test_a_killed_regression_goes_on_and_gives_the_same_bytes(tmp_path):
    calls, covariates, traits = _study()
    whole = _run(tmp_path / "whole", calls, covariates, traits).load()
    reads = []

    def failing(first, last):
        reads.append(first)
        if len(reads) > 13:  # after the simulated traits' pass, in the middle of the blocks
            raise OSError("the disk went away")
        return calls[first:last]

    with pytest.raises(OSError, match="disk"):
        _run(tmp_path / "cut", calls, covariates, traits, read=failing)
    assert not (tmp_path / "cut" / "whole_genome.zarr").exists()
    again = []

    def counting(first, last):
        again.append(first)
        return calls[first:last]

    resumed = _run(tmp_path / "cut", calls, covariates, traits, read=counting, workers=2).load()
    assert len(again) < 2 * 9
    for name in whole.variables:
        np.testing.assert_array_equal(whole[name].values, resumed[name].values)
    assert not (tmp_path / "cut" / "whole_genome_level_0").exists()


def test_blocks_of_other_traits_are_not_taken_up(tmp_path):
    calls, covariates, traits = _study()

    def broken(first, last):
        if first > 300:
            raise OSError("gone")
        return calls[first:last]

    with pytest.raises(OSError, match="gone"):
        _run(tmp_path, calls, covariates, traits, read=broken, calibrate=False)
    with pytest.raises(LeadlightError, match="other data or settings"):
        _run(tmp_path, calls, covariates, traits + 1 * covariates[:, :1], calibrate=False)
    _run(tmp_path, calls, covariates, traits * 2, calibrate=False, overwrite=True)


def test_a_binary_trait_gets_log_odds_that_tell_cases_from_controls(tmp_path):
    calls, covariates, traits = _study(people=900)
    cases = np.where(np.isnan(traits), np.nan, traits > np.nanquantile(traits, 0.8, axis=0))
    found = _run(tmp_path, calls, covariates, cases, binary=True)
    odds = found["loco"].sel(chromosome=NO_CHROMOSOME)[0].values
    known = np.isfinite(cases[:, 0])
    assert odds[known][cases[known, 0] == 1].mean() > odds[known][cases[known, 0] == 0].mean()
    assert found["calibration"].values.tolist() == [1, 1]


def test_regenie_files_round_trip_in_units_of_the_residual_sd(tmp_path):
    calls, covariates, traits = _study()
    found = _run(tmp_path, calls, covariates, traits)
    listed = write_loco(found, tmp_path / "step1")
    first = (tmp_path / "step1_1.loco").read_text().splitlines()
    assert first[0].split()[:3] == ["FID_IID", "p0_p0", "p1_p1"]
    assert [line.split()[0] for line in first[1:]] == [str(number) for number in range(1, 24)]
    _, sd = standard_residuals(traits, orthonormal_basis(covariates))
    people = [f"p{at}" for at in (5, 3, 599)]
    again = read_loco(listed, ["trait_1", "trait_0"], people, people, residual_sd=sd[::-1])
    for chromosome in ("1", "3", "X"):
        np.testing.assert_allclose(
            background(again, chromosome, people),
            background(found, chromosome, people)[:, ::-1],
            rtol=2e-6,
        )
    stranger = read_loco(listed, ["trait_0"], ["p1", "p9999"], ["p1", "p9999"], residual_sd=sd[:1])
    assert np.isnan(background(stranger, "1", ["p9999"])).all()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda t: "trait_9 x.loco\n", "names no predictions of trait trait_0"),
        (lambda t: t.replace("_1.loco", "_7.loco"), "absent"),
    ],
)
def test_a_broken_list_of_predictions_is_refused(tmp_path, spoil, said):
    calls, covariates, traits = _study()
    listed = write_loco(
        _run(tmp_path, calls, covariates, traits[:, :1], calibrate=False), tmp_path / "s"
    )
    listed.write_text(spoil(listed.read_text()))
    with pytest.raises(LeadlightError, match=said):
        read_loco(listed, ["trait_0"], ["p0"], ["p0"], residual_sd=np.ones(1))


def test_a_cut_off_loco_file_is_refused(tmp_path):
    calls, covariates, traits = _study()
    listed = write_loco(
        _run(tmp_path, calls, covariates, traits[:, :1], calibrate=False), tmp_path / "s"
    )
    whole = (tmp_path / "s_1.loco").read_text()
    (tmp_path / "s_1.loco").write_text(whole[: len(whole) // 2])
    with pytest.raises(LeadlightError, match=r"cut off|could not convert"):
        read_loco(listed, ["trait_0"], ["p0"], ["p0"], residual_sd=np.ones(1))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"traits": lambda t: np.where(np.isnan(t), t, 3.0)}, "constant"),
        ({"covariates": lambda c: np.where(c > 2, np.nan, c)}, "covariate"),
        ({"binary": True}, "other than 0 and 1"),
    ],
)
def test_bad_input_is_refused_by_name(tmp_path, change, said):
    calls, covariates, traits = _study()
    covariates = change.get("covariates", lambda c: c)(covariates)
    traits = change.get("traits", lambda t: t)(traits)
    with pytest.raises(LeadlightError, match=said):
        _run(tmp_path, calls, covariates, traits, binary=change.get("binary", False))
    with pytest.raises(LeadlightError, match="no whole-genome predictions"):
        open_predictions(tmp_path / "nowhere.zarr")


def test_collinear_covariates_count_once():
    values = np.random.default_rng(0).normal(size=(50, 2))
    doubled = np.c_[values, values[:, 0] * 3 - 1, np.full(50, 7.0)]
    assert orthonormal_basis(doubled).shape[1] == 3


def test_calibration_divides_effects_and_keeps_t_over_its_root():
    beta, error = calibrated(np.array([0.8]), np.array([0.1]), 0.64)
    np.testing.assert_allclose([beta[0], error[0], beta[0] / error[0]], [1.25, 0.125, 10])


@pytest.mark.slow
def test_among_real_peoples_children_null_traits_are_calibrated_and_power_grows(
    tmp_path, shared_data
):
    """Children dropped from HapMap founders; λ of null chromosomes over traits and pedigrees."""
    import importlib.util
    from pathlib import Path

    path = Path(__file__).parents[2] / "benchmarks" / "whole_genome.py"
    spec = importlib.util.spec_from_file_location("whole_genome_benchmark", path)
    bench = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[spec.name] = bench
    spec.loader.exec_module(bench)
    folder = shared_data / "genotypes" / "hapmap3_957_bed"
    found = bench.relatives(folder, 11, 3, 0.6, 20, None)
    assert found["linear_lambda"].mean() > 1.3
    assert abs(found["calibrated_lambda"].mean() - 1) < 0.03
    assert (
        found["calibrated_planted_at_equal_nulls"].mean()
        > found["linear_planted_at_equal_nulls"].mean()
    )
