"""From a healthy shape and its conditions to a heart that can beat."""

import numpy as np
import numpy.typing as npt

from leadlight.simulate import conduction as conducting
from leadlight.simulate import rhythm as beating
from leadlight.simulate import waves
from leadlight.simulate.conditions import Conditions
from leadlight.simulate.fitted import Shape
from leadlight.simulate.heart import FibrillatoryWaves, Heart, PWave, Variation, Ventricles
from leadlight.simulate.lead_field import ARMS_SWAPPED, DOWER, draw_lead_field, electrodes_moved
from leadlight.simulate.noise import NoiseLevels
from leadlight.simulate.waves import Wave, wave

Array = npt.NDArray[np.float64]
Truth = dict[str, float | str | bool]

_TO_DIPOLE = np.linalg.pinv(DOWER)
_USUAL_QRS_MV = 0.30  # root mean square of the events of a usual QRS, for sizes of other conduction


def build_heart(
    shape: Shape,
    conditions: Conditions,
    age_years: float,
    disease_rng: np.random.Generator,
    rhythm_rng: np.random.Generator,
    noise: NoiseLevels,
    duration_s: float,
    arms_swapped: bool = False,
) -> tuple[Heart, Truth]:
    """The heart of one person with its conditions, and what is true about it."""
    seeds = disease_rng.integers(0, 2**63, 6)
    streams = [np.random.default_rng(seed) for seed in seeds]
    field = np.asarray(draw_lead_field(streams[0], 0.6), dtype=float)
    variation = _variation(streams[1])
    rate_bpm, arrhythmia = _rate(shape.rate_bpm, conditions.of_beats, streams[2], age_years)
    beats, atrial_waves, rhythm_name, ectopy = _rhythm(
        conditions, rate_bpm, arrhythmia, rhythm_rng, duration_s
    )
    mean_rr_s = float(np.median(beats.rr_s))
    ventricles = _ventricles(shape, conditions, mean_rr_s, field, streams[3])
    ectopic = None
    if (beats.kind == beating.VENTRICULAR_ECTOPIC).any():
        ectopic = _ectopic(ventricles.jt_ms, field, streams[4])
    p, ectopic_p, pr_ms = _atria(shape, conditions, rhythm_name, mean_rr_s, streams[5])
    heart = Heart(
        beats=beats,
        p=p,
        ectopic_p=ectopic_p,
        pr_ms=pr_ms,
        ventricles=ventricles,
        ectopic_ventricles=ectopic,
        atrial_waves=atrial_waves,
        variation=variation,
        electrodes=electrodes_moved(streams[0], 0.12)
        @ (ARMS_SWAPPED if arms_swapped else np.eye(8)),
        noise=noise,
    )
    truth = _truth(heart, conditions, rhythm_name, ectopy, rate_bpm, duration_s)
    return heart, truth | {"arms_swapped": arms_swapped}


def _truth(heart: Heart, conditions: Conditions, rhythm_name: str, ectopy: beating.Ectopy,
           rate_bpm: float, duration_s: float) -> Truth:  # fmt: skip
    beats = heart.beats
    shown = beats.rr_s[(beats.onset_s > 0) & (beats.onset_s < duration_s)]
    nan = float("nan")
    qrs_on, _, qrs_off, _, _, t_off = heart.ventricles.limits_ms
    p_on, _, p_off = heart.p.limits_ms if heart.p is not None else (nan, nan, nan)
    truth: Truth = {
        "rhythm": rhythm_name,
        "conduction": _conduction(conditions),
        "group": conditions.group,
        "rate_bpm": 60.0 / float(np.mean(shown)) if len(shown) else rate_bpm,
        "p_ms": p_off - p_on,
        "pr_ms": heart.pr_ms - p_on + qrs_on,
        "qrs_ms": qrs_off - qrs_on,
        "qt_ms": t_off - qrs_on,
        "t_concordance": -conditions.discordance
        if _conduction(conditions) in ("LBBB", "RBBB")
        else nan,
        "infarct": bool(conditions.infarct),
        "changed_t": bool(conditions.repolarisation),
        "ventricular_ectopic_share": ectopy.ventricular_share,
        "atrial_ectopic_share": ectopy.atrial_share,
    }
    for name in ("1dAVb", "RBBB", "LBBB", "SB", "AF", "ST", "PVC", "PAC"):
        truth[f"severity_{name}"] = conditions.of(name)
    return truth


def _conduction(conditions: Conditions) -> str:
    if conditions.conduction in ("RBBB", "LBBB") and not conditions.of(conditions.conduction):
        return "normal"
    return conditions.conduction


def _variation(rng: np.random.Generator) -> Variation:
    return Variation(
        breathing_turn_rad=rng.normal(0, [0.03, 0.03, 0.05]),
        breathing_amplitude=abs(rng.normal(0, 0.03)),
        beat_amplitude=float(np.exp(rng.normal(np.log(0.012), 0.4))),
        pr_ms=float(np.exp(rng.normal(np.log(2.0), 0.4))),
        qt_ms=float(np.exp(rng.normal(np.log(2.5), 0.4))),
    )


def _rate(
    own_bpm: float, conditions: Conditions, rng: np.random.Generator, age_years: float
) -> tuple[float, float]:
    """Mean rate, and SD(RR) over mean RR of a sinus rhythm."""
    healthy = float(np.clip(own_bpm, 60.5, 99.0)) if conditions.rhythm in (
        "bradycardia", "tachycardia") else own_bpm  # fmt: skip
    unit = rng.standard_normal(3)
    slow, fast = conditions.of("SB"), conditions.of("ST")
    rate = healthy
    if slow:  # typical: the low fifties
        rate = float(np.clip(59.5 - 7.0 * slow + 0.08 * (healthy - 75.0), 30.0, 59.5))
    elif fast:
        rate = float(np.clip(101.0 + 17.0 * fast - 8.0 + 0.2 * (healthy - 75.0), 100.7, 185.0))
    elif conditions.of("AF"):
        rate = float(np.clip(92.0 + 24.0 * unit[0] + 0.2 * (healthy - 75.0), 38.0, 175.0))
    elif conditions.rhythm == "junctional":
        rate = float(np.clip(56.0 + 10.0 * unit[0], 36.0, 80.0))
    # Fitted to PTB-XL's normals (training/fit_hearts.py prints it).
    log_variation = -3.62 - 0.014 * (age_years - 60.0) + 0.75 * unit[1]
    variation = float(np.exp(log_variation)) * float(np.clip((70 / rate) ** 0.4, 0.3, 1.3))
    return rate, min(variation, 0.20)


def _rhythm(
    conditions: Conditions,
    rate_bpm: float,
    arrhythmia: float,
    rng: np.random.Generator,
    duration_s: float,
) -> tuple[beating.BeatTimes, FibrillatoryWaves | None, str, beating.Ectopy]:
    seeds = rng.integers(0, 2**63, 3)
    own, other, early = (np.random.default_rng(seed) for seed in seeds)
    atrial_waves = None
    name, timing = conditions.rhythm, conditions.of_beats
    if name == "AF" and timing.of("AF"):
        degree = timing.of("AF")
        beats = beating.fibrillation(other, rate_bpm, duration_s, min(1.0, degree / 0.7))
        # From waves that nobody sees to coarse ones, as they are in the lead that shows them best;
        # coarse ones are slower.
        coarse = float(min(np.exp(other.normal(np.log(0.032), 0.65)), 0.11))
        direction = np.array([0.12, 0.40, -0.75]) + 0.30 * other.standard_normal(3)
        direction /= 1.6 * np.abs(DOWER @ direction).max()
        rate_hz = other.uniform(4.4, 8.6) - 8.0 * coarse
        atrial_waves = FibrillatoryWaves(rate_hz, coarse, direction, regular=False)
        if not conditions.of("AF"):  # a twin whose atria beat before each irregular QRS
            atrial_waves, name = None, "sinus"
    elif name == "flutter":
        atrial_hz = other.uniform(3.6, 5.6)
        beats, phase_s = beating.flutter(other, atrial_hz, duration_s)
        direction = np.array([0.0, -0.9, -0.5]) + 0.3 * other.standard_normal(3)
        amplitude = float(np.exp(other.normal(np.log(0.11), 0.35)))
        atrial_waves = FibrillatoryWaves(atrial_hz, amplitude, direction, True, phase_s)
    else:
        beats = beating.sinus(own, rate_bpm, duration_s, arrhythmia)
        if name == "junctional":
            pass
        elif conditions.of("SB"):
            name = "bradycardia"
        elif conditions.of("ST"):
            name = "tachycardia"
        else:
            name = "sinus"
    unit = early.random(8)
    sinus_like = name in ("sinus", "bradycardia", "tachycardia", "junctional")
    ectopy = beating.Ectopy(
        atrial_share=min(0.10 * timing.of("PAC") ** 2, 0.40) if sinus_like else 0.0,
        ventricular_share=min(0.10 * timing.of("PVC") ** 2, 0.45),
        every=int(2 + 2 * unit[1]) if unit[0] < 0.12 else 0,
        reset=0.6 + 0.4 * unit[2],
    )
    if ectopy.atrial_share or ectopy.ventricular_share:
        beats = beating.with_ectopics(early, beats, ectopy)
        for condition, kind in _ECTOPIC_KINDS.items():
            if not conditions.of(condition):  # a twin's beats come as early, from the sinus node
                beats.kind[beats.kind == kind] = beating.SINUS
    return beats, atrial_waves, name, ectopy


_ECTOPIC_KINDS = {"PAC": beating.ATRIAL_ECTOPIC, "PVC": beating.VENTRICULAR_ECTOPIC}


def _ventricles(
    shape: Shape, conditions: Conditions, mean_rr_s: float, field: Array, rng: np.random.Generator
) -> Ventricles:
    """QRS and ST-T of the beats that the atria or the node lead to."""
    strengths = shape.strengths_mv
    healthy_ms = float(np.clip(shape.qrs_ms, 60.0, 118.0))
    healthy = wave(strengths["QRS"], waves.QRS_SPAN, healthy_ms)
    size = float(np.sqrt((strengths["QRS"] ** 2).mean()))
    amplitude = float(np.clip(size / _USUAL_QRS_MV, 0.45, 2.0))
    qt_ms = shape.qtc_ms * mean_rr_s ** (1 / 3)
    qrs, qrs_ms = healthy, healthy_ms
    discordance = 0.0
    t_change = np.zeros((waves.T_EVENTS, 8))
    kind = _conduction(conditions)
    streams = [np.random.default_rng(seed) for seed in rng.integers(0, 2**63, 3)]
    own = streams[0]
    if kind == "LBBB":
        severity = conditions.of("LBBB")
        qrs, qrs_ms = conducting.left_bundle_branch_block(
            own, healthy, healthy_ms, field, severity, amplitude
        )
        discordance = conditions.discordance
    elif kind in ("RBBB", "IRBBB"):
        severity = conditions.of("RBBB") if kind == "RBBB" else own.uniform(0.25, 0.55)
        qrs, qrs_ms = conducting.right_bundle_branch_block(
            own, healthy, healthy_ms, field, severity, amplitude
        )
        discordance = conditions.discordance
    elif kind == "IVCD":
        qrs, qrs_ms = conducting.slowed(own, healthy, healthy_ms, field, amplitude)
        discordance = 0.6
    elif kind == "LAFB":
        qrs, qrs_ms = conducting.left_anterior_hemiblock(own, healthy, healthy_ms, field)
        discordance = 0.15
    elif kind == "LVH":
        grown, strain = own.uniform(1.35, 2.1), own.random()
        qrs = Wave(
            healthy.leads_mv * np.float32(grown), healthy.start_ms * 1.06, healthy.step_ms * 1.06
        )
        qrs_ms = healthy_ms * 1.06
        discordance = own.uniform(0.5, 1.1) if strain < 0.55 else 0.1
    jt_ms = qt_ms - healthy_ms - 0.2 * (qrs_ms - healthy_ms)
    jt_ms = float(np.clip(jt_ms, 150.0, max(160.0, 1e3 * mean_rr_s * 0.88 - qrs_ms)))
    t_change += conducting.secondary_t(healthy, qrs, discordance, _secondary_pattern(jt_ms))
    other = streams[1]
    if conditions.infarct:
        qrs, place = conducting.infarcted(other, qrs, qrs_ms, field, amplitude, conditions.infarct)
        t_change += np.outer(_T_BUMP, -field @ place * other.uniform(0.0, 0.30))
        acute = other.random() < 0.3
        t_change += np.outer(_ST_BUMP, field @ place * other.uniform(0, 0.22) * acute)
    other = streams[2]
    t = strengths["T"].copy()
    if conditions.repolarisation:
        weight = conditions.repolarisation
        t *= 1 - weight * other.uniform(0.2, 1.1)
        t_change += np.outer(_T_BUMP, field @ (0.08 * weight * other.standard_normal(3)))
        t_change += np.outer(_ST_BUMP, field @ (0.06 * weight * other.standard_normal(3)))
    return _with_t(qrs, qrs_ms, t + t_change, strengths["U"], jt_ms)


def _with_t(qrs: Wave, qrs_ms: float, t: Array, u: Array, jt_ms: float) -> Ventricles:
    """ST-T and U on one grid, U inside it only as far as the grid goes."""
    span = (waves.T_SPAN[0], waves.U_SPAN[1])
    alone = t.T @ _T_OF_GRID
    both = alone + u.T @ _U_OF_GRID
    step = (span[1] - span[0]) * jt_ms / (waves.GRID - 1)
    start = span[0] * jt_ms
    return Ventricles(
        qrs,
        qrs_ms,
        Wave(both.astype(np.float32), start, step),
        Wave(alone.astype(np.float32), start, step),
        jt_ms,
    )


_T_GRID = np.linspace(waves.T_SPAN[0], waves.U_SPAN[1], waves.GRID)
_T_OF_GRID = waves.events(waves.T_SPAN, waves.T_EVENTS, _T_GRID)
_U_OF_GRID = waves.events(waves.U_SPAN, waves.U_EVENTS, _T_GRID)
_T_AT = waves.centres(waves.T_SPAN, waves.T_EVENTS)
# A T wave that rises slowly and falls fast, and an ST segment, as strengths of the events.
_T_BUMP = np.exp(-0.5 * ((_T_AT - 0.70) / np.where(_T_AT < 0.70, 0.20, 0.125)) ** 2)
_ST_BUMP = np.exp(-0.5 * ((_T_AT - 0.18) / np.where(_T_AT < 0.18, 0.13, 0.22)) ** 2)


def _secondary_pattern(jt_ms: float) -> Array:
    """(event) of 1 mV·ms: mostly T, some ST."""
    pattern = _T_BUMP + 0.30 * _ST_BUMP
    area = float((pattern @ _T_OF_GRID).sum()) * (_T_GRID[1] - _T_GRID[0]) * jt_ms
    return np.asarray(pattern / area)


def _ectopic(jt_ms: float, field: Array, rng: np.random.Generator) -> Ventricles:
    qrs_ms = float(rng.uniform(122.0, 180.0))
    qrs = conducting.ventricular_ectopic(rng, field, qrs_ms)
    nothing = Wave(np.zeros_like(qrs.leads_mv), qrs.start_ms, qrs.step_ms)
    own_jt_ms = jt_ms * rng.uniform(0.95, 1.05)
    t = conducting.secondary_t(nothing, qrs, rng.uniform(0.6, 1.05), _secondary_pattern(own_jt_ms))
    return _with_t(qrs, qrs_ms, t, np.zeros((waves.U_EVENTS, 8)), own_jt_ms)


def _atria(
    shape: Shape,
    conditions: Conditions,
    rhythm_name: str,
    mean_rr_s: float,
    rng: np.random.Generator,
) -> tuple[PWave | None, PWave | None, float]:
    """P, the P of an ectopic focus, and P onset to QRS onset in ms."""
    p_ms = float(np.clip(shape.p_ms, 60.0, 170.0))
    # At higher rates conduction is a little faster, at lower ones slower: at rest by about half of
    # what Malik et al. (2008, J Electrocardiol 41:491) saw over a day (54 ms per second of RR).
    faster_bpm = np.clip(60.0 / mean_rr_s - shape.rate_bpm, -30.0, 60.0)
    pr_ms = p_ms + max(shape.pr_segment_ms - 0.25 * faster_bpm, 4.0)
    healthy = min(pr_ms, 197.0) if "1dAVb" in conditions.severity else pr_ms
    delay = rng.gamma(2.2, 18.0)
    block = conditions.of("1dAVb")
    pr_ms = max(healthy, 204.0) + delay * block**1.5 if block >= 0.5 else healthy
    # A P wave inside the T wave before it is seen, one inside the QRS is not possible.
    pr_ms = float(min(pr_ms, 0.70e3 * mean_rr_s, 440.0))
    strengths = shape.strengths_mv["P"]
    p = _p_wave(strengths, p_ms)
    if rhythm_name in ("AF", "flutter", "junctional"):
        return None, None, pr_ms
    if not conditions.of("PAC"):
        return p, None, pr_ms
    x, y, z = rng.normal(0, 0.9, 3)
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    about, _ = np.linalg.qr(np.eye(3) + skew + skew @ skew / 2)
    about = about * np.sign(np.diag(about))
    change = DOWER @ (about - np.eye(3)) @ _TO_DIPOLE
    early = _p_wave(strengths + strengths @ change.T, p_ms * rng.uniform(0.75, 1.0))
    return p, early, pr_ms


def _p_wave(strengths: Array, p_ms: float) -> PWave:
    """P, and P with the atria's recovery, from strengths (event and recovery, lead)."""
    both = strengths.T @ _P_OF_GRID
    step = (_P_GRID[-1] - _P_GRID[0]) * p_ms / (waves.GRID - 1)
    return PWave(
        Wave(both.astype(np.float32), _P_GRID[0] * p_ms, step),
        wave(strengths[:-1], waves.P_SPAN, p_ms),
    )


_P_GRID = np.linspace(waves.P_SPAN[0], waves.TA_SPAN[1], waves.GRID)
_P_OF_GRID = np.concatenate(
    [
        waves.events(waves.P_SPAN, waves.P_EVENTS, _P_GRID),
        waves.atrial_recovery(_P_GRID)[None],
    ]
)
