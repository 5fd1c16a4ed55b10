from dataclasses import replace

import numpy as np
import torch

from leadlight.latent.augment import NO_AUGMENTATION, Augmentation, BeatBatch, augment
from leadlight.latent.beats import Beats


def changed(beats: Beats, settings: Augmentation, seed: int = 0) -> BeatBatch:
    beats_mv, own = beats.millivolts(slice(0, 64))
    return augment(
        torch.from_numpy(beats_mv),
        torch.from_numpy(own),
        torch.from_numpy(beats.limits[:64, 2:4]),
        settings,
        torch.Generator().manual_seed(seed),
    )


def test_nothing_changes_without_augmentation(healthy: tuple[Beats, np.ndarray]) -> None:
    beats = healthy[0]
    batch = changed(beats, NO_AUGMENTATION)
    beats_mv, own = beats.millivolts(slice(0, 64))
    assert np.array_equal(batch.wanted.numpy(), beats_mv)
    assert np.array_equal(batch.seen.numpy(), beats_mv * own[:, None])


def test_the_same_seed_gives_the_same_beats(healthy: tuple[Beats, np.ndarray]) -> None:
    one, two = (changed(healthy[0], Augmentation(), seed=5) for _ in range(2))
    assert torch.equal(one.seen, two.seen)
    assert not torch.equal(one.seen, changed(healthy[0], Augmentation(), seed=6).seen)


def test_an_exchange_leaves_the_qrs_as_it_is(healthy: tuple[Beats, np.ndarray]) -> None:
    beats = healthy[0]
    batch = changed(beats, replace(NO_AUGMENTATION, exchange=1.0))
    beats_mv, _ = beats.millivolts(slice(0, 64))
    for row in range(64):
        onset, offset = beats.limits[row, 2], beats.limits[row, 3]
        inside = slice(int(onset) + 14, int(offset) - 14)
        wrong = np.abs(batch.wanted[row, :, inside].numpy() - beats_mv[row, :, inside])
        assert wrong.max() < 0.02
    # And what is outside of it comes from others.
    assert np.abs(batch.wanted[:, :, 330:].numpy() - beats_mv[:, :, 330:]).mean() > 0.01


def test_stretching_keeps_r_where_it_is(healthy: tuple[Beats, np.ndarray]) -> None:
    beats = healthy[0]
    batch = changed(beats, replace(NO_AUGMENTATION, stretch=0.1))
    beats_mv, _ = beats.millivolts(slice(0, 64))
    np.testing.assert_allclose(batch.wanted[:, :, 225], beats_mv[:, :, 225], atol=1e-6)


def test_a_turned_heart_keeps_the_size_of_its_dipole(healthy: tuple[Beats, np.ndarray]) -> None:
    from leadlight.simulate.lead_field import DOWER

    beats = healthy[0]
    batch = changed(beats, replace(NO_AUGMENTATION, turn_rad=0.5))
    inverse = np.linalg.pinv(DOWER)
    beats_mv, _ = beats.millivolts(slice(0, 64))
    before = np.linalg.norm(inverse @ beats_mv, axis=1)
    after = np.linalg.norm(inverse @ batch.wanted.numpy(), axis=1)
    np.testing.assert_allclose(after, before, atol=1e-4)


def test_what_is_a_neighbours_is_never_seen(healthy: tuple[Beats, np.ndarray]) -> None:
    batch = changed(healthy[0], Augmentation())
    hidden = ~batch.own[:, None].expand_as(batch.seen)
    assert not batch.seen[hidden].any()
