"""A small study for the server: names that would break a careless page, and a truth to check by."""

import base64
import hashlib
import json
from pathlib import Path

import numpy as np
import polars as pl

from leadlight.cohort.store import CohortWriter, open_cohort
from leadlight.ecg.leads import LEADS, as_leads
from leadlight.ecg.recording import Recording
from leadlight.explain import relevance_store

CLASSIFIER = "leadlight-ecg-6"
CLASSES = ("1dAVb", "RBBB", "LBBB", "SB", "AF", "ST")
HOSTILE = (
    "<script>document.title='taken'</script>",
    "\"><img src=x onerror=document.title='taken'>",
    "a'b\"c&amp;d",
    "../../../../etc/passwd",
    "folder/../x",
    "..",
    "%2e%2e%2f",
    "{{ 7 * 7 }}{% raw %}",
    "Übung/код/心電図\u2028",
    "with space?and#hash&x=y+z",
    "</script><!--",
)
CANARY = "the-canary-in-a-file-that-nobody-may-read"
FACTORS = tuple(f"factor_{number:02d}" for number in range(1, 25))
MEASURED = ("pr_ms", "qrs_ms")
LEAD = ("3", 38_737_659, "T", "C")
PLAIN = 40
RATE_HZ = 500.0


def write_served_study(study: Path) -> Path:
    """Cohort, measurements, probabilities, relevance, factors, associations, loci, a report."""
    names = [*(f"plain{number:03d}" for number in range(PLAIN)), *HOSTILE]
    rng = np.random.default_rng(5)
    with CohortWriter(study) as writer:
        for number, name in enumerate(names):
            labels = (("AF",), ("NORM",), None, ())[number % 4]
            flags = ("flat_lead:V1",) if number % 5 == 0 else ()
            writer.add(_recording(name, number), labels, flags=flags)
    _write_tables(study, names, rng)
    _write_relevance(study, names[:3])
    _write_factors(study, names, rng)
    _write_gwas(study / "gwas", rng)
    _write_loci(study / "loci")
    _write_report(study / "report")
    return study


def truth_of(study: Path) -> pl.DataFrame:
    """Records joined with their probabilities, in the table's order."""
    table = pl.read_parquet(study / "classify" / CLASSIFIER / "probabilities.parquet")
    return open_cohort(study).records.join(table, on="record_id", how="left", maintain_order="left")


def _recording(name: str, number: int) -> Recording:
    time = np.arange(round(RATE_HZ * 4)) / RATE_HZ
    beat = np.exp(-(((time % 0.8) - 0.4) ** 2) / (2 * 0.012**2))
    rows = [(1 + 0.1 * place + 0.01 * number) * beat for place in range(len(LEADS))]
    return Recording(
        as_leads(np.stack(rows).astype(np.float32)), RATE_HZ, record_id=name,
        patient_id=f"patient of {name}", age_years=40.0 + number, sex="F" if number % 2 else "M",
        source_format="simulated",
    )  # fmt: skip


def _write_tables(study: Path, names: list[str], rng: np.random.Generator) -> None:
    folder = study / "classify" / CLASSIFIER
    folder.mkdir(parents=True)
    given = [name for number, name in enumerate(names) if number != 7]  # one was refused
    logits = rng.normal(size=(len(given), len(CLASSES)))
    for table, values in (("logits", logits), ("probabilities", 1 / (1 + np.exp(-logits)))):
        columns = {name: values[:, place] for place, name in enumerate(CLASSES)}
        pl.DataFrame({"record_id": given, **columns}).write_parquet(folder / f"{table}.parquet")
    pl.DataFrame({"record_id": [names[7]], "reason": ["Lead V1 is missing."]}).write_parquet(
        folder / "refused.parquet"
    )
    n = len(names)
    pl.DataFrame(
        {
            "record_id": names[::-1], "heart_rate_bpm": np.full(n, 75.0),
            "pr_ms": [150.0 + n - 1 - k if k else None for k in range(n)],
            "r_mv_V5": np.full(n, 1.25), "failure": [None] * n,
        },
        schema_overrides={"failure": pl.String()},
    ).write_parquet(study / "measurements.parquet")  # fmt: skip


def _write_relevance(study: Path, names: list[str]) -> None:
    store, samples = study / "relevance.zarr", 2560
    relevance_store.create_store(
        store, names, ["AF"], list(LEADS), samples,
        {"rate_hz": 250.0, "model": CLASSIFIER, "padding": "both", "crop": "centre",
         "method": "made up"},
    )  # fmt: skip
    values = np.zeros((len(names), 1, len(LEADS), samples), dtype=np.float32)
    values[:, :, 1, 1200:1210] = 0.5
    relevance_store.write_shard(store, 0, values)
    n_valid = 1000
    relevance_store.finish_store(
        store, np.full(len(names), (samples - n_valid) // 2), np.full(len(names), n_valid),
        np.zeros(len(names)),
    )  # fmt: skip
    (study / "findings").mkdir()
    (study / "findings" / "summary.json").write_text(json.dumps({"model": CLASSIFIER}))


def _write_factors(study: Path, names: list[str], rng: np.random.Generator) -> None:
    from leadlight.latent.decoder_file import ensure_decoder
    from leadlight.latent.model import load_latent_model

    folder = ensure_decoder(study, load_latent_model())
    values = rng.normal(size=(len(names), len(FACTORS))).astype(np.float32)
    table = pl.DataFrame({"record_id": names, **dict(zip(FACTORS, values.T, strict=True))})
    table = table.with_columns(
        pl.when(pl.col("record_id") == names[9]).then(None).otherwise(pl.col(name)).alias(name)
        for name in FACTORS
    )
    table.with_columns(
        error_uv=pl.when(pl.col(FACTORS[0]).is_not_null()).then(12.0),
        distance=pl.when(pl.col(FACTORS[0]).is_not_null()).then(4.0),
        flags=pl.lit([], pl.List(pl.String())),
    ).write_parquet(folder / "factors.parquet")


def _write_gwas(gwas: Path, rng: np.random.Generator) -> None:
    count = 400
    chromosomes = np.repeat(["3", "X"], count // 2)
    places = np.sort(rng.choice(400_000, count // 2, replace=False)) + 38_500_000
    places = np.concatenate([places, places])
    places[100] = LEAD[1]
    variants = pl.DataFrame(
        {
            "chromosome": chromosomes, "base_pair_location": places,
            "effect_allele": "T", "other_allele": "C",
        }
    ).sort("chromosome", "base_pair_location")  # fmt: skip
    variants = variants.with_columns(
        rsid=pl.format("{}:{}:C:T", "chromosome", "base_pair_location")
    ).unique("rsid", keep="first", maintain_order=True)
    lead = (pl.col("base_pair_location") == LEAD[1]) & (pl.col("chromosome") == "3")
    for label, traits in (("factors", FACTORS), ("measurements", MEASURED)):
        folder = gwas / label
        folder.mkdir(parents=True)
        for number, trait in enumerate(traits):
            z = rng.normal(size=variants.height)
            table = variants.with_columns(
                beta=pl.Series(0.05 * z), standard_error=pl.lit(0.05),
                effect_allele_frequency=pl.lit(0.3), n=pl.lit(1000),
            )  # fmt: skip
            at_lead = pl.when(lead).then(0.3 - 0.02 * number)
            table = table.with_columns(beta=at_lead.otherwise(pl.col("beta")))
            table = table.with_columns(
                neg_log_10_p_value=(pl.col("beta") / pl.col("standard_error")) ** 2 / 4.6
            )
            table.write_parquet(folder / f"{trait}.parquet", row_group_size=97)
        joint = table.drop("beta", "standard_error").with_columns(
            strongest_trait=pl.lit(traits[0]),
            neg_log_10_p_value=pl.when(lead).then(15.0).otherwise(pl.col("neg_log_10_p_value") / 9),
        )
        joint.write_parquet(folder / "joint.parquet", row_group_size=97)
        (folder / "summary.json").write_text(
            json.dumps({"traits": dict.fromkeys(traits, variants.height),
                        "people": {"people analysed": 1000}})
        )  # fmt: skip
        (folder / "provenance.json").write_text(
            json.dumps({"parameters": {"transform": "rank-normal"}})
        )


def _write_loci(loci: Path) -> None:
    loci.mkdir()
    lead = f"{LEAD[0]}:{LEAD[1]}:C:T"
    pl.DataFrame(
        {
            "locus": [1], "chromosome": [LEAD[0]], "start": [LEAD[1] - 5000],
            "end": [LEAD[1] + 5000], "lead_variant": [lead], "lead_position": [LEAD[1]],
            "lead_trait": ["factor_01"], "lead_label": ["factors"],
            "lead_neg_log_10_p_value": [15.0], "labels": [["factors", "measurements"]],
            "only": [None], "nearest_gene": ["<b>SCN10A</b>"], "known": [True],
        },
        schema_overrides={"only": pl.String()},
    ).write_parquet(loci / "loci.parquet")  # fmt: skip


def _write_report(report: Path) -> None:
    (report / "figures").mkdir(parents=True)
    style, script = "h1 { color: #123456 }", "document.title = 'a script of somebody'"
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    ).replace("'", "&#39;")
    (report / "index.html").write_text(
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>The page</title><style>{style}</style></head><body><header><h1>The page</h1>"
        f'</header><main><img src="figures/one.png" alt="one"></main><script>{script}</script>'
        "</body></html>",
        encoding="utf-8",
    )
    png = (
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
        "rkJggg=="
    )
    (report / "figures" / "one.png").write_bytes(base64.b64decode(png))
    (report / "figures" / "one.csv").write_text("a,b\n1,2\n")
    secret = report.parent.parent / "secret.csv"
    secret.write_text(CANARY)
    (report.parent / "secret.csv").write_text(CANARY)
    (report / "link.csv").symlink_to(secret)
    (report / ".hidden.csv").write_text(CANARY)


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"
