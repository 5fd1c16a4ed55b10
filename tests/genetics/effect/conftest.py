"""A study whose median beats hold a known effect of a known variant."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pgenlib
import polars as pl
import pytest
import torch

from leadlight.cohort import beats as store
from leadlight.cohort.store import write_cohort
from leadlight.ecg.leads import INDEPENDENT_LEADS, as_leads
from leadlight.ecg.median_beat import SAMPLES
from leadlight.ecg.recording import Recording
from leadlight.latent.beats import twelve_leads
from leadlight.latent.encoding import encode_study
from leadlight.latent.model import LatentModel, load_latent_model

PEOPLE = 500
QT_MS_PER_COPY = 6.0
AF_LOGIT_PER_COPY = 0.4


@dataclass(frozen=True)
class PlantedStudy:
    """study, genotypes: paths. difference_mv: (lead of LEADS, sample) per copy of rs0's G."""

    study: Path
    genotypes: Path
    covariates: Path
    copies: np.ndarray
    difference_mv: np.ndarray


@pytest.fixture(scope="session")
def latent() -> LatentModel:
    torch.set_num_threads(1)
    return load_latent_model()


@pytest.fixture(scope="session")
def planted_study(tmp_path_factory: pytest.TempPathFactory, latent: LatentModel) -> PlantedStudy:
    """500 people: decoded beats of random factors, noise, and a bump on T per copy of rs0's G.

    rs1 is linked to rs0, rs2 does nothing. Age moves beats and QT and is a covariate.
    """
    folder = tmp_path_factory.mktemp("planted")
    study = folder / "study"
    rng = np.random.default_rng(7)
    names = [f"p{i}" for i in range(PEOPLE)]
    copies = rng.binomial(2, 0.4, PEOPLE)
    linked = np.where(rng.random(PEOPLE) < 0.9, copies, rng.binomial(2, 0.4, PEOPLE))
    calls = np.stack([copies, linked, rng.binomial(2, 0.3, PEOPLE)])
    age = rng.normal(60, 10, PEOPLE)
    bump = np.exp(-0.5 * ((np.arange(SAMPLES) - 375) / 25) ** 2)
    weights = dict(zip(INDEPENDENT_LEADS, (0.3, 0.5, -0.2, 0.6, 0.8, 1.0, 0.8, 0.6), strict=True))
    difference = 0.05 * np.stack([weights[lead] * bump for lead in INDEPENDENT_LEADS])
    beats = latent.decode(0.3 * rng.standard_normal((PEOPLE, len(latent.names))))
    slow = np.sin(np.linspace(0, 3, SAMPLES)) * 0.0005
    beats = beats + copies[:, None, None] * difference + (age - 60)[:, None, None] * slow
    beats += 0.004 * rng.standard_normal(beats.shape)
    quiet = as_leads(np.zeros((12, 50), dtype=np.float32))
    write_cohort(study, ((Recording(quiet, 50.0, name, name), None) for name in names))
    store.create(study / "beats.zarr", pl.Series(names))
    microvolts = np.rint(1000 * twelve_leads(beats)).astype(np.int16)
    group = store.open_store(study / "beats.zarr", "r+")
    store.write_rows(group, range(PEOPLE), list(microvolts), [None] * PEOPLE, [10] * PEOPLE)
    noise = rng.standard_normal((6, PEOPLE))
    pl.DataFrame(
        {
            "record_id": names,
            "rr_ms": 1000 + 50 * noise[0],
            "rr_sd_ms": np.full(PEOPLE, 20.0),
            "heart_rate_bpm": 60 + 3 * noise[0],
            "pr_ms": 160 + 15 * noise[1],
            "qrs_ms": 90 + 8 * noise[2],
            "qt_ms": 400 + 15 * noise[3] + QT_MS_PER_COPY * copies + 0.5 * (age - 60),
            # Axes about ±180°, where a plain mean would be wrong.
            "qrs_axis_deg": (175 + 10 * noise[4] + 180) % 360 - 180,
        }
    ).write_parquet(study / "measurements.parquet")
    encode_study(study, latent)
    logits = study / "classify" / "leadlight-ecg-6" / "logits.parquet"
    logits.parent.mkdir(parents=True)
    pl.DataFrame(
        {"record_id": names, "AF": noise[5] + AF_LOGIT_PER_COPY * copies, "RBBB": noise[4]}
    ).write_parquet(logits)
    prefix = folder / "genotypes"
    _write_genotypes(prefix, calls)
    covariates = folder / "covariates.parquet"
    pl.DataFrame({"IID": names, "age": age}).write_parquet(covariates)
    return PlantedStudy(study, prefix, covariates, copies, twelve_leads(difference))


def _write_genotypes(prefix: Path, calls: np.ndarray) -> None:
    with pgenlib.PgenWriter(
        f"{prefix}.pgen".encode(), calls.shape[1], variant_ct=len(calls), nonref_flags=False
    ) as writer:
        for row in calls:
            writer.append_biallelic(row.astype(np.int8))
    lines = [f"1\t{1000 * (v + 1)}\trs{v}\tA\tG" for v in range(len(calls))]
    Path(f"{prefix}.pvar").write_text("\n".join(["#CHROM\tPOS\tID\tREF\tALT", *lines, ""]))
    rows = [f"0\tp{i}\t{1 + i % 2}" for i in range(calls.shape[1])]
    Path(f"{prefix}.psam").write_text("\n".join(["#FID\tIID\tSEX", *rows, ""]))
