"""Train the shipped factor model: python training/latent_model.py --ptbxl DIR --quality FILE ...

Real beats are PTB-XL's folds 1 to 8 (a study that was imported and measured; fold 9 decides when to
stop, fold 10 is never read here) and the acceptable records of CinC 2011 set A; simulated beats are
made here. It goes on where it was stopped. With --seeds, further models of other seeds are trained
beside it and their factors are matched.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from leadlight.classify.fitting import FitSettings
from leadlight.cohort.measuring import measure_cohort
from leadlight.cohort.store import CohortWriter
from leadlight.ecg.leads import canonical_lead, complete_leads
from leadlight.ecg.quality import quality_flags
from leadlight.ecg.recording import Recording
from leadlight.latent.beats import save_beats
from leadlight.latent.card import read_card, write_card
from leadlight.latent.objective import Objective
from leadlight.latent.settings import LatentSettings
from leadlight.latent.simulated import simulate_beats
from leadlight.latent.sweep import sweep
from leadlight.latent.training import train
from leadlight.progress import say

# The set is stored in steps of 5 µV, not in µV: read as µV its QRS complexes are a fifth of any
# other set's, and times five they are the same.
QUALITY_STEP_UV = 5.0
SIMULATED_PEOPLE, SIMULATED_SEED = 16_000, 5
SETTINGS = LatentSettings(
    name="leadlight-factors",
    objective=Objective(beta=10.0, likelihood="hyperbolic", noise_mv=0.02, decorrelation=200.0),
    fit=FitSettings(
        epochs=24, batch_size=128, learning_rate=2e-3, warm_up=0.1, weight_decay=1e-3,
        gradient_norm=10.0, average_decay=0.995, patience=10,
    ),
    study_weights=(0.3, 0.3, 0.4),
    reference=("ptbxl", "quality"),
)  # fmt: skip
DESCRIPTION = (
    "Independent factors of the 12-lead median beat, from real and simulated hearts. Research "
    "software, not a medical device."
)
LIMITS = (
    "Real training beats are 801 records of two sets; hearts unlike them are flagged by their "
    "reconstruction error, not understood.",
    "Factors are uncorrelated in the people that they were standardised on; in another population "
    "they correlate, and the evaluation says how much.",
    "Rhythm is not in a median beat: atrial fibrillation shows as an absent P wave at most.",
    "Waves of neighbouring beats are left out above some 75 beats a minute; the late T wave of a "
    "fast heart may be cut with them.",
)


def quality_study(archive: Path, study: Path) -> None:
    """The acceptable records of CinC 2011 set A as a measured study."""
    if not (study / "records.parquet").exists():
        with np.load(archive) as packed:
            names = [canonical_lead(str(name)) for name in packed["leads"]]
            rows = zip(packed["signal_uv"], packed["record"], packed["quality"], strict=True)
            with CohortWriter(study, overwrite=True) as writer:
                for counts, record, quality in rows:
                    if quality != "acceptable":
                        continue
                    signal_mv = (counts * QUALITY_STEP_UV / 1e3).astype(np.float32)
                    signal, _, _ = complete_leads(signal_mv, [str(name) for name in names])
                    recording = Recording(
                        signal_mv=signal, rate_hz=500.0, record_id=str(record),
                        patient_id=str(record), source_format="npz",
                    )  # fmt: skip
                    flags = quality_flags(recording)
                    writer.add(recording, None, flags=flags, source=str(record))
    if not (study / "measurements.parquet").exists():
        measure_cohort(study)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ptbxl", type=Path, required=True, help="measured study")
    parser.add_argument("--quality", type=Path, required=True, help="cinc2011_set_a.npz")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is made")
    parser.add_argument("--out", type=Path, required=True, help="folder of the model")
    parser.add_argument("--epochs", type=int, default=SETTINGS.fit.epochs)
    parser.add_argument("--people", type=int, default=SIMULATED_PEOPLE)
    parser.add_argument("--seeds", type=int, nargs="*", default=[], help="of further models")
    parser.add_argument("--further-epochs", type=int, default=SETTINGS.fit.epochs)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    started = time.monotonic()
    quality, hearts = asked.work / "quality", asked.work / "simulated"
    quality_study(asked.quality, quality)
    if not hearts.exists():
        beats, _ = simulate_beats(asked.people, seed=SIMULATED_SEED)
        save_beats(beats, hearts)
    studies = [asked.ptbxl, quality, hearts]
    settings = replace(SETTINGS, fit=replace(SETTINGS.fit, epochs=asked.epochs))
    done = train(
        studies, asked.out, settings, cache=asked.work / "cache", validation_study="ptbxl",
        resume=True, overwrite=True,
    )  # fmt: skip
    card = read_card(asked.out)
    model = card.model.model_copy(update={"description": DESCRIPTION})
    about = {
        "data": "PTB-XL 1.0.3 folds 1 to 8 of records 1 to 500 (CC BY 4.0); CinC 2011 set A, "
        "acceptable records (ODC-By 1.0); hearts simulated by Leadlight",
        "licence_of_data": "CC BY 4.0; ODC-By 1.0",
    }
    updated = {"model": model, "limits": LIMITS, "training": card.training | about}
    write_card(card.model_copy(update=updated), asked.out / "card.toml")
    say(f"{len(done.model.names)} factors in {time.monotonic() - started:.0f} s: {asked.out}.")
    if asked.seeds:
        fewer = replace(settings, fit=replace(settings.fit, epochs=asked.further_epochs))
        table = sweep(
            studies, asked.work / "sweep", fewer, seeds=asked.seeds,
            betas=[settings.objective.beta], cache=asked.work / "cache", validation_study="ptbxl",
            resume=True,
        )  # fmt: skip
        say(str(table))


if __name__ == "__main__":
    main()
