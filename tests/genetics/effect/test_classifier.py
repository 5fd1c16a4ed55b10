import numpy as np
import pytest

from leadlight.classify.models import DEFAULT_MODEL, load_model
from leadlight.ecg.leads import LEADS
from leadlight.genetics.effect.classifier import (
    WAVES,
    StripRelevance,
    by_wave,
    strip_relevance,
    waves_of_samples,
)
from leadlight.latent.beats import twelve_leads
from leadlight.latent.model import LatentModel

LIMITS = {"P": (-200.0, -90.0), "QRS": (-40.0, 50.0), "T": (150.0, 350.0)}


@pytest.fixture(scope="module")
def found(latent: LatentModel) -> StripRelevance:
    """A larger QRS in V1 on the model's mean beat, slow enough for one beat per window."""
    beat = twelve_leads(latent.decode(np.zeros((1, len(latent.names))))[0])
    difference = np.zeros_like(beat)
    difference[LEADS.index("V1"), 205:250] = 0.4 * beat[LEADS.index("V1"), 205:250]
    return strip_relevance(load_model(DEFAULT_MODEL), beat, difference, rr_ms=950)


def test_relevance_adds_up_to_the_change_of_the_logit(found: StripRelevance) -> None:
    total = found.relevance.sum(axis=(1, 2))
    large = np.abs(found.change) > 0.01
    assert large.any()
    assert total[large] == pytest.approx(found.change[large], rel=0.05)
    assert (found.completeness_error[large] < 0.05).all()
    assert found.waves.sum(axis=(1, 2)) == pytest.approx(total)


def test_relevance_lies_where_the_difference_is(found: StripRelevance) -> None:
    others = [place for place, lead in enumerate(LEADS) if lead != "V1"]
    assert np.abs(found.relevance[:, others]).max() == 0
    of_lead = found.waves[:, LEADS.index("V1")]
    strongest = of_lead[np.abs(found.change).argmax()]
    assert WAVES[int(np.abs(strongest).argmax())] == "QRS"


def test_every_sample_lies_in_one_wave() -> None:
    owner = waves_of_samples(LIMITS)
    at = {wave: int((ms + 450) / 2) for wave, ms in
          {"P": -150, "PR": -60, "QRS": 0, "ST": 100, "T": 250, "TP": 500}.items()}  # fmt: skip
    assert [WAVES[owner[at[wave]]] for wave in WAVES] == list(WAVES)
    relevance = np.random.default_rng(0).standard_normal((2, 12, 600))
    assert by_wave(relevance, LIMITS).sum(axis=2) == pytest.approx(relevance.sum(axis=2))


def test_a_beat_without_p_has_no_p_and_no_pr() -> None:
    owner = waves_of_samples({**LIMITS, "P": (float("nan"), float("nan"))})
    assert not np.isin(owner, [WAVES.index("P"), WAVES.index("PR")]).any()
