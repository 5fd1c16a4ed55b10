"""The ridge kernels against their definition, written out in double precision."""

import numpy as np
import pytest

from leadlight.genetics.ridge import (
    block_predictions,
    predict,
    shrinkages,
    stack_linear,
    stack_logistic,
)

GRID = (0.01, 0.25, 0.5, 0.75, 0.99)


def _data(seed=0, people=403, variants=60, traits=3):
    rng = np.random.default_rng(seed)
    calls = rng.binomial(2, rng.uniform(0.05, 0.5, (variants, 1)), (variants, people))
    design = np.c_[np.ones(people), rng.normal(size=(people, 3))]
    basis = np.linalg.qr(design)[0]
    values = rng.normal(size=(people, traits)) + calls[:5].sum(axis=0)[:, None] * 0.3
    return calls.astype(np.int8), basis, values - basis @ (basis.T @ values)


def _by_definition(calls, basis, traits, penalties, folds):
    filled = calls.astype(float)
    means = np.nanmean(filled, axis=1, keepdims=True)
    filled = np.where(np.isnan(filled), means, filled).T
    left = filled - basis @ (basis.T @ filled)
    left /= np.sqrt((left**2).sum(axis=0) / (len(left) - basis.shape[1]))
    fold = np.arange(len(left)) % folds
    out = np.empty((traits.shape[1], len(penalties), len(left)))
    for k in range(folds):
        train, gram = fold != k, left[fold != k].T @ left[fold != k]
        for at, penalty in enumerate(penalties):
            weights = np.linalg.solve(
                gram + penalty * np.eye(len(gram)), left[train].T @ traits[train]
            )
            out[:, at, fold == k] = (left[fold == k] @ weights).T
    return out


@pytest.mark.parametrize("kind", ["complete", "int8 missing", "dosages missing"])
def test_block_predictions_are_the_ridge_predictions_of_the_other_folds(kind):
    calls, basis, traits = _data()
    missing = np.random.default_rng(1).random(calls.shape) < (0 if kind == "complete" else 0.03)
    reference = np.where(missing, np.nan, calls)
    given = np.where(missing, -9, calls).astype(np.int8)
    if kind == "dosages missing":
        given = reference.astype(np.float32)
    penalties = shrinkages(GRID, 500)
    found, _ = block_predictions(given, basis.astype("f4"), traits.astype("f4"), penalties, 5)
    expected = _by_definition(reference, basis, traits, penalties, 5)
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


def test_variants_without_variance_take_no_part():
    calls, basis, traits = _data()
    penalties = shrinkages(GRID, 60)
    with_constant = np.concatenate([calls, np.full((2, calls.shape[1]), 2, dtype=np.int8)])
    found, power = block_predictions(
        with_constant, basis.astype("f4"), traits.astype("f4"), penalties, 5
    )
    expected, _ = block_predictions(calls, basis.astype("f4"), traits.astype("f4"), penalties, 5)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    assert power[-1] == len(calls)


def test_power_is_the_sum_of_squared_products_with_unit_variants():
    calls, basis, traits = _data()
    _, power = block_predictions(
        calls, basis.astype("f4"), traits.astype("f4"), shrinkages(GRID, 60), 5
    )
    left = calls.T - basis @ (basis.T @ calls.T)
    left /= np.sqrt((left**2).sum(axis=0) / (len(left) - basis.shape[1]))
    np.testing.assert_allclose(power[:-1], ((left.T @ traits) ** 2).sum(axis=0), rtol=1e-4)


def test_the_linear_stack_is_ridge_on_standardised_predictors_with_the_best_penalty():
    rng = np.random.default_rng(2)
    predictors = rng.normal(size=(12, 700)) * rng.uniform(0.1, 3, (12, 1)) + 2
    trait = predictors[:3].sum(axis=0) * 0.2 + rng.normal(size=700)
    trait[rng.random(700) < 0.1] = np.nan
    known, folds = np.isfinite(trait), 4
    found = stack_linear(lambda a, b: predictors[:, a:b].astype("f4"), trait, GRID, folds)

    values = predictors.T[known]
    values = (values - values.mean(axis=0)) / values.std(axis=0)
    target = trait[known] - trait[known].mean()
    fold = np.arange(700)[known] % folds
    losses, held = [], []
    for penalty in shrinkages(GRID, 12):
        out = np.empty(len(target))
        for k in range(folds):
            x, y = values[fold != k], target[fold != k]
            out[fold == k] = values[fold == k] @ np.linalg.solve(
                x.T @ x + penalty * np.eye(12), x.T @ y
            )
        losses.append(np.mean((target - out) ** 2))
        held.append(out)
    np.testing.assert_allclose(found.losses, losses, rtol=1e-5)
    best = int(np.argmin(losses))
    assert found.heritability == GRID[best]
    predicted = predict(
        lambda a, b: predictors[:, a:b].astype("f4"), found, [np.ones(12, dtype=bool)], 700
    )
    np.testing.assert_allclose(predicted[0][known], held[best], atol=1e-4)


def test_the_logistic_stack_is_at_the_maximum_of_its_penalised_likelihood():
    rng = np.random.default_rng(3)
    predictors = rng.normal(size=(6, 900)).astype("f4")
    offset = rng.normal(size=900) * 0.5 - 1
    cases = (rng.random(900) < 1 / (1 + np.exp(-offset - predictors[0] * 0.8))).astype(float)
    cases[::17] = np.nan
    found = stack_logistic(lambda a, b: predictors[:, a:b], cases, offset, GRID, 5)
    known = np.isfinite(cases)
    scale = predictors[:, known].std(axis=1)
    values = ((predictors.T - predictors[:, known].mean(axis=1)) / scale).astype(float)
    penalty = shrinkages([found.heritability], 6)[0] * np.pi**2 / 3
    for fold, weights in enumerate(found.weights * scale):
        use = known & (np.arange(900) % 5 != fold)
        # With the constant at its best, the penalised score vanishes.
        low, high = -5.0, 5.0
        for _ in range(80):
            middle = (low + high) / 2
            chance = 1 / (1 + np.exp(-offset[use] - values[use] @ weights - middle))
            low, high = (middle, high) if (cases[use] - chance).sum() > 0 else (low, middle)
        np.testing.assert_allclose(
            values[use].T @ (cases[use] - chance), penalty * weights, atol=2e-3
        )
    assert 0 < found.score < 0.3
