"""What `leadlight loci` made of a simulated study, beside what was planted.

    python benchmarks/loci_recovery.py --truth STUDY/truth --loci DIR --label scores

Of each planted effect of a simulated study (not the polygenic ones) on an outcome that was scanned:
does its variant lie in a locus, within 50 kb of a signal of its outcome, in a credible set of it?
With --any-trait, where traits are not the outcomes by name, any trait's signals and sets count.
"""

import argparse
from pathlib import Path

import polars as pl

from leadlight.atomic import write_json

NEAR = 50_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--loci", type=Path, required=True)
    parser.add_argument("--label", help="only this label's signals and sets")
    parser.add_argument("--any-trait", action="store_true", help="traits are no outcomes by name")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    effects = pl.read_parquet(asked.truth / "effects.parquet")
    effects = effects.with_columns(pl.col("chromosome").cast(pl.String))
    planted = effects.filter(~pl.col("kind").is_in(["polygenic", "rare"]))
    loci, signals, sets = (
        pl.read_parquet(asked.loci / f"{name}.parquet")
        for name in ("loci", "signals", "credible_sets")
    )
    if asked.label:
        loci = loci.filter(pl.col("labels").list.contains(asked.label))
        signals, sets = (table.filter(label=asked.label) for table in (signals, sets))
    if not asked.any_trait:
        scanned = pl.read_parquet(asked.loci / "locus_traits.parquet")["trait"].unique()
        planted = planted.filter(pl.col("outcome").is_in(scanned.to_list()))
    rows = []
    for effect in planted.iter_rows(named=True):
        at, where = effect["position"], effect["chromosome"]
        own_signals, own_sets = signals, sets
        if not asked.any_trait:
            own_signals = signals.filter(trait=effect["outcome"])
            own_sets = sets.filter(trait=effect["outcome"])
        near = own_signals.filter(
            (pl.col("chromosome") == where) & ((pl.col("base_pair_location") - at).abs() <= NEAR)
        )
        inside = own_sets.filter((pl.col("rsid") == effect["variant"]) & pl.col("in_set"))
        rows.append(
            {
                "variant": effect["variant"],
                "outcome": effect["outcome"],
                "kind": effect["kind"],
                "power": effect["power"],
                "locus": loci.filter(
                    (pl.col("chromosome") == where)
                    & (pl.col("start") <= at)
                    & (pl.col("end") >= at)
                ).height
                > 0,
                "signal": near.height > 0,
                "susie": inside.filter(method="susie").height > 0,
                "single_effect": inside.filter(method="single-effect").height > 0,
            }
        )
    table = pl.DataFrame(rows)
    shown = ["locus", "signal", "susie", "single_effect"]
    groups = [("all", table), ("power above 0.9", table.filter(pl.col("power") > 0.9))]
    groups += [(str(kind), own) for (kind,), own in table.group_by("kind", maintain_order=True)]
    found = {}
    for name, own in groups:
        found[name] = {"planted": own.height} | {c: int(own[c].sum()) for c in shown}
        print(name, found[name])
    with pl.Config(tbl_rows=100, tbl_cols=12, tbl_width_chars=160):
        print(table.filter(~pl.col("susie")))
    # How many sets hold a variant that acts on their trait, polygenic ones among them.
    if not asked.any_trait:
        acting = {
            outcome: set(own["variant"])
            for (outcome,), own in effects.group_by("outcome", maintain_order=True)
        }
        for method in ("susie", "single-effect"):
            own = sets.filter(pl.col("method") == method, pl.col("in_set"))
            groups_of = own.group_by(["locus", "trait", "signal"], maintain_order=True)
            held = [bool(set(one["rsid"]) & acting.get(key[1], set())) for key, one in groups_of]
            found[f"{method} sets"] = {"sets": len(held), "hold an acting variant": sum(held)}
            print(method, found[f"{method} sets"])
    null = loci.filter(pl.col("chromosome").is_in([str(k) for k in range(15, 23)]))
    found["loci"] = {"all": loci.height, "on null chromosomes": null.height}
    print(found["loci"])
    if asked.out:
        write_json(asked.out, found)


if __name__ == "__main__":
    main()
