"""Scores of the study's own traits from weights that did not see the person."""

from pathlib import Path

import numpy as np
import pgenlib
import pytest

from leadlight.errors import LeadlightError
from leadlight.genetics.association import associate
from leadlight.genetics.cross_fitting import cross_fitted_scores, parts_of
from leadlight.genetics.genotypes import open_genotypes
from leadlight.genetics.phewas_loci import ScoreSettings, score_exposures
from leadlight.genetics.phewas_tables import FACTOR, Exposures
from leadlight.genetics.traits import PersonTable, match_people
from leadlight.genetics.variant_tables import People

N, VARIANTS = 1000, 300


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("cross")
    rng = np.random.default_rng(5)
    calls = rng.binomial(2, rng.uniform(0.1, 0.5, (VARIANTS, 1)), (VARIANTS, N)).astype(np.int8)
    with pgenlib.PgenWriter(
        str(folder / "g.pgen").encode(), N, variant_ct=VARIANTS, nonref_flags=False
    ) as writer:
        writer.append_biallelic_batch(calls)
    rows = [f"1\t{1000 * (v + 1)}\trs{v}\tA\tG" for v in range(VARIANTS)]
    (folder / "g.pvar").write_text("\n".join(["#CHROM\tPOS\tID\tREF\tALT", *rows, ""]))
    (folder / "g.psam").write_text("#IID\tSEX\n" + "".join(f"p{i}\t1\n" for i in range(N)))
    z = (calls[:8] - calls[:8].mean(axis=1)[:, None]) / calls[:8].std(axis=1)[:, None]
    moved = z.sum(axis=0) * np.sqrt(0.4 / 8) + np.sqrt(0.6) * rng.normal(size=N)
    ids = tuple(f"p{i}" for i in range(N))
    values = np.column_stack([moved, rng.normal(size=N)])
    return folder, Exposures(ids, ("moved", "null"), (FACTOR, FACTOR), values)


def _r2(exposures, traits, at):
    known = np.isfinite(exposures.values[:, at])
    return np.corrcoef(exposures.values[known, at], traits.values[known, at])[0, 1] ** 2


def test_a_score_of_people_it_was_made_from_flatters_and_a_cross_fitted_one_does_not(
    cohort, tmp_path: Path
):
    folder, traits = cohort
    source = open_genotypes(folder / "g")
    table = PersonTable(Path("t"), None, traits.person_ids, traits.names, traits.values)
    associate(source, match_people(source.people, table, None), tmp_path / "all", workers=1)
    naive, _ = score_exposures(
        source, [tmp_path / "all" / f"{name}.parquet" for name in traits.names], (),
        tmp_path / "blocks", settings=ScoreSettings(), trained_on=None,
    )  # fmt: skip
    own, learnt = cross_fitted_scores(
        source, traits, None, tmp_path, parts=4, settings=ScoreSettings(), workers=1
    )
    assert own.names == ("moved_score", "null_score")
    assert _r2(naive, traits, 1) > 0.1  # a null trait "explained"
    assert _r2(own, traits, 1) < 0.01
    assert _r2(own, traits, 0) > 0.15
    assert list(learnt) == ["part 1", "part 2", "part 3", "part 4"]
    assert np.isfinite(own.values).all()
    assert "p too small where the outcome goes with the trait" in own.notes["null_score"]


def test_parts_keep_families_together_and_do_not_depend_on_who_else_is_there():
    people = People(
        tuple(f"fam{i // 3}" for i in range(300)), tuple(f"p{i}" for i in range(300)),
        np.zeros(300, np.int8),
    )  # fmt: skip
    part = parts_of(people, 3)
    assert all(len(set(part[at : at + 3])) == 1 for at in range(0, 300, 3))
    assert np.bincount(part).min() > 60
    fewer = People(people.family_ids[150:], people.person_ids[150:], people.sex[150:])
    assert (parts_of(fewer, 3) == part[150:]).all()


def test_one_part_is_refused(cohort, tmp_path):
    folder, traits = cohort
    with pytest.raises(LeadlightError, match="cross-fitted in 1 parts"):
        cross_fitted_scores(
            open_genotypes(folder / "g"), traits, None, tmp_path, parts=1, settings=ScoreSettings()
        )
