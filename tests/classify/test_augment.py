"""Disturbances are like those of real recordings and break nothing that the leads promise."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from leadlight.classify.augment import (
    ELECTRODES,
    NO_AUGMENTATION,
    AugmentSettings,
    add_baseline_wander,
    add_mains_hum,
    add_muscle_noise,
    add_noise,
    augment,
    change_gain,
    crop_and_pad,
    drop_leads,
    electrode_weights,
    shift_time,
    stretch_time,
)
from leadlight.classify.cards import InputSection
from leadlight.ecg.leads import DERIVED_FROM_I_II, LEADS

SPEC = InputSection(rate_hz=400, samples=2048, missing_leads="zero")
SETTINGS = AugmentSettings()
EVERYTHING = AugmentSettings(
    crop=1, stretch=1, shift=1, gain=1, wander=1, noise=1, muscle=1, mains=1, lead_dropout=0
)
DISTURBANCES = [
    add_baseline_wander,
    add_mains_hum,
    add_muscle_noise,
    add_noise,
    change_gain,
    crop_and_pad,
    drop_leads,
    shift_time,
    stretch_time,
]


def dice(seed=0):
    return torch.Generator().manual_seed(seed)


def records(n=8, spec=SPEC, seed=0, pad=200):
    """Random potentials at nine electrodes, seen in the card's leads; `pad` zeros at both ends."""
    potential = torch.randn(n, len(ELECTRODES), spec.samples, generator=dice(seed))
    x = electrode_weights(spec.leads) @ potential
    valid = torch.zeros(n, spec.samples, dtype=torch.bool)
    valid[:, pad : spec.samples - pad] = True
    return x * valid[:, None], valid


def algebra_error(x, leads):
    row = {lead: x[:, i] for i, lead in enumerate(leads)}
    return max(
        float((row[lead] - (a * row["I"] + b * row["II"])).abs().max())
        for lead, (a, b) in DERIVED_FROM_I_II.items()
    )


def test_electrodes_give_the_leads_their_textbook_definition():
    weights = dict(zip(LEADS, electrode_weights(LEADS), strict=True))
    ra, la, ll, v1 = np.eye(len(ELECTRODES))[:4]
    assert weights["I"].tolist() == pytest.approx(la - ra)
    assert weights["II"].tolist() == pytest.approx(ll - ra)
    assert weights["aVF"].tolist() == pytest.approx(ll - (ra + la) / 2)
    assert weights["V1"].tolist() == pytest.approx(v1 - (ra + la + ll) / 3, abs=1e-6)
    assert all(abs(float(w.sum())) < 1e-6 for w in weights.values())  # common mode is not seen


@pytest.mark.parametrize(
    "leads", [LEADS, ("aVL", "V6", "II", "aVF", "V1", "III", "I", "aVR", "V2", "V3", "V4", "V5")]
)
def test_all_disturbances_together_keep_the_algebra_of_the_limb_leads(leads):
    spec = InputSection(rate_hz=400, samples=2048, leads=leads)
    x, valid = records(spec=spec)
    disturbed = augment(x, valid, spec, EVERYTHING, dice())
    assert (disturbed - x).abs().max() > 0.5
    assert algebra_error(disturbed, leads) < 1e-4


@pytest.mark.parametrize("disturb", DISTURBANCES)
def test_a_disturbance_changes_records_repeats_with_its_seed_and_leaves_its_input_alone(disturb):
    x, valid = records()
    before = x.clone()
    # A record of 4 s is shorter than any piece that is cut by default.
    settings = replace(SETTINGS, crop_s=(1.0, 2.0))
    first, valid_after = disturb(x, valid, SPEC, settings, dice(1))
    again, _ = disturb(x, valid, SPEC, settings, dice(1))
    other, _ = disturb(x, valid, SPEC, settings, dice(2))
    assert torch.equal(x, before)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, x)
    assert first.shape == x.shape
    assert valid_after.dtype == torch.bool


@pytest.mark.parametrize("disturb", DISTURBANCES)
def test_padding_and_missing_leads_stay_zero(disturb):
    x, valid = records()
    x[:, 7] = 0
    x[:, 2] = 0
    disturbed, valid_after = disturb(x, valid, SPEC, SETTINGS, dice())
    assert (disturbed[:, [2, 7]] == 0).all()
    assert (disturbed * ~valid_after[:, None] == 0).all()


def test_white_noise_has_the_stated_signal_to_noise_ratio():
    x, valid = records(n=32)
    noisy, _ = add_noise(x, valid, SPEC, replace(SETTINGS, noise_snr_db=(20.0, 20.0)), dice())
    added = (noisy - x)[..., 200:-200]
    ratio_db = 10 * torch.log10(x[..., 200:-200].square().mean() / added.square().mean())
    assert float(ratio_db) == pytest.approx(20, abs=0.3)


def test_noise_of_a_filtered_record_lies_in_the_filters_band():
    spec = InputSection(rate_hz=400, samples=2048, highpass_hz=5, lowpass_hz=40)
    x, valid = records(n=16, spec=spec, pad=0)
    noisy, _ = add_noise(x, valid, spec, SETTINGS, dice())
    power = torch.fft.rfft(noisy - x).abs().square().mean(dim=(0, 1))
    frequency = torch.fft.rfftfreq(2048, 1 / 400)
    inside = power[(frequency > 8) & (frequency < 30)].mean()
    assert power[frequency > 100].mean() < 0.01 * inside
    assert power[(frequency > 0) & (frequency < 1.5)].mean() < 0.01 * inside


def test_muscle_noise_lies_in_its_band_and_comes_in_bursts():
    x, valid = records(n=16, pad=0)
    noise = add_muscle_noise(x, valid, SPEC, SETTINGS, dice())[0] - x
    power = torch.fft.rfft(noise).abs().square().mean(dim=(0, 1))
    frequency = torch.fft.rfftfreq(2048, 1 / 400)
    low, high = SETTINGS.muscle_hz
    assert power[(frequency < low - 2) | (frequency > high + 2)].sum() < 0.01 * power.sum()
    half_second = noise.unfold(-1, 200, 200).square().mean(dim=-1)
    spread = half_second.std(dim=-1) / half_second.mean(dim=-1)
    steady = add_noise(x, valid, SPEC, SETTINGS, dice())[0] - x
    steady_half_second = steady.unfold(-1, 200, 200).square().mean(dim=-1)
    assert (
        spread.mean()
        > 3 * (steady_half_second.std(dim=-1) / steady_half_second.mean(dim=-1)).mean()
    )


def test_wander_is_slow_and_bounded_and_scaled_to_the_networks_unit():
    spec = InputSection(rate_hz=400, samples=4096, unit_scale=10)
    x, valid = records(n=16, spec=spec, pad=0)
    added = add_baseline_wander(x, valid, spec, SETTINGS, dice())[0] - x
    power = torch.fft.rfft(added * torch.hann_window(4096)).abs().square().mean(dim=(0, 1))
    frequency = torch.fft.rfftfreq(4096, 1 / 400)
    assert power[frequency > 1.2].sum() < 1e-3 * power.sum()
    # A bipolar lead sees at most the sum of two electrodes.
    assert 10 * SETTINGS.wander_mv * 0.2 < added[:, 0].abs().max() <= 20 * SETTINGS.wander_mv


def test_mains_hum_is_at_50_or_60_hz():
    x, valid = records(n=40, pad=0)
    hum = add_mains_hum(x, valid, SPEC, SETTINGS, dice())[0] - x
    spectrum = torch.fft.rfft(hum * torch.hann_window(2048)).abs().mean(dim=1)
    peak = torch.fft.rfftfreq(2048, 1 / 400)[spectrum.argmax(dim=1)]
    fifty, sixty = (peak - 50).abs() < 0.3, (peak - 60).abs() < 0.3
    assert (fifty | sixty).all()
    assert fifty.any()
    assert sixty.any()


def test_shifting_moves_samples_and_drops_what_leaves():
    x, valid = records(n=20, pad=0)
    shifted, valid_after = shift_time(x, valid, SPEC, SETTINGS, dice())
    moves = set()
    for before, after, mask in zip(x, shifted, valid_after, strict=True):
        first, n = int(mask.int().argmax()), int(mask.sum())
        lost = 2048 - n
        source = before[:, lost:] if first == 0 else before[:, :n]
        assert torch.equal(after[:, mask], source)
        moves.add(lost if first == 0 else -lost)
    assert max(abs(move) for move in moves) <= SETTINGS.shift_s * SPEC.rate_hz
    assert len(moves) > 10


@pytest.mark.parametrize("padding", ["both", "start", "end"])
def test_a_crop_is_a_piece_of_the_record_padded_as_the_card_says(padding):
    spec = InputSection(rate_hz=400, samples=2048, padding=padding)
    x, valid = records(n=20, pad=100)
    settings = replace(SETTINGS, crop_s=(2.0, 3.0))
    cut, valid_after = crop_and_pad(x, valid, spec, settings, dice())
    for before, after, mask in zip(x, cut, valid_after, strict=True):
        n, first = int(mask.sum()), int(mask.int().argmax())
        assert 800 <= n <= 1200
        assert first == {"both": (2048 - n) // 2, "start": 2048 - n, "end": 0}[padding]
        piece = after[0, mask]
        starts = (before[0] == piece[0]).nonzero().flatten().tolist()
        assert any(torch.equal(before[:, s : s + n], after[:, mask]) for s in starts)


def test_a_record_shorter_than_the_crop_stays_whole():
    x, valid = records(pad=900)
    cut, _ = crop_and_pad(x, valid, SPEC, SETTINGS, dice())
    assert torch.equal(cut, x)


def test_stretching_changes_a_sines_frequency_by_no_more_than_stated():
    time_s = torch.arange(4096) / 400
    spec = InputSection(rate_hz=400, samples=4096)
    x = torch.sin(2 * torch.pi * 10 * time_s).expand(12, 12, -1)
    valid = torch.ones(12, 4096, dtype=torch.bool)
    out, _ = stretch_time(x, valid, spec, replace(SETTINGS, stretch_by=0.1), dice())
    padded = torch.fft.rfft(out[:, 0] * torch.hann_window(4096), n=1 << 17).abs()
    peak = torch.fft.rfftfreq(1 << 17, 1 / 400)[padded.argmax(dim=1)]
    assert ((peak > 10 / 1.1 - 0.05) & (peak < 10 / 0.9 + 0.05)).all()
    assert float(peak.std()) > 0.2


def test_dropping_leads_drops_about_the_stated_share_and_never_the_last_one():
    x, valid = records(n=400, pad=0)
    dropped, _ = drop_leads(x, valid, SPEC, SETTINGS, dice())
    gone = (dropped == 0).all(dim=-1)
    assert float(gone.float().mean()) == pytest.approx(SETTINGS.dropped_share, abs=0.03)
    assert torch.equal(dropped[~gone], x[~gone])
    x[:, 1:] = 0  # only lead I is there
    all_dropped, _ = drop_leads(x, valid, SPEC, replace(SETTINGS, dropped_share=1.0), dice())
    assert torch.equal(all_dropped, x)


def test_gain_differs_between_channels_but_not_where_a_limb_lead_is_missing():
    x, valid = records()
    x[0, 0] = 0  # the first record lacks lead I
    scaled, _ = change_gain(x, valid, SPEC, SETTINGS, dice())
    ratio = (scaled / x)[..., 1000]
    assert torch.allclose(ratio[0, 1:6], ratio[0, 1].expand(5))
    assert not torch.allclose(ratio[1, 0], ratio[1, 1])
    assert not torch.allclose(ratio[0, 6], ratio[0, 7])


def test_settings_of_zero_change_nothing_and_a_probability_is_a_share_of_records():
    x, valid = records(n=500)
    assert torch.equal(augment(x, valid, SPEC, NO_AUGMENTATION, dice()), x)
    some = augment(x, valid, SPEC, replace(NO_AUGMENTATION, noise=0.3), dice())
    changed = (some != x).any(dim=-1).any(dim=-1)
    assert float(changed.float().mean()) == pytest.approx(0.3, abs=0.07)
