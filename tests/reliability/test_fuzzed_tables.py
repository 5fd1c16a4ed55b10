"""Tables and cards at the door: whatever they hold, they are read or refused in one sentence."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leadlight.classify.cards import read_card
from leadlight.cohort.labels import read_label_table
from leadlight.errors import LeadlightError
from leadlight.genetics.gene_table import read_genes
from leadlight.genetics.summary_statistics import read_summary_statistics
from leadlight.genetics.traits import read_person_table
from leadlight.genetics.variant_tables import read_people, read_variants
from leadlight.latent.card import read_card as read_latent_card

SHIPPED = Path(__file__).parents[2] / "src" / "leadlight"
# The same examples at every run: a new one that fails is for whoever looks for it, not for a change
# that has nothing to do with it.
FAST = settings(
    max_examples=40, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
SUMMARY = (
    "chromosome\tbase_pair_location\teffect_allele\tother_allele\tbeta\tstandard_error\t"
    "effect_allele_frequency\tp_value\trsid\tn\n1\t1000\tA\tG\t0.1\t0.02\t0.3\t1e-8\trs1\t500\n"
    "X\t2000\tC\tT\t-0.1\t0.02\t0.4\t0.5\trs2\t500\n"
)
PERSONS = "FID IID height weight\n0 p1 180 80\n0 p2 170 NA\n0 p3 160 60\n"
LABELS = "record_id,labels,patient_id,age\np1,AF;LBBB,a,60\np2,,b,50\np3,NORM,c,\n"
PEOPLE = "#FID\tIID\tSEX\n0\tp1\t1\n0\tp2\t2\n"
VARIANTS = "#CHROM\tPOS\tID\tREF\tALT\n1\t100\trs1\tA\tG\nX\t200\trs2\tC\tT\n"
GENES = "1\t1000\t2000\tPLN\n3\t500\t900\tSCN5A\n"
CARD = (SHIPPED / "classify" / "shipped" / "leadlight-ecg-6" / "card.toml").read_text("utf-8")
LATENT = (SHIPPED / "latent" / "shipped" / "leadlight-factors" / "card.toml").read_text("utf-8")

READERS: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "summary statistics": (read_summary_statistics, "trait.tsv", SUMMARY),
    "phenotypes": (read_person_table, "persons.txt", PERSONS),
    "covariates": (lambda p: read_person_table(p, categories=True), "persons.csv",
                   PERSONS.replace(" ", ",")),
    "labels": (read_label_table, "labels.csv", LABELS),
    "people": (read_people, "g.psam", PEOPLE),
    "variants": (lambda p: read_variants(p, None), "g.pvar", VARIANTS),
    "genes": (read_genes, "genes.bed", GENES),
    "model card": (read_card, "card.toml", CARD),
    "factor model card": (read_latent_card, "card.toml", LATENT),
}  # fmt: skip


@st.composite
def harmed(draw: st.DrawFn, sound: str) -> bytes:
    """A sound table after accidents to its cells, lines and bytes."""
    data = sound.encode()
    for _ in range(draw(st.integers(1, 4))):
        what = draw(st.sampled_from(["cell", "bytes", "cut", "line", "bare"]))
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        if what == "bytes":
            data = data[:at] + draw(st.binary(max_size=5)) + data[at:]
        elif what == "cut":
            data = data[:at]
        elif what == "line":
            lines = data.splitlines(keepends=True)
            if lines:
                row = draw(st.integers(0, len(lines) - 1))
                lines.insert(draw(st.integers(0, len(lines))), lines[row])
            data = b"".join(lines)
        elif what == "bare":
            data = data.replace(
                draw(st.sampled_from([b"\t", b",", b"\n", b" ", b'"', b"="])), b"", 1
            )
        else:
            odd = draw(st.sampled_from([
                b"NaN", b"inf", b"-1e999", b"1e400", b"9" * 30, b"", b"\x00", b"\xff", b'"', b"'",
                b"=cmd()", "♥".encode(), b"0x1F", b"1,5", b"true", b"-", b"[[", b"1970-01-01",
            ]))  # fmt: skip
            end = at + draw(st.integers(0, 6))
            data = data[:at] + odd + data[end:]
    return data


@pytest.mark.parametrize("kind", READERS)
@FAST
@given(data=st.data())
def test_a_harmed_table_is_read_or_refused_in_one_sentence(
    tmp_path: Path, kind: str, data: st.DataObject
) -> None:
    read, name, sound = READERS[kind]
    path = tmp_path / name
    path.write_bytes(data.draw(harmed(sound)))
    try:
        read(path)
    except LeadlightError as error:
        said = str(error)
    else:
        said = "read"
    assert said
    assert "\n" not in said


@pytest.mark.parametrize("kind", READERS)
def test_sound_tables_are_read_and_other_things_refused(tmp_path: Path, kind: str) -> None:
    read, name, sound = READERS[kind]
    path = tmp_path / name
    path.write_text(sound)
    if "card" not in kind:  # a card wants its weights beside it
        read(path)
    for content in (b"", b"\n", b"\x00" * 2000, gzip.compress(b"x" * 1000), b"PAR1" + b"\x00" * 50,
                    b"\x80\x04\x95" + b"." * 40, "é\n".encode("utf-16")):  # fmt: skip
        path.write_bytes(content)
        with pytest.raises(LeadlightError):
            _some(read(path))
    path.unlink()
    with pytest.raises(LeadlightError):
        read(path)


def _some(found: Any) -> None:
    """A table of no variants is refused by who opens the genotypes."""
    if hasattr(found, "n_alleles") and not len(found):
        raise LeadlightError("No variant.")
