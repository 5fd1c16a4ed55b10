"""Make the catalogue of published ECG loci that ships with the program.

    python training/published_loci.py --loci FOLDER --genes genes_hg19.bed

FOLDER holds tables of published results: the supplementary tables S1 and S13 of Verweij et al.
(Cell Systems, 2020), in which the lead variants of earlier studies of ECG traits are collected
(GRCh37), and rows of the NHGRI-EBI GWAS Catalog on ECG traits (GRCh38). Taken from them are facts:
variant, place, trait, gene, p and the study. A place that its source gives in one build only is
moved to the other by as much as the nearest variant that both sources name, or for want of one by
as much as its gene; `exact` says which of the two builds a row's source gave.
"""

import argparse
import csv
from collections import defaultdict
from pathlib import Path

from leadlight.atomic import write_text

OUT = Path(__file__).parents[1] / "src" / "leadlight" / "genetics" / "catalogue" / "ecg_loci.tsv"
COLUMNS = (
    "rsid", "chromosome", "grch37", "grch38", "exact", "trait", "gene", "p_value", "reference",
)  # fmt: skip
TRAITS = {
    "12-Leadsum": "QRS voltage (12-lead sum)",
    "Cornell": "QRS voltage (Cornell)",
    "Sokolow-Lyon": "QRS voltage (Sokolow-Lyon)",
    "AF": "atrial fibrillation",
    "Atrial fibrillation": "atrial fibrillation",
    "Atrial fibrillation/atrial flutter": "atrial fibrillation",
    "HR": "heart rate",
    "Heart rate": "heart rate",
    "Resting heart rate": "heart rate",
    "RR interval (heart rate)": "heart rate",
    "Heart rate variability traits": "heart rate variability",
    "PR-Interval": "PR interval",
    "QRS-Duration": "QRS duration",
    "QT-Interval": "QT interval",
    "QT interval (interaction)": "QT interval",
    "ST-Wave": "ST-T amplitude",
    "T-Wave": "T amplitude",
    "Cardiac repolarization": "repolarisation",
    "Electrocardiographic conduction measures": "conduction",
    "Electrocardiographic traits": "ECG intervals",
}
JOURNALS = {
    "NG": "Nat Genet",
    "HMG": "Hum Mol Genet",
    "JACC": "J Am Coll Cardiol",
    "GenomeBiol": "Genome Biol",
    "Nat.Comm": "Nat Commun",
    "CircGenomicAndPrecisionMedicine": "Circ Genom Precis Med",
}
NAMES = {"DenHoed": "den Hoed", "VanSetten": "van Setten", "Harst": "van der Harst"}
WHOLE_BEAT = "averaged beat, by time point"


def rows_of(path: Path) -> list[dict[str, str]]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        text = path.read_text(encoding="latin-1")
    return list(csv.DictReader(text.replace("\xa0", "").splitlines(), delimiter="\t"))


def verweij_s13(path: Path) -> list[dict[str, str]]:
    out = []
    for row in rows_of(path):
        author, journal, year = row["author:journal:year"].split(":")
        name = NAMES.get(author, author)
        out.append(
            {
                "rsid": row["snp.id.orig"],
                "chromosome": row["CHR"],
                "grch37": row["BP"],
                "trait": TRAITS[row["TRAIT"]],
                "gene": row["gene"].replace("\u2013", ",").replace(", ", ","),
                "p_value": row["P"],
                "reference": f"{name} {year}, {JOURNALS.get(journal, journal)}",
            }
        )
    return out


def verweij_s1(path: Path) -> list[dict[str, str]]:
    """Of each locus its lead variant, at the time point where it is strongest."""
    return [
        {
            "rsid": row["SNP"] if row["SNP"].startswith("rs") else "",
            "chromosome": row["CHR"],
            "grch37": row["BP"],
            "trait": WHOLE_BEAT,
            "gene": row["Nearest gene (or any within 10kb)"],
            "p_value": row["pval"],
            "reference": "Verweij 2020, Cell Syst",
        }
        for row in rows_of(path)
        if row["LeadSNP"] == "1"
    ]


def gwas_catalog(path: Path) -> list[dict[str, str]]:
    return [
        {
            "rsid": row["SNPs"],
            "chromosome": row["Chr_id"],
            "grch38": row["Chr_pos"],
            "trait": TRAITS.get(row["Disease/Trait"], row["Disease/Trait"]),
            "gene": row["Mapped_gene"].replace(" - ", ","),
            "p_value": row["p-Value"],
            "reference": f"{row['First Author']} {row['Date'][-4:]}, {row['Journal']}, "
            f"PMID {row['PUBMEDID']}",
        }
        for row in rows_of(path)
        if row["Chr_id"] and row["Chr_pos"]
    ]


def shifts(rows: list[dict[str, str]], genes: Path) -> dict[str, list[tuple[int, int, int]]]:
    """chromosome → (GRCh37, GRCh38, 0 for a variant or 1 for a gene) of what both builds place."""
    in37 = {r["rsid"]: int(r["grch37"]) for r in rows if r["rsid"] and "grch37" in r}
    found: dict[str, set[tuple[int, int, int]]] = defaultdict(set)
    middle = {}
    with genes.open(encoding="utf-8") as stream:
        for line in stream:
            chromosome, start, end, name = line.split("\t")[:4]
            middle[chromosome, name] = (int(start) + int(end)) // 2
    for row in rows:
        if "grch38" not in row:
            continue
        at = int(row["grch38"])
        if row["rsid"] in in37:
            found[row["chromosome"]].add((in37[row["rsid"]], at, 0))
        elif (row["chromosome"], row["gene"]) in middle:
            found[row["chromosome"]].add((middle[row["chromosome"], row["gene"]], at, 1))
    return {key: sorted(value) for key, value in found.items()}


def moved(at: int, pairs: list[tuple[int, int, int]], source: int) -> int:
    """A position of build `source` (0: GRCh37, 1: GRCh38) in the other one."""
    variants = [pair for pair in pairs if pair[2] == 0] or pairs
    if not variants:
        return at
    near = min(variants, key=lambda pair: abs(pair[source] - at))
    return at + near[1 - source] - near[source]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loci", type=Path, required=True, help="folder of the published tables")
    parser.add_argument("--genes", type=Path, required=True, help="BED of genes in GRCh37")
    parser.add_argument("--out", type=Path, default=OUT)
    asked = parser.parse_args()
    rows = verweij_s13(asked.loci / "verweij2020_tableS13.tsv")
    rows += verweij_s1(asked.loci / "verweij2020_tableS1.tsv")
    rows += gwas_catalog(asked.loci / "gwas_catalog_2014_ecg.tsv")
    pairs = shifts(rows, asked.genes)
    both = {
        (row["rsid"], build): row[build]
        for row in rows
        for build in ("grch37", "grch38")
        if row["rsid"] and build in row
    }
    made = set()
    for row in rows:
        own = pairs.get(row["chromosome"], [])
        row["exact"] = "37" if "grch37" in row else "38"
        for build, source in (("grch38", 0), ("grch37", 1)):
            if build in row:
                continue
            if (row["rsid"], build) in both:
                row[build], row["exact"] = both[row["rsid"], build], "both"
            else:
                given = int(row["grch37" if source == 0 else "grch38"])
                row[build] = str(moved(given, own, source))
        if (row["rsid"], "grch37") in both and (row["rsid"], "grch38") in both:
            row["exact"] = "both"
        made.add(tuple(row[name].strip() for name in COLUMNS))
    order = {str(k): k for k in range(1, 23)} | {"X": 23}
    lines = sorted(made, key=lambda r: (order.get(r[1], 99), int(r[2]), r[5], r[8], r[0]))
    write_text(asked.out, "\n".join(["\t".join(COLUMNS), *("\t".join(r) for r in lines), ""]))
    print(f"{len(lines)} rows in {asked.out}")


if __name__ == "__main__":
    main()
