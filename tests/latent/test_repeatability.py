from pathlib import Path

import numpy as np

from leadlight.cohort.importing import import_cohort
from leadlight.cohort.measuring import measure_cohort
from leadlight.latent.beats import gather_beats
from leadlight.latent.encoding import encode_study
from leadlight.latent.evaluation import evaluate
from leadlight.latent.repeatability import halves_of, intraclass_correlation
from leadlight.latent.training import Trained


def test_the_intraclass_correlation_is_the_published_example() -> None:
    """Shrout and Fleiss 1979, table 2, judges 1 and 3 would differ; their ICC(2,1) over all four
    judges is 0.29. Two judges that differ by a constant agree less than they correlate."""
    scores = np.array(
        [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    ).astype(float)
    n, k = scores.shape
    rows = k * ((scores.mean(1) - scores.mean()) ** 2).sum() / (n - 1)
    columns = n * ((scores.mean(0) - scores.mean()) ** 2).sum() / (k - 1)
    rest = ((scores - scores.mean(1, keepdims=True) - scores.mean(0) + scores.mean()) ** 2).sum()
    rest /= (n - 1) * (k - 1)
    expected = (rows - rest) / (rows + (k - 1) * rest + k * (columns - rest) / n)
    assert round(expected, 2) == 0.29
    pair = intraclass_correlation(scores[:, :1], scores[:, 3:])
    assert pair[0] < np.corrcoef(scores[:, 0], scores[:, 3])[0, 1]
    same = intraclass_correlation(scores[:, :1], scores[:, :1])
    assert same[0] == 1


def test_a_real_study_is_encoded_measured_and_flagged(
    shared_data: Path, trained: Trained, tmp_path: Path
) -> None:
    study = tmp_path / "ward"
    import_cohort(sorted((shared_data / "ptbxl").rglob("*.hea"))[:14], study)
    measure_cohort(study)
    summary = encode_study(study, trained.model)
    assert summary.n_encoded == 14
    everyone = ("train", "validation", "test")
    done = evaluate(study, trained.model, splits=everyone)
    mae, low, high = done.summary["mae_uv"]
    assert low < mae < high < 100
    assert done.summary["repeatability"]["records"] >= 10
    beats = gather_beats([study], tmp_path / "cache")
    # Hearts upside down are like nothing that the model saw.
    beats_mv, _ = beats.millivolts(slice(None))
    typical = trained.model.card.typical
    turned = trained.model.encode(-beats_mv, beats.own)
    assert ((turned.error_uv > typical.error_uv) | (turned.distance > typical.distance)).all()
    halves = halves_of(study, beats)
    one = trained.model.encode(halves.first, halves.own).factors
    two = trained.model.encode(halves.second, halves.own).factors
    assert np.median(intraclass_correlation(one, two)) > 0.7
