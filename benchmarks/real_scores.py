"""How a classifier does on real records that it was not trained on, studies pooled.

    python benchmarks/real_scores.py --model CARD --study ptbxl --study cinc
    python benchmarks/real_scores.py --model CARD --study ptbxl --study cinc --held-out ptbxl

Every labelled record that no quality flag excludes counts; of studies named by `--held-out` only
the test split does, for models that were trained on the rest. AUROC with a 95 % interval by
bootstrap over patients. PTB-XL's silence on sinus bradycardia is no evidence, so its rows for SB
read too low: see the other studies' own rows.
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
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    asked = parser.parse_args()
    model = load_model(asked.model)
    tables, records = [], []
    for study in asked.study:
        cohort = open_cohort(study)
        kept = cohort.records.with_row_index("row").filter(pl.col("labels").is_not_null())
        if study.resolve().name in asked.held_out:
            kept = kept.filter(pl.col("split") == TEST)
        kept = kept.filter([not excludes(tuple(flags)) for flags in kept["flags"]])
        inputs = (prepare(one, model.card) for one in cohort.stream(kept["row"].to_list()))
        values = expit(np.array(list(logits_of(model, inputs)), dtype=np.float64))
        tables.append(
            pl.DataFrame({"record_id": kept["record_id"]}).hstack(
                pl.DataFrame(values, schema=list(model.card.output.classes))
            )
        )
        named = kept.select("record_id", "patient_id", "labels")
        records.append(named.with_columns(split=pl.lit(TEST)))
    pooled = {"all studies": (tables, records)}
    for study, table, kept in zip(asked.study, tables, records, strict=True):
        pooled[study.resolve().name] = ([table], [kept])
    results: dict[str, Any] = {}
    for name, (found, kept) in pooled.items():
        scores = score_table(
            pl.concat(found),
            pl.concat(kept),
            card_thresholds=model.card.output.thresholds,
            n_bootstrap=2000,
            seed=asked.seed,
            splits=(TEST,),
        )
        results[name] = scores["splits"][TEST]["classes"]
        print(f"\n{name}: {sum(len(table) for table in kept)} records")
        for label, bar in BARS.items():
            row = results[name][label]
            auroc = row["auroc"]
            if auroc["value"] is None:
                print(f"  {label:>6}  undefined ({row['n_positive_records']} positive)")
                continue
            ends = [auroc["low"], auroc["high"]]
            low, high = ("?" if end is None else f"{end:.3f}" for end in ends)
            verdict = "met" if auroc["value"] >= bar else "MISSED"
            print(
                f"  {label:>6}  {auroc['value']:.3f} [{low}, {high}]  "
                f"{row['n_positive_records']:3d} positive  >= {bar} {verdict}"
            )
    if asked.out:
        write_json(asked.out, results)


if __name__ == "__main__":
    main()
