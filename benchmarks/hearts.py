"""How like real hearts the simulated ones are, how fast they are made, and what gives them away.

    python benchmarks/hearts.py --study STUDY --people 287

STUDY is an imported PTB-XL. Simulated normals (sinus, no conditions) have the sex and age of the
real records labelled NORM; both go through the same measuring code. Distributions side by side
with the Kolmogorov distance; then classifiers asked to tell real from simulated median beats
(equal numbers, cross-validated by patient): a logistic regression on principal components,
gradient boosting on measurements, and a small convolutional network. What gives simulation away is
shown by asking the same of single waves and leads.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import scipy.fft
import torch
from scipy.stats import ks_2samp
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from leadlight.atomic import write_json
from leadlight.cohort.store import open_cohort
from leadlight.ecg.leads import DERIVED_FROM_I_II, INDEPENDENT_LEADS, LEADS
from leadlight.ecg.measurements import measure_recording
from leadlight.ecg.recording import Recording
from leadlight.errors import LeadlightError
from leadlight.progress import track
from leadlight.simulate.people import People, draw_people
from leadlight.simulate.population import simulate_recordings

Array = npt.NDArray[np.float64]

SHOWN = (
    "heart_rate_bpm", "rr_sd_ms", "p_duration_ms", "pr_ms", "qrs_ms", "qt_ms", "qtc_fridericia_ms",
    "t_peak_end_ms", "p_axis_deg", "qrs_axis_deg", "t_axis_deg", "qrs_t_angle_deg",
    "sokolow_lyon_mv", "cornell_mv", "p_mv_II", "p_mv_V1", "q_mv_V6", "r_mv_I", "r_mv_II",
    "r_mv_V1", "r_mv_V2", "r_mv_V5", "r_mv_V6", "s_mv_V1", "s_mv_V2", "s_mv_V3", "s_mv_V5",
    "t_mv_I", "t_mv_II", "t_mv_V1", "t_mv_V2", "t_mv_V3", "t_mv_V5", "st60_mv_V2", "st60_mv_V5",
    "noise_uv",
)  # fmt: skip
# Samples of the median beat (R at 225, 500 Hz) that hold each wave.
WAVES = {"P": (110, 200), "QRS": (195, 265), "ST-T": (265, 440), "TP": (440, 560)}


@dataclass(frozen=True)
class Measured:
    """Median beats and measurements of a group.

    Attributes:
        beats_mv: (record, lead of INDEPENDENT_LEADS, sample).
        values: one row per record.
        patient: (record) numbers.
    """

    beats_mv: Array
    values: pl.DataFrame
    patient: npt.NDArray[np.int64]

    def __getitem__(self, rows: npt.NDArray[np.int64]) -> "Measured":
        return Measured(self.beats_mv[rows], self.values[rows.tolist()], self.patient[rows])


def measured(recordings: list[Recording], patients: list[int], name: str) -> Measured:
    """Measure what can be measured."""
    beats, rows, kept = [], [], []
    for recording, patient in zip(track(recordings, name), patients, strict=True):
        try:
            found = measure_recording(recording.signal_mv, recording.rate_hz)
        except LeadlightError:
            continue
        beat = found.beat.beat_mv.sel(lead=list(INDEPENDENT_LEADS)).values
        if not np.isfinite(beat).all():
            continue
        beats.append(beat)
        noise = float(np.nanmean(found.beat.noise_uv.values))
        rows.append(found.measurements.values | {"noise_uv": noise})
        kept.append(patient)
    return Measured(
        np.array(beats, dtype=float),
        pl.DataFrame(rows, infer_schema_length=None).fill_nan(None),
        np.array(kept),
    )


def real_normals(study: Path) -> tuple[Measured, list[tuple[str, float]]]:
    """Records labelled NORM, and the sex and age of each."""
    cohort = open_cohort(study)
    recordings, patients, who = [], [], []
    for row in range(len(cohort)):
        about = cohort.records.row(row, named=True)
        if "NORM" not in (about["labels"] or ()) or about["sex"] is None or not about["age"]:
            continue
        recordings.append(cohort.recording(row))
        patients.append(int(float(about["patient_id"])))
        who.append((about["sex"], min(float(about["age"]), 90.0)))
    return measured(recordings, patients, "Measuring real normals"), who


def simulated_normals(who: list[tuple[str, float]], seed: int) -> Measured:
    """Simulated normals of the same sex and age, on PTB-XL's kind of recorder.

    A clinic's archive leaves most bad recordings out: a third of the artefacts.
    """
    drawn = draw_people(range(len(who)), seed)
    sex = np.array([one[0] for one in who])
    age = np.array([one[1] for one in who])
    taller = np.where(drawn.sex == "M", 176.5, 163.0) - 0.1 * np.maximum(drawn.age_years - 40, 0)
    height = drawn.height_cm - taller + np.where(sex == "M", 176.5, 163.0)
    height -= 0.1 * np.maximum(age - 40, 0)
    people = People(drawn.number, sex, age, height, drawn.body_mass_index, drawn.z)
    made = simulate_recordings(len(who), seed=seed, people=people, severities={},
        recorders={"compressed": 1.0}, artefacts=0.3,
    )  # fmt: skip
    recordings = [one.recording for one in made]
    return measured(recordings, [-1 - i for i in range(len(who))], "Measuring simulated normals")


def side_by_side(real: Measured, made: Measured) -> dict[str, dict[str, float]]:
    """Mean, SD and Kolmogorov distance of every measurement."""
    found = {}
    print(f"\n{'':20}{'real':>20}{'simulated':>22}{'KS':>7}{'p':>9}")
    for name in SHOWN:
        one, two = (group.values[name].drop_nulls().to_numpy() for group in (real, made))
        test = ks_2samp(one, two)
        found[name] = {
            "real_mean": one.mean(), "real_sd": one.std(ddof=1), "mean": two.mean(),
            "sd": two.std(ddof=1), "ks": test.statistic, "p": test.pvalue,
        }  # fmt: skip
        print(
            f"{name:20}{one.mean():10.3f} ± {one.std():7.3f}{two.mean():12.3f} ± {two.std():7.3f}"
            f"{test.statistic:7.3f}{test.pvalue:9.1e}"
        )
    mean = float(np.mean([row["ks"] for row in found.values()]))
    print(f"mean Kolmogorov distance {mean:.3f} over {len(SHOWN)} measurements")
    return {name: {key: float(x) for key, x in row.items()} for name, row in found.items()}


def interval(truth: Array, score: Array, group: Array, seed: int) -> tuple[float, float, float]:
    """AUROC with its 95 % bootstrap interval by patient."""
    rng = np.random.default_rng(seed)
    names = np.unique(group)
    members = {name: np.flatnonzero(group == name) for name in names}
    draws = []
    for _ in range(400):
        rows = np.concatenate([members[name] for name in rng.choice(names, len(names))])
        if 0 < truth[rows].mean() < 1:
            draws.append(roc_auc_score(truth[rows], score[rows]))
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(roc_auc_score(truth, score)), float(low), float(high)


def crossed(features: Array, truth: Array, group: Array, kind: str) -> Array:
    """Scores of records that the classifier did not see."""
    score = np.zeros(len(truth))
    for train, test in GroupKFold(5).split(features, truth, group):
        if kind == "boosting":
            model = HistGradientBoostingClassifier(max_iter=150, learning_rate=0.06, random_state=0)
        else:
            parts = min(40, features.shape[1], len(train) // 4)
            model = make_pipeline(
                StandardScaler(), PCA(parts, random_state=0), StandardScaler(),
                LogisticRegression(C=0.05, max_iter=500),
            )  # fmt: skip
        model.fit(features[train], truth[train])
        score[test] = model.predict_proba(features[test])[:, 1]
    return score


def network_scores(beats: Array, truth: Array, group: Array, seed: int) -> Array:
    """Scores of a small convolutional network, cross-validated by patient."""
    score = np.zeros(len(truth))
    scale = beats.std(axis=(0, 2), keepdims=True)
    inputs = torch.tensor(beats / scale, dtype=torch.float32)
    target = torch.tensor(truth, dtype=torch.float32)
    for fold, (train, test) in enumerate(GroupKFold(5).split(beats, truth, group)):
        torch.manual_seed(seed + fold)
        layers: list[torch.nn.Module] = []
        for before, after in ((beats.shape[1], 16), (16, 24), (24, 32), (32, 48)):
            layers += [
                torch.nn.Conv1d(before, after, 7, stride=2, padding=3),
                torch.nn.BatchNorm1d(after),
                torch.nn.ReLU(),
            ]
        net = torch.nn.Sequential(
            *layers, torch.nn.AdaptiveAvgPool1d(8), torch.nn.Flatten(), torch.nn.Dropout(0.4),
            torch.nn.Linear(48 * 8, 1),
        )  # fmt: skip
        optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.05)
        epochs = 30
        plan = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, 4e-3, total_steps=epochs * -(-len(train) // 32)
        )
        for _ in range(epochs):
            net.train()
            for rows in torch.randperm(len(train)).split(32):
                part = torch.tensor(train)[rows]
                shift = int(torch.randint(-3, 4, ()))
                given = torch.roll(inputs[part], shift, dims=2)
                given = given * (1 + 0.1 * torch.randn(len(part), 1, 1))
                loss = torch.nn.functional.binary_cross_entropy_with_logits(
                    net(given)[:, 0], target[part]
                )
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                plan.step()
        net.eval()
        with torch.no_grad():
            score[test] = net(inputs[torch.tensor(test)])[:, 0].numpy()
    return score


def told_apart(
    real: Measured, made: Measured, seed: int, network: bool
) -> dict[str, tuple[float, float, float]]:
    """AUROC of real against simulated, whole beats, single waves, single leads, measurements."""
    count = min(len(real.beats_mv), len(made.beats_mv))
    rng = np.random.default_rng(seed)
    real, made = (
        group[np.sort(rng.permutation(len(group.patient))[:count])] for group in (real, made)
    )
    beats = np.concatenate([real.beats_mv, made.beats_mv])
    truth = np.repeat([0.0, 1.0], count)
    group = np.concatenate([real.patient, made.patient])
    found = {}

    def show(name: str, score: Array) -> None:
        found[name] = interval(truth, score, group, seed)
        print(f"  {name:44}{found[name][0]:.3f} ({found[name][1]:.3f}-{found[name][2]:.3f})")

    print(f"\nreal or simulated, AUROC, {count} each")
    halved = beats[:, :, ::2]
    show(
        "components of the beat, logistic",
        crossed(halved.reshape(len(beats), -1), truth, group, ""),
    )
    numbers = [n for n in real.values.columns if n in made.values.columns and "confidence" not in n]
    table = pl.concat(
        [real.values.select(numbers), made.values.select(numbers)], how="vertical_relaxed"
    )
    rhythm = ("heart_rate", "rr", "rmssd", "noise", "n_")  # what a beat does not show
    seen = [
        n for n in numbers if not n.startswith(rhythm) and table[n].drop_nulls().n_unique() > 50
    ]
    show(
        "measurements, boosting",
        crossed(table.select(seen).to_numpy().astype(float), truth, group, "boosting"),
    )
    rough = np.concatenate(
        [
            np.log10(np.diff(beats[:, :, a:b], n=order, axis=2).std(axis=2) + 1e-5)
            for a, b in WAVES.values()
            for order in (1, 2, 3)
        ],
        axis=1,
    )
    show("roughness per wave and lead, boosting", crossed(rough, truth, group, "boosting"))
    for name, (first, last) in WAVES.items():
        part = beats[:, :, first:last]
        part = part - part[:, :, :3].mean(axis=2, keepdims=True) * (name == "P")
        show(f"{name} alone, components", crossed(part.reshape(len(beats), -1), truth, group, ""))
    for row, lead in enumerate(INDEPENDENT_LEADS):
        show(f"{lead} alone, components", crossed(beats[:, row, ::2], truth, group, ""))
    if network:
        show("convolutional network", network_scores(halved, truth, group, seed))
    return found


def speed(people: int, seed: int) -> dict[str, float]:
    """Records per second of one core's time, 12 leads × 10 s × 500 Hz, everything included.

    The same people again and again; the best run is the least disturbed by other work, and a
    Fourier transform timed beside it says how busy the machine was.
    """
    list(simulate_recordings(people, seed=seed))
    strip = np.zeros((9, 5000), dtype=np.float32)
    times, reference = [], []
    for _ in range(12):
        began = time.process_time()
        for _ in simulate_recordings(people, seed=seed):
            pass
        times.append((time.process_time() - began) / people)
        began = time.process_time()
        for _ in range(50):
            scipy.fft.irfft(scipy.fft.rfft(strip), n=5000)
        reference.append((time.process_time() - began) / 50)
    best, middle = 1 / min(times), 1 / float(np.median(times))
    ratio = float(np.median(times) / np.median(reference))
    print(f"\n{best:.0f} records/s/core at best, {middle:.0f} in the middle; a record takes "
          f"{ratio:.0f} times a Fourier transform of 9 x 5000 there and back")  # fmt: skip
    return {"records_per_s_best": best, "records_per_s_median": middle, "per_transform": ratio}


def read_back(people: int, seed: int) -> dict[str, dict[str, float]]:
    """Measurements of clean simulated normals less their truth."""
    limits = {"pr_ms": 5.0, "qrs_ms": 4.0, "qt_ms": 8.0, "heart_rate_bpm": 0.5}
    errors: dict[str, list[float]] = {name: [] for name in limits}
    for one in track(
        list(simulate_recordings(people, seed=seed, severities={}, noise=0.0)), "Reading back"
    ):
        values = measure_recording(one.recording.signal_mv, one.recording.rate_hz)
        found, true = values.measurements.values, one.fiducials
        onset = true.qrs_onset_s
        truth = {
            "pr_ms": 1e3 * float(np.nanmedian(onset - true.p_onset_s)),
            "qrs_ms": 1e3 * float(np.median(true.qrs_offset_s - onset)),
            "qt_ms": 1e3 * float(np.median(true.t_offset_s - onset)),
            "heart_rate_bpm": 60.0 / float(np.diff(onset).mean()),
        }
        for name in limits:
            errors[name].append(found[name] - truth[name])
    print(f"\n{people} clean simulated normals: ours less truth")
    figures, rng = {}, np.random.default_rng(seed)
    for name, values_of in errors.items():
        of = np.array(values_of)
        of = of[np.isfinite(of)]
        draws = of[rng.integers(0, len(of), (1000, len(of)))].std(axis=1, ddof=1)
        low, high = np.percentile(draws, [2.5, 97.5])
        sd = float(of.std(ddof=1))
        print(f"  {name:16}{of.mean():+7.2f} ± {sd:5.2f} ({low:.2f}-{high:.2f})  n {len(of)}  "
              f"<= {limits[name]:g} {'met' if sd <= limits[name] else 'MISSED'}")  # fmt: skip
        figures[name] = {"mean": float(of.mean()), "sd": sd, "sd_low": float(low),
                         "sd_high": float(high), "n": len(of)}  # fmt: skip
    return figures


def figure(real: Measured, made: Measured, path: Path) -> None:
    """Quantiles of both groups side by side, and median beats of five people of each."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = [n for n in SHOWN if n not in ("noise_uv", "rr_sd_ms")][:33]
    figure, axes = plt.subplots(6, 6, figsize=(15, 13))
    for axis, name in zip(axes.flat, shown, strict=False):
        both = [group.values[name].drop_nulls().to_numpy() for group in (real, made)]
        edges = np.linspace(*np.percentile(np.concatenate(both), [0.3, 99.7]), 26)
        for values, colour, label in zip(
            both, ("#7a4b33", "#33567a"), ("real", "simulated"), strict=True
        ):
            axis.hist(
                values, edges, density=True, histtype="step", lw=1.6, color=colour, label=label
            )
        axis.set_title(name, fontsize=9)
        axis.set_yticks([])
        axis.tick_params(labelsize=7)
    axes.flat[0].legend(fontsize=7)
    time_ms = (np.arange(600) - 225) * 2.0
    for axis, lead in zip(list(axes.flat)[len(shown) :], ("II", "V2", "V5"), strict=False):
        row = INDEPENDENT_LEADS.index(lead)
        for group, colour, shift in ((real, "#7a4b33", 0.0), (made, "#33567a", -2.5)):
            mean = group.beats_mv[:, row].mean(axis=0)
            spread = group.beats_mv[:, row].std(axis=0)
            axis.plot(time_ms, mean + shift, color=colour, lw=1.2)
            axis.fill_between(time_ms, mean - spread + shift, mean + spread + shift, color=colour,
                              alpha=0.25, lw=0)  # fmt: skip
        axis.set_title(f"{lead}: mean beat ± SD, mV", fontsize=9)
        axis.set_xlim(-280, 560)
        axis.tick_params(labelsize=7)
    for axis in list(axes.flat)[len(shown) + 3 :]:
        axis.axis("off")
    figure.tight_layout()
    figure.savefig(path, dpi=75)
    plt.close(figure)
    print(f"figure in {path}")


def algebra(people: int, seed: int) -> float:
    """Largest violation of the lead algebra, in µV."""
    worst = 0.0
    for one in simulate_recordings(people, seed=seed):
        rows = dict(zip(LEADS, one.recording.signal_mv.values.astype(float), strict=True))
        for lead, (of_one, of_two) in DERIVED_FROM_I_II.items():
            apart = np.abs(rows[lead] - of_one * rows["I"] - of_two * rows["II"]).max()
            worst = max(worst, 1e3 * float(apart))
    print(f"lead algebra: largest violation {worst:.2g} µV over {people} records (float32)")
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--study", type=Path, help="an imported PTB-XL")
    parser.add_argument("--people", type=int, default=120, help="for read-back and algebra")
    parser.add_argument("--no-network", action="store_true")
    parser.add_argument("--figure", type=Path, help="draw the distributions here")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, object] = {"speed": speed(min(asked.people, 25), asked.seed)}
    result["read_back"] = read_back(asked.people, asked.seed + 72)
    result["algebra_uv"] = algebra(min(asked.people, 100), asked.seed)
    if asked.study:
        real, who = real_normals(asked.study)
        made = simulated_normals(who, asked.seed)
        result["distributions"] = side_by_side(real, made)
        if asked.figure:
            figure(real, made, asked.figure)
        result["auroc"] = told_apart(real, made, asked.seed, not asked.no_network)
    if asked.out:
        write_json(asked.out, result)


if __name__ == "__main__":
    main()
