"""How a classifier does on real records that it was not trained on, studies pooled.

    python benchmarks/real_scores.py --model CARD --study ptbxl --study cinc
    python benchmarks/real_scores.py --model CARD --study ptbxl --study cinc --held-out ptbxl

Every labelled record that no quality flag excludes counts; of studies named by `--held-out` only
the test split does, for models that were trained on the rest. AUROC with a 95 % interval by
bootstrap over patients. `--unknown ptbxl:SB` leaves a study's records without a label out of that
class's score: PTB-XL names sinus bradycardia in one in ten of the records below 60 per minute.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.special import expit

from leadlight.atomic import write_json
from leadlight.classify.models import load_model
from leadlight.classify.predict import logits_of
from leadlight.classify.prepare import prepare
from leadlight.classify.scoring import score_table
from leadlight.cohort.splits import TEST
from leadlight.cohort.store import open_cohort
from leadlight.ecg.quality import excludes

BARS = {"AF": 0.95, "SB": 0.95, "ST": 0.95, "LBBB": 0.90, "RBBB": 0.90, "1dAVb": 0.85}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="leadlight-ecg-6", help="a name or a card")
    parser.add_argument("--study", type=Path, action="append", required=True)
    parser.add_argument("--held-out", action="append", default=[], help="a study's folder name")
    parser.add_argument("--unknown", action="append", default=[], help="STUDY:CLASS, silent labels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    asked = parser.parse_args()
    model = load_model(asked.model)
    tables, records = [], []
    for study in asked.study:
        cohort = open_cohort(study)
        kept = cohort.records.with_row_index("row").filter(pl.col("labels").is_not_null())
        name = study.resolve().name
        if name in asked.held_out:
            kept = kept.filter(pl.col("split") == TEST)
        kept = kept.filter([not excludes(tuple(flags)) for flags in kept["flags"]])
        inputs = (prepare(one, model.card) for one in cohort.stream(kept["row"].to_list()))
        values = expit(np.array(list(logits_of(model, inputs)), dtype=np.float64))
        found = pl.DataFrame({"record_id": kept["record_id"]}).hstack(
            pl.DataFrame(values, schema=list(model.card.output.classes))
        )
        for label in (word.split(":")[1] for word in asked.unknown if word.split(":")[0] == name):
            # A record without a probability for a class does not count for it.
            named = kept["labels"].list.contains(label)
            found = found.with_columns(
                pl.when(named).then(pl.col(label)).otherwise(None).alias(label)
            )
        tables.append(found)
        named = kept.select("record_id", "patient_id", "labels")
        records.append(named.with_columns(split=pl.lit(TEST)))
    pooled = {"all studies": (tables, records)}
    for study, table, kept in zip(asked.study, tables, records, strict=True):
        pooled[study.resolve().name] = ([table], [kept])
    results: dict[str, Any] = {}
    for name, (found, kept) in pooled.items():
        table = pl.concat(found)
        results[name] = {}
        print(f"\n{name}: {table.height} records")
        for label, bar in BARS.items():
            known = table.filter(pl.col(label).is_not_null()).select("record_id", label)
            scores = score_table(
                known,
                pl.concat(kept).join(known, on="record_id", how="semi"),
                card_thresholds=model.card.output.thresholds,
                n_bootstrap=2000,
                seed=asked.seed,
                splits=(TEST,),
            )
            row = results[name][label] = scores["splits"][TEST]["classes"][label]
            auroc = row["auroc"]
            if auroc["value"] is None:
                print(f"  {label:>6}  undefined ({row['n_positive_records']} positive)")
                continue
            ends = [auroc["low"], auroc["high"]]
            low, high = ("?" if end is None else f"{end:.3f}" for end in ends)
            verdict = "met" if auroc["value"] >= bar else "MISSED"
            print(
                f"  {label:>6}  {auroc['value']:.3f} [{low}, {high}]  "
                f"{row['n_positive_records']:3d} of {known.height} positive  >= {bar} {verdict}"
            )
    if asked.out:
        write_json(asked.out, results)


if __name__ == "__main__":
    main()
