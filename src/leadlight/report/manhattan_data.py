"""What the page's Manhattan plot draws: points thinned to a screen, and the loci.

Every variant at or above the suggestive line is kept, as far as the page's size allows; where it
does not, the number left out is told. Below the line one point stands for all that a screen shows
in its place, finer near the leads of loci, so that zooming in there still shows a region's shape.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from leadlight.report.association_sets import P_COLUMN, AssociationSet, association_sets
from leadlight.report.locus_data import locus_facts

GENOME_WIDE = float(-np.log10(5e-8))
SUGGESTIVE = 5.0
MOST_POINTS = 24_000  # a layer; about 11 bytes each in the page
MOST_POINTS_IN_ALL = 240_000
_COLUMNS, _ROWS_PER_UNIT = 3200, 16.0
_NEAR_BP, _NEAR_BIN_BP = 500_000, 4_000
_P_SCALE = 100.0  # −log10 p is kept to a hundredth
_NO_TRAIT = 255
_ORDER = {name: at for at, name in enumerate((*map(str, range(1, 23)), "X", "Y", "XY", "MT"))}

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scan:
    """Variants of one test: chromosome's number in `names`, place, −log10 p, trait's number."""

    names: list[str]
    chromosome: Ints
    position: Ints
    p: Floats
    trait: Ints


def manhattan_data(study: Path, *, most: int = MOST_POINTS) -> dict[str, Any] | None:
    """JSON-ready: chromosomes, sets with their layers of points, and loci with their key facts.

    A set has up to two layers: the joint test of its traits, and the least p over them. Points are
    base64 of little-endian arrays: `chromosome` uint8, `position` uint32, `p` uint16 in hundredths
    of −log10 p, `trait` uint8 (255: none).

    Args:
        study: the study folder.
        most: points of a layer; of a null control's a third.

    Returns:
        None where the study has no association.
    """
    sets = association_sets(study)
    if not sets:
        return None
    loci = locus_facts(study)
    leads = [(str(row["chromosome"]), int(row["position"])) for row in loci]
    scans = [(one, _scans(one)) for one in sets]
    extents = _extents([scan for _, layers in scans for _, scan in layers])
    if not extents:
        return None
    most = min(most, MOST_POINTS_IN_ALL // sum(len(layers) for _, layers in scans))
    number = {name: at for at, name in enumerate(extents)}
    return {
        "chromosomes": [
            {"name": name, "start": int(low), "end": int(high)}
            for name, (low, high) in extents.items()
        ],
        "genome_wide": GENOME_WIDE,
        "suggestive": SUGGESTIVE,
        "sets": [
            {
                "name": one.label, "people": one.people, "null": one.is_null,
                "traits": list(one.tables),
                "layers": [_layer(name, scan, extents, number, leads,
                                  most // 3 if one.is_null else most)
                           for name, scan in layers],
            }
            for one, layers in scans
        ],
        "loci": loci,
    }  # fmt: skip


def _scans(one: AssociationSet) -> list[tuple[str, Scan]]:
    order = {name: at for at, name in enumerate(one.tables)}
    layers = []
    if one.joint is not None:
        layers.append(("joint", _read(one.joint, order)))
    if one.tables:
        layers.append(("least", _least(list(one.tables.values()))))
    return [(name, scan) for name, scan in layers if len(scan.p)]


def _read(path: Path, traits: Mapping[str, int]) -> Scan:
    there = pl.read_parquet_schema(path)
    table = pl.read_parquet(
        path,
        columns=["chromosome", "base_pair_location", P_COLUMN]
        + (["strongest_trait"] if "strongest_trait" in there else []),
    )
    named = table["chromosome"].cast(pl.String)
    names = named.unique(maintain_order=True).to_list()
    code = {name: at for at, name in enumerate(names)}
    trait = np.full(table.height, _NO_TRAIT, dtype=np.int64)
    if "strongest_trait" in table.columns:
        trait = (
            table["strongest_trait"]
            .cast(pl.String)
            .replace_strict(traits, default=_NO_TRAIT, return_dtype=pl.Int64)
            .to_numpy()
        )
    return Scan(
        names,
        named.replace_strict(code, return_dtype=pl.Int64).to_numpy(),
        table["base_pair_location"].cast(pl.Int64).to_numpy(),
        np.nan_to_num(table[P_COLUMN].cast(pl.Float64).to_numpy(), nan=0.0),
        trait,
    )


def _least(paths: list[Path]) -> Scan:
    """The least p over traits. Tables of the same variants are laid over each other; the variants
    of another table come as points of their own."""
    first = _read(paths[0], {})
    p, trait = first.p.copy(), np.zeros(len(first.p), dtype=np.int64)
    others = []
    for at, path in enumerate(paths[1:], start=1):
        table = pl.read_parquet(path, columns=["base_pair_location", P_COLUMN])
        place = table["base_pair_location"].cast(pl.Int64).to_numpy()
        if np.array_equal(place, first.position):
            mine = np.nan_to_num(table[P_COLUMN].cast(pl.Float64).to_numpy(), nan=0.0)
            better = mine > p
            p[better], trait[better] = mine[better], at
        else:
            others.append((at, _read(path, {})))
    names = list(first.names)
    parts = [(first.chromosome, first.position, p, trait)]
    for at, scan in others:
        names += [name for name in scan.names if name not in names]
        code = np.array([names.index(name) for name in scan.names], dtype=np.int64)
        parts.append(
            (code[scan.chromosome], scan.position, scan.p, np.full(len(scan.p), at, np.int64))
        )
    joined = [np.concatenate(part) for part in zip(*parts, strict=True)]
    chromosome, position, least, strongest = joined
    return Scan(names, chromosome, position, least, np.minimum(strongest, _NO_TRAIT))


def _extents(scans: list[Scan]) -> dict[str, tuple[int, int]]:
    """Chromosome to its first and last place over all scans, in the karyotype's order."""
    found: dict[str, tuple[int, int]] = {}
    for scan in scans:
        for code, name in enumerate(scan.names):
            places = scan.position[scan.chromosome == code]
            low, high = int(places.min()), int(places.max())
            if name in found:
                low, high = min(low, found[name][0]), max(high, found[name][1])
            found[name] = (low, high)
    return dict(sorted(found.items(), key=lambda item: (_ORDER.get(item[0], 99), item[0])))


def _layer(
    name: str, scan: Scan, extents: Mapping[str, tuple[int, int]], number: Mapping[str, int],
    leads: list[tuple[str, int]], most: int,
) -> dict[str, Any]:  # fmt: skip
    code = np.array([number[one] for one in scan.names], dtype=np.int64)
    chromosome = code[scan.chromosome]
    starts = np.array([low for low, _ in extents.values()], dtype=np.int64)
    lengths = np.array([high - low + 1 for low, high in extents.values()], dtype=np.int64)
    before = np.concatenate(([0], np.cumsum(lengths)[:-1]))
    x = before[chromosome] + scan.position - starts[chromosome]
    near = np.zeros(len(x), dtype=bool)
    for where, position in leads:
        if where in number:
            at = before[number[where]] + position - starts[number[where]]
            near |= (np.abs(x - at) <= _NEAR_BP) & (chromosome == number[where])
    kept = thinned(x, scan.p, near, int(lengths.sum()), most)
    hits = int((scan.p >= SUGGESTIVE).sum())
    shown_hits = int((scan.p[kept] >= SUGGESTIVE).sum())
    kept = kept[np.argsort(x[kept], kind="stable")]
    return {
        "test": name, "variants": len(x), "shown": len(kept), "hits": hits,
        "hits_left_out": hits - shown_hits, "top": round(float(scan.p.max()), 2),
        "chromosome": _packed(chromosome[kept], "<u1"),
        "position": _packed(scan.position[kept], "<u4"),
        "p": _packed(np.minimum(np.rint(scan.p[kept] * _P_SCALE), 65535), "<u2"),
        "trait": _packed(np.minimum(scan.trait[kept], _NO_TRAIT), "<u1"),
    }  # fmt: skip


def thinned(
    x: Ints, p: Floats, near: npt.NDArray[np.bool_], end: int, most: int = MOST_POINTS
) -> Ints:
    """Numbers of the points to draw, at most `most`.

    Args:
        x: (point) place on the genome's axis, from 0 to `end`.
        p: (point) −log10 p.
        near: (point) lies near the lead of a locus.
        end: length of the axis.
        most: how many there may be. Hits go only where they alone are too many: then the strongest
            of each small stretch stay, and the strongest of all.
    """
    hits = np.flatnonzero(p >= SUGGESTIVE)
    if len(hits) > most:
        column = (x[hits] / max(end, 1) * most).astype(np.int64)
        strongest_first = hits[np.argsort(-p[hits], kind="stable")]
        _, first = np.unique(column[np.argsort(-p[hits], kind="stable")], return_index=True)
        chosen = strongest_first[np.sort(first)]
        rest = np.setdiff1d(strongest_first, chosen, assume_unique=True)
        rest = rest[np.argsort(-p[rest], kind="stable")]
        return np.sort(np.concatenate([chosen, rest])[:most])
    room = most - len(hits)
    low = np.flatnonzero(p < SUGGESTIVE)
    coarse = 1.0
    while True:
        row = (p[low] * _ROWS_PER_UNIT / coarse).astype(np.int64)
        far = (x[low] / max(end, 1) * _COLUMNS / coarse).astype(np.int64)
        close = (x[low] // int(_NEAR_BIN_BP * coarse)) + 10 * _COLUMNS
        column = np.where(near[low], close, far)
        key = column * 256 + row
        _, first = np.unique(key, return_index=True)
        if len(first) <= room or coarse > 1e4:
            return np.union1d(hits, low[first[: max(room, 0)]])
        low = low[first]  # what fell on one place will not come apart on a coarser screen
        coarse *= 1.25


def _packed(values: npt.NDArray[Any], kind: str) -> str:
    return base64.b64encode(np.asarray(values).astype(kind).tobytes()).decode("ascii")
