import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadlight.ecg.leads import LEADS, algebra_residual_mv, canonical_lead, complete_leads

LIMB = LEADS[:6]


def a_body(seed: int, n: int = 50) -> dict[str, np.ndarray]:
    """Twelve leads of one body: three electrode potentials against the others' mean."""
    rng = np.random.default_rng(seed)
    right, left, foot = rng.normal(size=(3, n))
    limb = {
        "I": left - right,
        "II": foot - right,
        "III": foot - left,
        "aVR": right - (left + foot) / 2,
        "aVL": left - (right + foot) / 2,
        "aVF": foot - (right + left) / 2,
    }
    return limb | {name: rng.normal(size=n) for name in LEADS[6:]}


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    kept=st.lists(st.sampled_from(LIMB), min_size=2, max_size=6, unique=True),
)
def test_any_two_limb_leads_give_back_all_six(seed: int, kept: list[str]) -> None:
    body = a_body(seed)
    names = [*kept, *LEADS[6:]]
    signal, derived, missing = complete_leads(
        np.stack([body[name] for name in names]).astype(np.float32), names
    )
    assert missing == []
    assert set(derived) == set(LIMB) - set(kept)
    for lead in LEADS:
        np.testing.assert_allclose(signal.sel(lead=lead).values, body[lead], atol=1e-4)
    assert max(algebra_residual_mv(signal).values()) < 1e-4


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), order=st.permutations(LEADS))
def test_the_order_in_a_file_does_not_matter(seed: int, order: list[str]) -> None:
    body = a_body(seed)
    rows = np.stack([body[name] for name in order]).astype(np.float32)
    signal, derived, missing = complete_leads(rows, list(order))
    assert (derived, missing) == ([], [])
    assert tuple(signal["lead"].values) == LEADS
    np.testing.assert_array_equal(signal.sel(lead="aVF").values, body["aVF"].astype(np.float32))


def test_a_lead_that_nothing_gives_is_nan_and_named() -> None:
    body = a_body(1)
    names = [name for name in LEADS if name not in ("V6", *LIMB[1:])]
    signal, derived, missing = complete_leads(
        np.stack([body[name] for name in names]).astype(np.float32), names
    )
    assert derived == []
    assert missing == ["II", "III", "aVR", "aVL", "aVF", "V6"]
    assert np.isnan(signal.sel(lead="V6").values).all()


@pytest.mark.parametrize(
    ("written", "lead"),
    [
        ("AVR", "aVR"),
        ("avl", "aVL"),
        ("Lead I (Einthoven)", "I"),
        ("MDC_ECG_LEAD_AVF", "aVF"),
        (" v1 ", "V1"),
        ("ECG V6", "V6"),
        ("vx", None),
        ("RESP", None),
        ("V7", None),
        ("", None),
    ],
)
def test_the_many_names_of_a_lead(written: str, lead: str | None) -> None:
    assert canonical_lead(written) == lead
