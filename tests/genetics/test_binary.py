"""Binary traits: REGENIE's own example, PLINK 2, statsmodels, and the level under imbalance."""

import shutil
import subprocess

import numpy as np
import polars as pl
import pytest
import statsmodels.api as sm
from scipy.stats import binom

from leadlight.errors import LeadlightError
from leadlight.genetics.binary import (
    FAILED,
    FIRTH,
    SCORE,
    WALD,
    associate_binary,
    complete_case,
    fit_logistic,
    null_model,
)
from leadlight.genetics.designs import orthonormal_basis
from leadlight.genetics.genotypes import open_genotypes


def _data(seed=0, people=500, variants=40, rate=0.3):
    rng = np.random.default_rng(seed)
    calls = rng.binomial(2, rng.uniform(0.1, 0.5, (variants, 1)), (variants, people)).astype(
        np.int8
    )
    basis = orthonormal_basis(rng.normal(size=(people, 2)))
    odds = np.log(rate / (1 - rate)) + 8 * basis[:, 1] + 0.5 * calls[0]
    cases = (rng.random(people) < 1 / (1 + np.exp(-odds))).astype(float)
    return calls, basis, cases


def test_regenies_example_is_met_to_its_printed_digits(shared_data):
    folder = shared_data / "genotypes" / "formats_500"
    removed = {line.split()[1] for line in (folder / "fid_iid_to_remove.txt").open()}
    source = open_genotypes(folder / "example.bed")
    keep = [at for at, one in enumerate(source.people.person_ids) if one not in removed]
    calls = source.reader(np.array(keep, dtype=np.uint32)).read(np.arange(1000))
    cases = np.genfromtxt(folder / "phenotype_bin.txt", skip_header=1)[keep, 2]
    covariates = np.genfromtxt(folder / "covariates.txt", skip_header=1)[keep, 2:]
    # Its example used Firth's test below p = 0.01, with an unweighted projection. All variants are
    # on chromosome 1, so the predictions without it are zero.
    null = null_model(cases, orthonormal_basis(covariates))
    found = associate_binary(calls, [null], threshold=0.01, weighted=False)
    said = pl.read_csv(folder / "example.test_bin_out_firth_Y1.regenie", separator=" ")
    assert said["N"].unique().to_list() == [494] == np.unique(found.n).tolist()
    firth = found.method[:, 0] == FIRTH
    assert firth.sum() == 20
    for name, ours, tolerance in (
        ("BETA", found.beta, 6e-6),
        ("SE", found.standard_error, 2e-6),
        ("CHISQ", found.chi_squared, 5e-5),
        ("LOG10P", found.neg_log_10_p, 2e-5),
    ):
        np.testing.assert_allclose(ours[:, 0], said[name].to_numpy(), rtol=2e-5, atol=tolerance)
    score = ~firth
    np.testing.assert_allclose(
        found.beta[score, 0], said["BETA"].to_numpy()[score], rtol=5e-6, atol=5e-7
    )


@pytest.mark.parametrize("missing", [0.0, 0.05])
def test_complete_case_logistic_is_statsmodels(missing):
    calls, basis, cases = _data()
    calls[np.random.default_rng(1).random(calls.shape) < missing] = -9
    cases[3] = np.nan
    found = complete_case(calls, [null_model(cases, basis)])
    for at in range(0, 40, 7):
        here = (calls[at] >= 0) & np.isfinite(cases)
        fitted = sm.Logit(cases[here], np.c_[basis, calls[at]][here]).fit(disp=0, tol=1e-12)
        assert found.beta[at, 0] == pytest.approx(fitted.params[-1], rel=1e-6)
        assert found.standard_error[at, 0] == pytest.approx(fitted.bse[-1], rel=1e-6)
        assert 10 ** -found.neg_log_10_p[at, 0] == pytest.approx(fitted.pvalues[-1], rel=1e-5)
        assert found.n[at, 0] == here.sum()
        assert found.n_cases[at, 0] == cases[here].sum()
        assert found.frequency_cases[at, 0] == pytest.approx(
            calls[at][here & (cases == 1)].mean() / 2
        )
    assert (found.method == WALD).all()


def test_the_score_test_is_that_of_the_null_fit():
    calls, basis, cases = _data()
    found = associate_binary(calls, [null_model(cases, basis)], firth="none")
    fitted = sm.GLM(cases, basis, family=sm.families.Binomial()).fit(tol=1e-12)
    for at in (0, 5, 11):
        statistic, p = fitted.score_test(exog_extra=calls[at].astype(float)[:, None])
        assert found.chi_squared[at, 0] == pytest.approx(float(np.squeeze(statistic)), rel=1e-7)
        assert 10 ** -found.neg_log_10_p[at, 0] == pytest.approx(float(np.squeeze(p)), rel=1e-6)


def test_traits_are_tested_each_on_their_own_people():
    calls, basis, cases = _data()
    other = 1 - cases
    other[:100] = np.nan
    both = associate_binary(calls, [null_model(cases, basis), null_model(other, basis)])
    alone = associate_binary(calls[:, 100:], [null_model(other[100:], basis[100:])])
    np.testing.assert_allclose(both.beta[:, 1], alone.beta[:, 0], rtol=1e-6)
    np.testing.assert_allclose(both.neg_log_10_p[:, 1], alone.neg_log_10_p[:, 0], rtol=1e-6)
    assert (both.n == [500, 400]).all()


def test_an_offset_is_part_of_the_null():
    calls, basis, cases = _data()
    offset = np.linspace(-1, 1, 500)
    found = associate_binary(calls, [null_model(cases, basis, offset)], firth="none")
    fitted = sm.GLM(cases, basis, family=sm.families.Binomial(), offset=offset).fit(tol=1e-12)
    statistic, _ = fitted.score_test(exog_extra=calls[0].astype(float)[:, None])
    assert found.chi_squared[0, 0] == pytest.approx(float(np.squeeze(statistic)), rel=1e-6)


def test_the_approximate_firth_test_is_near_the_exact_one():
    calls, basis, cases = _data(people=3000, rate=0.05)
    null = null_model(cases, basis)
    near = associate_binary(calls, [null], threshold=1.1)
    exact = associate_binary(calls, [null], firth="exact", threshold=1.1)
    assert (near.method == FIRTH).all()
    np.testing.assert_allclose(near.neg_log_10_p, exact.neg_log_10_p, rtol=0.03, atol=0.01)
    np.testing.assert_allclose(near.beta, exact.beta, rtol=0.03, atol=0.01)


def test_a_strong_effect_has_a_finite_p_far_beyond_underflow():
    rng = np.random.default_rng(0)
    calls = rng.binomial(2, 0.3, (1, 6000)).astype(np.int8)
    cases = (rng.random(6000) < np.where(calls[0] > 0, 0.9, 0.1)).astype(float)
    found = associate_binary(calls, [null_model(cases, np.full((6000, 1), 6000**-0.5))])
    assert 400 < found.neg_log_10_p[0, 0] < 2000
    assert found.beta[0, 0] == pytest.approx(np.log(81), rel=0.5)


def test_variants_without_variance_fail_alone_and_missing_calls_take_the_mean():
    calls, basis, cases = _data()
    calls[4] = 1
    calls[5, :50] = -9
    found = associate_binary(calls, [null_model(cases, basis)])
    assert found.method[4, 0] == FAILED
    assert np.isnan(found.neg_log_10_p[4, 0])
    filled = calls[[5]].astype(float)
    filled[0, :50] = calls[5, 50:].mean()
    expected = associate_binary(filled, [null_model(cases, basis)])
    assert found.beta[5, 0] == pytest.approx(expected.beta[0, 0], rel=1e-9)
    assert found.n[5, 0] == 450


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_trait_without_cases_or_controls_is_refused(value):
    with pytest.raises(LeadlightError, match="cases among"):
        null_model(np.full(50, value), np.full((50, 1), 50**-0.5))


def test_codes_other_than_0_and_1_are_refused():
    with pytest.raises(LeadlightError, match="other than 0 and 1"):
        null_model(np.array([1.0, 2.0] * 20), np.full((40, 1), 40**-0.5))


def test_covariates_that_separate_the_cases_have_a_firth_null_and_no_logistic_one():
    cases = (np.arange(60) < 20).astype(float)
    basis = orthonormal_basis(cases[:, None] + 0.0)
    with pytest.raises(LeadlightError, match="does not converge"):
        fit_logistic(basis, cases)
    assert np.isfinite(null_model(cases, basis).firth_log_odds).all()


@pytest.mark.slow
def test_common_variants_meet_plink_2_and_rare_ones_its_effects(shared_data, tmp_path):
    """Effects agree to the print; PLINK 2's standard errors are off statsmodels' by up to 0.6 %."""
    if shutil.which("plink2") is None:
        pytest.skip("plink2 is absent")
    folder = shared_data / "genotypes" / "hapmap3_957_bed"
    source = open_genotypes(folder / "data.bed")
    names = np.array(source.variants.table["chromosome"].to_pylist())
    numbers = np.flatnonzero(names == "22")
    calls = source.reader().read(numbers)
    rng = np.random.default_rng(3)
    people = len(source.people)
    covariates = rng.normal(size=(people, 3))
    odds = -1.2 + 0.5 * covariates[:, 0]
    cases = (rng.random(people) < 1 / (1 + np.exp(-odds))).astype(float)
    cases[rng.random(people) < 0.03] = np.nan
    ids = [
        f"{f}\t{p}" for f, p in zip(source.people.family_ids, source.people.person_ids, strict=True)
    ]
    coded = ["NA" if np.isnan(case) else str(int(case) + 1) for case in cases]
    (tmp_path / "p.txt").write_text(
        "\n".join(["#FID\tIID\tA", *(f"{i}\t{c}" for i, c in zip(ids, coded, strict=True)), ""])
    )
    rows = ["\t".join(f"{value:.17g}" for value in row) for row in covariates]
    (tmp_path / "c.txt").write_text(
        "\n".join(
            ["#FID\tIID\tC1\tC2\tC3", *(f"{i}\t{r}" for i, r in zip(ids, rows, strict=True)), ""]
        )
    )
    columns = "cols=+a1freq,+beta,-orbeta,+se,+p,+nobs,+firth"
    subprocess.run(
        f"plink2 --bfile {folder}/data --chr 22 --pheno p.txt --pheno-name A --covar c.txt "
        f"--threads 1 --glm hide-covar firth-fallback {columns} --out o".split(),
        cwd=tmp_path,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    said = pl.read_csv(
        tmp_path / "o.A.glm.logistic.hybrid",
        separator="\t",
        null_values="NA",
        infer_schema_length=10000,
    )
    found = complete_case(calls, [null_model(cases, orthonormal_basis(covariates))])
    effect = source.variants.table["effect_allele"].take(numbers).to_pylist()
    sign = np.where(said["A1"].to_numpy() == np.array(effect), 1, -1)
    assert (said["FIRTH?"] == "Y").to_list() == (found.method[:, 0] == FIRTH).tolist()
    assert (found.n[:, 0] == said["OBS_CT"].to_numpy()).all()
    beta = said["BETA"].to_numpy() * sign
    np.testing.assert_allclose(found.beta[:, 0], beta, rtol=5e-5, atol=2e-6)
    np.testing.assert_allclose(found.standard_error[:, 0], said["SE"].to_numpy(), rtol=6e-3)
    np.testing.assert_allclose(found.neg_log_10_p[:, 0], -np.log10(said["P"].to_numpy()), atol=2e-2)
    common = np.abs(said["A1_FREQ"].to_numpy() - 0.5) < 0.4
    off = np.abs(found.neg_log_10_p[:, 0] + np.log10(said["P"].to_numpy()))
    assert np.median(off[common]) < 1e-3


@pytest.mark.slow
def test_one_case_among_200_controls_keeps_the_level():
    rng = np.random.default_rng(8)
    people, n_cases, variants = 20_100, 100, 6000
    basis = orthonormal_basis(rng.normal(size=(people, 1)))
    cases = np.zeros(people)
    cases[rng.choice(people, n_cases, replace=False)] = 1
    null = null_model(cases, basis)
    frequency = rng.uniform(0.002, 0.02, variants)
    p_score, p_firth = [], []
    for first in range(0, variants, 500):
        some = frequency[first : first + 500, None]
        calls = (rng.random((500, people), dtype=np.float32) < 2 * some).astype(np.int8)
        p_score.append(associate_binary(calls, [null], firth="none").neg_log_10_p[:, 0])
        p_firth.append(associate_binary(calls, [null]).neg_log_10_p[:, 0])
    for level in (0.01, 1e-3):
        limit = binom.ppf(0.9995, variants, level)
        assert (np.concatenate(p_firth) > -np.log10(level)).sum() <= limit
    # The score test alone does not: that is why Firth's is there.
    assert (np.concatenate(p_score) > 3).sum() > binom.ppf(0.9995, variants, 1e-3)


def test_only_the_promising_variants_are_refitted():
    calls, basis, cases = _data()
    found = associate_binary(calls, [null_model(cases, basis)])
    score = associate_binary(calls, [null_model(cases, basis)], firth="none")
    promising = score.neg_log_10_p[:, 0] > -np.log10(0.05)
    assert (found.method[promising, 0] == FIRTH).all()
    assert (found.method[~promising, 0] == SCORE).all()
