from pathlib import Path

import numpy as np
import pytest

from leadlight.cohort.signals import to_microvolts
from leadlight.cohort.store import open_cohort
from leadlight.errors import LeadlightError
from leadlight.simulate.again import made_again
from leadlight.simulate.cohort import simulate_cohort
from leadlight.simulate.genotyped_people import Genomes

SHORT = {"rate_hz": 150.0, "duration_s": 3.0}


@pytest.mark.parametrize("genotyped", [False, True])
def test_a_record_made_again_has_the_same_samples_and_labels(
    genotyped: bool, tmp_path: Path
) -> None:
    genomes = None
    if genotyped:
        pytest.importorskip("msprime", reason="genomes need the extra leadlight[simulate]")
        genomes = Genomes(variants=80, chromosomes=(3, 21), megabases=0.2, related_share=0.5)
    cohort = simulate_cohort(tmp_path, 60, seed=2, genomes=genomes, **SHORT)
    labels = cohort.records["labels"].to_list()
    ill = [row for row in range(60) if "NORM" not in labels[row]]
    for row in [0, 59, *ill[:4]]:
        again = made_again(tmp_path, f"sim{row:06d}")
        stored = cohort.signal[row, :, : cohort.records["n_samples"][row]]
        np.testing.assert_array_equal(to_microvolts(again.recording.signal_mv)[0], stored)
        assert list(again.labels) == labels[row]
        assert again.parameters.number == row


def test_what_was_not_simulated_is_not_made_again(tmp_path: Path) -> None:
    with pytest.raises(LeadlightError, match="not a simulated study"):
        made_again(tmp_path, "sim000000")
    simulate_cohort(tmp_path, 2, seed=2, **SHORT)
    assert len(open_cohort(tmp_path)) == 2
    for name in ("sim000002", "patient7"):
        with pytest.raises(LeadlightError, match="no record"):
            made_again(tmp_path, name)
