import numpy as np
import pytest

from leadlight.errors import LeadlightError
from leadlight.simulate.population import SimulatedRecording, simulate_person, simulate_recordings
from leadlight.simulate.twins import causal_masks, counterfactual


def people(count: int = 6, **severities: float) -> list[SimulatedRecording]:
    return list(
        simulate_recordings(
            count, seed=12, severities={k.lstrip("_"): v for k, v in severities.items()}
        )
    )


def difference_uv(one: SimulatedRecording, twin: SimulatedRecording) -> np.ndarray:
    return 1e3 * np.abs(one.recording.signal_mv.values - twin.recording.signal_mv.values)


def test_parameters_make_the_recording_again() -> None:
    for one in simulate_recordings(5, seed=3):
        again = simulate_person(one.parameters)
        np.testing.assert_array_equal(one.recording.signal_mv, again.recording.signal_mv)
        assert again.labels == one.labels


def test_the_twin_without_what_one_does_not_have_is_oneself() -> None:
    for one in people(2, RBBB=1.0):
        for absent in ("LBBB", "1dAVb", "PVC"):
            assert difference_uv(one, counterfactual(one.parameters, absent)).max() == 0.0


@pytest.mark.parametrize("block", ["RBBB", "LBBB"])
def test_without_its_block_a_heart_is_narrow_and_keeps_its_beats(block: str) -> None:
    for one in people(**{block: 1.0}):
        twin = counterfactual(one.parameters, block)
        assert float(twin.truth["qrs_ms"]) < float(one.truth["qrs_ms"]) - 20
        assert block not in twin.labels
        assert np.isclose(twin.truth["rate_bpm"], one.truth["rate_bpm"])


@pytest.mark.parametrize("block", ["RBBB", "LBBB"])
def test_the_mask_of_a_block_is_in_qrs_and_not_in_p(block: str) -> None:
    for one in people(4, **{block: 1.0}):
        mask = causal_masks(one).sel({"class": block}).values
        rate, true = one.recording.rate_hz, one.fiducials
        in_p, in_qrs = [], []
        for p_onset, onset, offset in zip(
            true.p_onset_s, true.qrs_onset_s, true.qrs_offset_s, strict=True
        ):
            in_qrs.append(mask[:, int((onset + 0.02) * rate) : int(offset * rate)].mean())
            if np.isfinite(p_onset):
                in_p.append(mask[:, int(p_onset * rate) : int((onset - 0.02) * rate)].mean())
        assert np.mean(in_qrs) > 0.5
        assert np.mean(in_p) < 0.02


def test_first_degree_block_moves_p_waves_and_no_qrs() -> None:
    for one in people(4, _1dAVb=1.2):
        twin = counterfactual(one.parameters, "1dAVb")
        assert "1dAVb" in one.labels
        assert "1dAVb" not in twin.labels
        np.testing.assert_allclose(one.fiducials.qrs_onset_s, twin.fiducials.qrs_onset_s)
        apart, rate = difference_uv(one, twin).max(axis=0), one.recording.rate_hz
        in_qrs = np.concatenate(
            [
                apart[int(onset * rate) + 5 : int(offset * rate)]
                for onset, offset in zip(
                    one.fiducials.qrs_onset_s, one.fiducials.qrs_offset_s, strict=True
                )
            ]
        )
        # What differs there is the atria's own recovery, which moves with P.
        assert np.percentile(in_qrs, 95) < 0.6 * apart.max()


def test_fibrillation_has_a_twin_with_p_waves_before_the_same_beats() -> None:
    spread: list[list[float]] = []
    for one in people(6, AF=1.0):
        twin = counterfactual(one.parameters, "AF")
        np.testing.assert_allclose(one.fiducials.qrs_onset_s, twin.fiducials.qrs_onset_s)
        assert np.isnan(one.fiducials.p_onset_s).all()
        assert np.isfinite(twin.fiducials.p_onset_s[1:]).all()
        regular = counterfactual(one.parameters, "AF", same_beats=False)
        assert regular.truth["rhythm"] == "sinus"
        spread.append([float(np.diff(x.fiducials.qrs_onset_s).std()) for x in (one, regular)])
    fibrillating, regular_s = np.mean(spread, axis=0)
    assert fibrillating > 1.3 * regular_s


def test_an_ectopic_beat_is_where_its_mask_is() -> None:
    for one in people(5, PVC=1.5):
        mask = causal_masks(one).sel({"class": "PVC"}).values.any(axis=0)
        ectopic = one.fiducials.ectopic
        rate = one.recording.rate_hz
        for beat, onset in enumerate(one.fiducials.qrs_onset_s):
            middle = mask[int((onset + 0.02) * rate) : int((onset + 0.07) * rate)]
            assert middle.mean() > 0.5 if ectopic[beat] else middle.mean() < 0.5


def test_a_worse_block_is_a_wider_qrs() -> None:
    for block in ("RBBB", "LBBB"):
        widths = [
            [float(one.truth["qrs_ms"]) for one in people(8, **{block: severity})]
            for severity in (0.0, 0.5, 1.0, 1.8)
        ]
        assert (np.diff(np.array(widths), axis=0) > 0).mean() > 0.9


def test_only_what_the_simulator_knows_can_be_taken_away() -> None:
    (one,) = people(1)
    with pytest.raises(LeadlightError, match="WPW is not a condition"):
        counterfactual(one.parameters, "WPW")
    with pytest.raises(LeadlightError, match="cannot tell twins apart"):
        causal_masks(one, ["LBBB"], least_uv=0.0)
    with pytest.raises(LeadlightError, match="at once"):
        people(1, AF=1.0, ST=1.0)
    with pytest.raises(LeadlightError, match="severity -1"):
        people(1, LBBB=-1.0)
