"""Settings of a training that takes seconds."""

from leadlight.classify.fitting import FitSettings
from leadlight.latent.card import Architecture
from leadlight.latent.settings import LatentSettings


def small_settings(**changes: object) -> LatentSettings:
    fit = FitSettings(
        epochs=3, batch_size=64, learning_rate=2e-3, gradient_norm=10.0, weight_decay=1e-3,
        average_decay=0.9,
    )  # fmt: skip
    base: dict[str, object] = {
        "name": "small",
        "architecture": Architecture(latents=8, components=40, hidden=64),
        "fit": fit,
        "records_per_epoch": 640,
        "basis_beats": 640,
        "device": "cpu",
    }
    return LatentSettings(**(base | changes))  # type: ignore[arg-type]
