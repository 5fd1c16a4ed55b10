import numpy as np

from leadlight.ecg.leads import INDEPENDENT_LEADS
from leadlight.ecg.median_beat import median_beat
from leadlight.latent.beats import Beats, own_mask
from leadlight.latent.repeatability import intraclass_correlation
from leadlight.latent.simulated import simulate_beats
from leadlight.simulate.population import simulate_recordings


def test_person_by_person_beats_do_not_depend_on_how_many_are_made() -> None:
    few, _ = simulate_beats(3, seed=8, first=2)
    many, _ = simulate_beats(5, seed=8)
    assert np.array_equal(few.microvolts, many.microvolts[2:])


def test_short_strips_give_the_beats_of_measured_recordings(
    healthy: tuple[Beats, np.ndarray],
) -> None:
    """The same people, ten seconds, R found as in any recording: the difference is noise."""
    beats = healthy[0]
    measured = [
        median_beat(one.recording.signal_mv, one.recording.rate_hz)
        for one in simulate_recordings(40, seed=3, severities={})
    ]
    whole = np.stack([one.beat_mv.sel(lead=list(INDEPENDENT_LEADS)).values for one in measured])
    made, _ = beats.millivolts(slice(0, 40))
    inside = own_mask(beats.own[:40])[:, None]
    apart = np.abs(whole - made) * inside
    mae_uv = 1000 * apart.sum(axis=(1, 2)) / inside.sum(axis=(1, 2)) / 8
    assert np.median(mae_uv) < 12
    # And they are the same people's, lead by lead: heights of R agree.
    height = np.stack([np.ptp(whole, axis=2), np.ptp(made, axis=2)])
    assert (intraclass_correlation(height[0], height[1]) > 0.97).all()
