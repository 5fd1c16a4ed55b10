"""Published ECG loci: is a variant near one; and is a table of the build it is said to be.

The catalogue that ships holds facts of published studies (variant, place in both builds, trait,
gene, p, reference); `training/published_loci.py` made it, `docs/loci.md` lists its sources.
"""

from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from leadlight.errors import LeadlightError

BUILDS = ("GRCh37", "GRCh38")
SHIPPED = "ecg_loci.tsv"
_NEEDED = ("rsid", "chromosome", "trait", "reference")
_FEWEST_SHARED = 3
# Lengths of the chromosomes in base pairs (Genome Reference Consortium).
LENGTHS = {
    "GRCh37": (
        249250621, 243199373, 198022430, 191154276, 180915260, 171115067, 159138663, 146364022,
        141213431, 135534747, 135006516, 133851895, 115169878, 107349540, 102531392, 90354753,
        81195210, 78077248, 59128983, 63025520, 48129895, 51304566,
    ),
    "GRCh38": (
        248956422, 242193529, 198295559, 190214555, 181538259, 170805979, 159345973, 145138636,
        138394717, 133797422, 135086622, 133275309, 114364328, 107043718, 101991189, 90338345,
        83257441, 80373285, 58617616, 64444167, 46709983, 50818468,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Known:
    """The published results near a place, nearest first.

    traits: of all of them; nearest_*: of the nearest; distance: in base pairs, 0 for the variant
    itself.
    """

    traits: tuple[str, ...]
    genes: tuple[str, ...]
    references: tuple[str, ...]
    nearest_rsid: str
    nearest_trait: str
    nearest_reference: str
    distance: int


@dataclass(frozen=True)
class Catalogue:
    """table: rsid, chromosome, position (in `build`), trait, gene, p_value, reference."""

    table: pl.DataFrame
    build: str

    def __len__(self) -> int:
        return self.table.height

    def near(self, chromosome: str, first: int, last: int, *, within: int) -> Known | None:
        """What was published between `first` − within and `last` + within; None for nothing."""
        place = pl.col("position")
        distance = pl.max_horizontal(first - place, place - last, pl.lit(0)).alias("distance")
        own = (
            self.table.filter(pl.col("chromosome") == chromosome)
            .with_columns(distance)
            .filter(pl.col("distance") <= within)
            .sort("distance", maintain_order=True)
        )
        if not own.height:
            return None
        genes = [gene for cell in own["gene"].to_list() for gene in (cell or "").split(",") if gene]
        return Known(
            tuple(dict.fromkeys(own["trait"].to_list())),
            tuple(dict.fromkeys(genes)),
            tuple(dict.fromkeys(own["reference"].to_list())),
            str(own["rsid"][0] or ""),
            str(own["trait"][0]),
            str(own["reference"][0]),
            int(own["distance"][0]),
        )

    def is_known(
        self, chromosomes: npt.NDArray[np.str_], positions: npt.NDArray[np.int64], *, within: int
    ) -> npt.NDArray[np.bool_]:
        """(variant,) whether something was published within so many base pairs."""
        out = np.zeros(len(positions), dtype=np.bool_)
        for name in np.unique(chromosomes):
            here = chromosomes == name
            own = np.sort(self.table.filter(pl.col("chromosome") == name)["position"].to_numpy())
            if len(own):
                at = np.searchsorted(own, positions[here])
                left = np.abs(positions[here] - own[np.maximum(at - 1, 0)])
                right = np.abs(positions[here] - own[np.minimum(at, len(own) - 1)])
                out[here] = np.minimum(left, right) <= within
        return out


def read_catalogue(path: Path | None = None, *, build: str = "GRCh37") -> Catalogue:
    """The catalogue that ships, or a user's in `path`, with positions of `build`.

    A user's: tab-separated with rsid, chromosome, trait, reference and grch37, grch38 or both (or
    `position`, taken as of `build`); gene and p_value if known.
    """
    if build not in BUILDS:
        raise LeadlightError(f"{build!r} is no build.", advice="Give GRCh37 or GRCh38.")
    if path is None:
        shipped = files("leadlight.genetics") / "catalogue" / SHIPPED
        with as_file(shipped) as found:
            return _read(found, build)
    if not path.is_file():
        raise LeadlightError(f"{path} does not exist.", advice="Give a tab-separated catalogue.")
    return _read(path, build)


def refuse_wrong_build(
    chromosomes: npt.NDArray[np.str_],
    positions: npt.NDArray[np.int64],
    rsids: npt.NDArray[np.str_],
    build: str,
    what: str,
) -> None:
    """Raise LeadlightError where places can't be of `build`.

    A place beyond the end of its chromosome says so, and so do rs numbers of the catalogue that
    mostly stand where another build has them. A table without either passes.
    """
    if build not in BUILDS:
        raise LeadlightError(f"{build!r} is no build.", advice="Give GRCh37 or GRCh38.")
    for number, length in enumerate(LENGTHS[build], 1):
        here = positions[chromosomes == str(number)]
        if len(here) and here.max() > length:
            raise LeadlightError(
                f"{what} has position {here.max():,} on chromosome {number}, which ends at "
                f"{length:,} in {build}.",
                advice="Give the right --build, or lift the positions over.",
            )
    other = BUILDS[1 - BUILDS.index(build)]
    said = pl.DataFrame({"rsid": rsids.astype(str), "position": positions})
    agreeing = {}
    for name in BUILDS:
        table = read_catalogue(build=name).table.filter(pl.col(f"exact_{name}"))
        table = table.select("rsid", pl.col("position").alias("published")).unique("rsid")
        joined = said.join(table, on="rsid")
        agreeing[name] = joined.filter(pl.col("position") == pl.col("published")).height
    if agreeing[other] >= _FEWEST_SHARED and agreeing[other] > 4 * agreeing[build]:
        raise LeadlightError(
            f"{what} looks like {other}, not {build}: {agreeing[other]} published variants stand "
            f"where {other} has them, {agreeing[build]} where {build} has.",
            advice=f"Give --build {other}.",
        )


def _read(path: Path, build: str) -> Catalogue:
    try:
        table = pl.read_csv(path, separator="\t", infer_schema=False)
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise LeadlightError(f"{path} cannot be read as a table: {reason}") from error
    column = build.lower() if build.lower() in table.columns else "position"
    lacking = [name for name in (*_NEEDED, column) if name not in table.columns]
    if lacking:
        raise LeadlightError(
            f"{path} has no column {lacking[0]!r}.",
            advice=f"Expected {', '.join(_NEEDED)} and {build.lower()}, tab-separated.",
        )
    for name in ("gene", "p_value"):
        if name not in table.columns:
            table = table.with_columns(pl.lit("").alias(name))
    digits = build.removeprefix("GRCh")
    exact = pl.lit(True)
    if "exact" in table.columns:
        exact = pl.col("exact").is_in([digits, "both"])
    try:
        table = table.with_columns(
            pl.col(column).cast(pl.Int64).alias("position"), exact.alias(f"exact_{build}")
        )
    except pl.exceptions.InvalidOperationError as error:
        raise LeadlightError(f"{path} has a place that is no whole number.") from error
    chromosome = pl.col("chromosome").str.strip_prefix("chr").replace({"23": "X", "24": "Y"})
    kept = ["rsid", "chromosome", "position", "trait", "gene", "p_value", "reference"]
    return Catalogue(
        table.with_columns(chromosome)
        .select(*kept, f"exact_{build}")
        .sort("chromosome", "position"),
        build,
    )
