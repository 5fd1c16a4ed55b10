"""People: how hearts differ, and which diagnoses they carry.

Spreads follow published normal limits of adults (rate, PR, QRS, QT: Rijnbeek et al. 2014; Mason
et al. 2007); amplitudes were set by looking at real ECGs. These are plain hearts for training and
demonstration; they carry no genes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from leadlight.ecg.leads import as_leads
from leadlight.ecg.recording import Recording
from leadlight.errors import LeadlightError
from leadlight.simulate import rhythm, waves
from leadlight.simulate.heart import (
    Array,
    FibrillatoryWaves,
    Fiducials,
    Heart,
    Ventricles,
    beat_into_leads,
)
from leadlight.simulate.lead_field import draw_lead_field, rotation
from leadlight.simulate.noise import draw_levels
from leadlight.simulate.people import People, draw_people
from leadlight.simulate.traits import TRAIT_NAMES

# How often each rhythm and each conduction is drawn: diseases far more often than in a clinic,
# since a network has to learn them, and look-alikes that carry none of the six labels.
RHYTHMS = {"sinus": 0.44, "bradycardia": 0.12, "tachycardia": 0.12, "AF": 0.24, "flutter": 0.06,
           "junctional": 0.02}  # fmt: skip
CONDUCTIONS = {"normal": 0.50, "LBBB": 0.12, "RBBB": 0.12, "IRBBB": 0.06, "LAFB": 0.08,
               "IVCD": 0.06, "LVH": 0.06}  # fmt: skip
FIRST_DEGREE_SHARE = 0.14
INFARCT_SHARE = 0.12
REPOLARISATION_SHARE = 0.20


@dataclass(frozen=True)
class SimulatedRecording:
    """One simulated person: the recording, its labels, its true fiducials and its parameters."""

    recording: Recording
    labels: tuple[str, ...]
    fiducials: Fiducials
    truth: Mapping[str, float | str | bool]


def simulate_recordings(
    people_count: int,
    *,
    seed: int,
    rate_hz: float = 500.0,
    duration_s: float = 10.0,
    rhythms: Mapping[str, float] = RHYTHMS,
    conductions: Mapping[str, float] = CONDUCTIONS,
    noise: float = 1.0,
    first: int = 0,
    people: People | None = None,
    z_shift: Mapping[str, npt.ArrayLike] | None = None,
) -> Iterator[SimulatedRecording]:
    """Yield `people_count` simulated 12-lead ECGs.

    Person i depends on `seed` and i alone, so that any part of a population can be made on its
    own (`first` is the number of the first person).

    Args:
        people_count: how many.
        seed: of the whole population.
        rate_hz, duration_s: of each recording.
        rhythms, conductions: shares of each, by name; see `RHYTHMS` and `CONDUCTIONS`.
        noise: factor on the electrode noise; 0 is clean.
        first: number of the first person.
        people: these people, instead of drawn ones; row i is the i-th recording, and `first` is
            not used (`People.number` tells who they are).
        z_shift: added to the z-scores of the named traits, one value for all or one per person.

    Raises:
        LeadlightError: `people` are not `people_count`, or a trait is unknown.
    """
    if people is None:
        people = draw_people(range(first, first + people_count), seed)
    if len(people) != people_count:
        raise LeadlightError(
            f"{people_count} recordings of {len(people)} people were asked for.",
            advice="Ask for as many recordings as there are people.",
        )
    z = _shifted(people.z, z_shift or {})
    for row, number in enumerate(people.number.tolist()):
        yield _person(
            replace(people, z=z), row, np.random.default_rng([seed, number]), rate_hz,
            duration_s, dict(rhythms), dict(conductions), noise,
        )  # fmt: skip


def _shifted(
    z: npt.NDArray[np.float64], by: Mapping[str, npt.ArrayLike]
) -> npt.NDArray[np.float64]:
    shifted = np.array(z, dtype=float)
    for name, amount in by.items():
        if name not in TRAIT_NAMES:
            raise LeadlightError(
                f"{name} is not a trait of the heart.",
                advice="The traits are " + ", ".join(TRAIT_NAMES) + ".",
            )
        shifted[:, TRAIT_NAMES.index(name)] += amount
    return shifted


def _pick(rng: np.random.Generator, shares: Mapping[str, float]) -> str:
    names = list(shares)
    weights = np.array([shares[name] for name in names], dtype=float)
    return names[int(rng.choice(len(names), p=weights / weights.sum()))]


def _person(
    people: People,
    row: int,
    rng: np.random.Generator,
    rate_hz: float,
    duration_s: float,
    rhythms: Mapping[str, float],
    conductions: Mapping[str, float],
    noise: float,
) -> SimulatedRecording:
    male, age = people.sex[row] == "M", float(people.age_years[row])
    z = dict(zip(TRAIT_NAMES, people.z[row].tolist(), strict=True))
    record_id = f"sim{int(people.number[row]):06d}"
    rhythm_name, conduction = _pick(rng, rhythms), _pick(rng, conductions)
    sinus_like = rhythm_name in ("sinus", "bradycardia", "tachycardia")
    rate_bpm = _rate(rng, rhythm_name, z["heart_rate"])
    atrial_waves = None
    if rhythm_name == "AF":
        beats = rhythm.fibrillation(rng, rate_bpm, duration_s)
        coarse = float(np.exp(rng.normal(np.log(0.045), 0.6)))
        direction = np.array([0.10, 0.45, -0.75]) + 0.35 * rng.standard_normal(3)
        atrial_waves = FibrillatoryWaves(rng.uniform(4.2, 8.5), coarse, direction, regular=False)
    elif rhythm_name == "flutter":
        atrial_hz = rng.uniform(3.9, 5.6)
        beats, phase_s = rhythm.flutter(rng, atrial_hz, duration_s)
        direction = np.array([0.0, -0.9, -0.5]) + 0.3 * rng.standard_normal(3)
        amplitude = float(np.exp(rng.normal(np.log(0.11), 0.35)))
        atrial_waves = FibrillatoryWaves(atrial_hz, amplitude, direction, True, phase_s)
    else:
        depth = float(np.exp(rng.normal(np.log(0.022), 0.7))) * float(
            np.clip(75 / rate_bpm, 0.3, 1.6)
        )
        beats = rhythm.sinus(rng, rate_bpm, duration_s, min(depth, 0.18))
    atrial_share = rng.exponential(0.08) if sinus_like and rng.random() < 0.15 else 0.0
    ventricular_share = rng.exponential(0.10) if rng.random() < 0.14 else 0.0
    if atrial_share or ventricular_share:
        beats = rhythm.with_ectopics(
            rng, beats, min(atrial_share, 0.35), min(ventricular_share, 0.35)
        )
    mean_rr_s = float(np.median(beats.rr_s))

    p_ms = float(np.clip(105 + 0.1 * (age - 58) + 11 * z["p_duration"], 70, 150))
    first_degree = sinus_like and rng.random() < FIRST_DEGREE_SHARE
    if first_degree:
        pr_ms = 203.0 + float(rng.gamma(1.8, 26.0))
    else:
        pr_ms = float(np.clip(156 + 0.25 * (age - 58) + 18 * z["pr_segment"], 108, 196))
    # A P wave inside the T wave before it is seen, one inside the QRS is not possible.
    pr_ms = min(pr_ms, 0.72 * 1e3 * mean_rr_s, 430.0)
    first_degree = first_degree and pr_ms > 200.0
    p_amplitude = float(0.105 * np.exp(0.30 * z["p_voltage"]))
    p = waves.p_wave(rng, p_ms, p_amplitude) if sinus_like else None
    ectopic_p = waves.p_wave(rng, 0.85 * p_ms, p_amplitude)
    ectopic_p = waves.Events(
        ectopic_p.centre_ms,
        ectopic_p.rise_ms,
        ectopic_p.fall_ms,
        ectopic_p.dipole_mv @ rotation(*rng.normal(0, 0.9, 3)).T,
    )

    turn = rotation(*_heart_axis(rng, conduction, age, z))
    infarct = rng.random() < INFARCT_SHARE
    changed_t = rng.random() < REPOLARISATION_SHARE
    ventricles, concordance = _ventricles(rng, conduction, male, infarct, changed_t, z)
    ventricles = _turned(ventricles, turn)
    ectopic_ms = rng.uniform(125, 180)
    ectopic_qrs = waves.ectopic_ventricular_qrs(rng, ectopic_ms)
    ectopic = Ventricles(
        ectopic_qrs,
        ectopic_ms,
        -rng.uniform(0.18, 0.4) * ectopic_qrs.dipole_mv.mean(axis=0),
        -0.08 * ectopic_qrs.dipole_mv.mean(axis=0),
    )
    qtc_ms = (404 if male else 416) + 19 * z["qt_corrected"] + 0.15 * (age - 58)
    qt_ms = qtc_ms * mean_rr_s ** (1 / 3) + 0.8 * max(0.0, ventricles.qrs_ms - 100)
    qt_ms = float(np.clip(qt_ms, ventricles.qrs_ms + 170, min(620.0, 920 * mean_rr_s + 60)))
    heart = Heart(
        beats=beats,
        p=p,
        ectopic_p=ectopic_p,
        p_ms=p_ms,
        pr_ms=pr_ms,
        ventricles=ventricles,
        ectopic_ventricles=ectopic,
        qt_ms=qt_ms,
        t_peak_to_end_ms=float(np.clip(rng.normal(88, 10), 60, 0.45 * (qt_ms - ventricles.qrs_ms))),
        atrial_waves=atrial_waves,
        lead_field=draw_lead_field(rng),
        breathing_turn_rad=abs(rng.normal(0, 0.05)),
        noise=draw_levels(rng, noise),
    )
    signal_mv, fiducials = beat_into_leads(heart, rng, rate_hz=rate_hz, duration_s=duration_s)
    shown = beats.rr_s[(beats.onset_s > 0) & (beats.onset_s < duration_s)]
    shown_rate = 60.0 / float(np.mean(shown)) if len(shown) else rate_bpm
    plain = conduction == "normal" and not infarct and not changed_t and not ventricular_share
    labels = _labels(
        sinus_like, rhythm_name, conduction, shown_rate, first_degree, plain and not atrial_share
    )
    recording = Recording(
        signal_mv=as_leads(signal_mv),
        rate_hz=rate_hz,
        record_id=record_id,
        patient_id=record_id,
        age_years=round(age),
        sex="M" if male else "F",
        source_format="simulated",
    )
    truth: dict[str, float | str | bool] = {
        "rhythm": rhythm_name,
        "conduction": conduction,
        "rate_bpm": shown_rate,
        "p_ms": p_ms if sinus_like else float("nan"),
        "pr_ms": pr_ms if sinus_like else float("nan"),
        "qrs_ms": ventricles.qrs_ms,
        "qt_ms": qt_ms,
        "t_concordance": concordance,
        "infarct": infarct,
        "changed_t": changed_t,
        "ventricular_ectopic_share": float(ventricular_share),
        "atrial_ectopic_share": float(atrial_share),
    }
    return SimulatedRecording(recording, labels, fiducials, truth)


def _rate(rng: np.random.Generator, rhythm_name: str, z: float) -> float:
    if rhythm_name == "bradycardia":
        return float(np.clip(52 + 5 * z, 33, 59))
    if rhythm_name == "tachycardia":
        return float(np.clip(101 + rng.gamma(1.8, 11), 101, 175))
    if rhythm_name == "AF":
        return float(np.clip(94 + 25 * z, 42, 170))
    if rhythm_name == "junctional":
        return float(rng.uniform(38, 75))
    return float(np.clip(74 + 11 * z, 57, 101))


def _labels(
    sinus_like: bool,
    rhythm_name: str,
    conduction: str,
    rate_bpm: float,
    first_degree: bool,
    plain: bool,
) -> tuple[str, ...]:
    labels = []
    if first_degree:
        labels.append("1dAVb")
    if conduction in ("RBBB", "LBBB"):
        labels.append(conduction)
    if sinus_like and rate_bpm < 59.5:
        labels.append("SB")
    if rhythm_name == "AF":
        labels.append("AF")
    if sinus_like and rate_bpm > 100.5:
        labels.append("ST")
    if not labels and plain and rhythm_name == "sinus":
        labels.append("NORM")
    return tuple(labels)


def _heart_axis(
    rng: np.random.Generator, conduction: str, age: float, z: Mapping[str, float]
) -> tuple[float, float, float]:
    """Angles of the heart in the chest (radians): about x, y and z. About z is the frontal axis:
    negative turns it to the left."""
    frontal = -0.006 * (age - 40) + 0.38 * z["qrs_axis_frontal"]
    if conduction == "LAFB":
        frontal = rng.normal(-1.45, 0.2)
    if conduction == "LBBB":
        frontal = rng.normal(-0.15, 0.45)
    return rng.normal(0, 0.20), 0.24 * z["qrs_axis_horizontal"], frontal


def _ventricles(
    rng: np.random.Generator,
    conduction: str,
    male: bool,
    infarct: bool,
    changed_t: bool,
    z: Mapping[str, float],
) -> tuple[Ventricles, float]:
    """QRS, ST and T before the heart is turned into its place; and how concordant T is (-1..1)."""
    amplitude = float((1.02 if male else 0.88) * np.exp(0.23 * z["qrs_voltage"]))
    normal_ms = float(np.clip((96 if male else 89) + 8 * z["qrs_duration"], 70, 112))
    t_size = float((0.30 if male else 0.24) * np.exp(0.35 * z["t_voltage"]))
    t_dipole = t_size * (np.array([0.75, 0.55, -0.50]) + 0.16 * rng.standard_normal(3))
    st_dipole = 0.04 * rng.standard_normal(3) + (0.10 if male else 0.05) * t_dipole / t_size
    concordance = 1.0
    if conduction == "LBBB":
        qrs_ms = float(np.clip(rng.normal(148, 14), 122, 196))
        qrs = waves.left_bundle_branch_block_qrs(rng, qrs_ms, amplitude * rng.uniform(0.8, 1.5))
        # Repolarisation follows depolarisation: T against the QRS, in some people with it.
        concordance = float(np.clip(rng.normal(-0.75, 0.5), -1.0, 0.8))
        area = qrs.dipole_mv.mean(axis=0)
        t_dipole = concordance * rng.uniform(0.50, 0.95) * area + 0.09 * rng.standard_normal(3)
        st_dipole = -rng.uniform(0.05, 0.25) * area + 0.03 * rng.standard_normal(3)
    elif conduction in ("RBBB", "IRBBB"):
        complete = conduction == "RBBB"
        qrs_ms = rng.normal(138, 11) if complete else rng.normal(108, 5)
        qrs_ms = float(np.clip(qrs_ms, 120, 180) if complete else np.clip(qrs_ms, 96, 118))
        severity = rng.uniform(0.7, 1.5) if complete else rng.uniform(0.25, 0.6)
        qrs = waves.right_bundle_branch_block_qrs(rng, qrs_ms, amplitude, severity)
        if complete:
            t_dipole = t_dipole - rng.uniform(0.15, 0.4) * qrs.dipole_mv[-1]
    elif conduction == "IVCD":
        qrs_ms = float(rng.uniform(112, 142))
        qrs = waves.normal_qrs(rng, qrs_ms, amplitude * 0.9)
    elif conduction == "LVH":
        qrs_ms = normal_ms + 8
        qrs = waves.normal_qrs(rng, qrs_ms, amplitude * rng.uniform(1.4, 2.2))
        if rng.random() < 0.6:  # strain
            t_dipole = -rng.uniform(0.1, 0.3) * qrs.dipole_mv[2] + 0.1 * rng.standard_normal(3)
            st_dipole = 0.35 * t_dipole
    else:
        qrs_ms = normal_ms
        qrs = waves.normal_qrs(rng, qrs_ms, amplitude)
    if infarct:
        # Dead muscle gives no early force: what remains points away from it.
        place = rng.standard_normal(3)
        place /= np.linalg.norm(place)
        loss = rng.uniform(0.2, 0.7) * amplitude
        qrs.dipole_mv[:2] -= loss * place
        t_dipole = t_dipole - rng.uniform(0.0, 0.35) * place
        st_dipole = st_dipole + rng.choice([0.0, 1.0], p=[0.7, 0.3]) * rng.uniform(0, 0.25) * place
    if changed_t:
        t_dipole = t_dipole * rng.uniform(-0.8, 0.6) + 0.08 * rng.standard_normal(3)
        st_dipole = st_dipole + 0.07 * rng.standard_normal(3)
    return Ventricles(qrs, qrs_ms, t_dipole, st_dipole), concordance


def _turned(ventricles: Ventricles, turn: Array) -> Ventricles:
    qrs = ventricles.qrs
    turned = waves.Events(qrs.centre_ms, qrs.rise_ms, qrs.fall_ms, qrs.dipole_mv @ turn.T)
    # T varies less in direction than QRS: it is turned by about half.
    part = np.eye(3) * 0.5 + turn * 0.5
    return Ventricles(
        turned, ventricles.qrs_ms, ventricles.t_dipole_mv @ part.T, ventricles.st_dipole_mv @ part.T
    )
