"""Names of measurements as people say them."""

_INTERVALS = {
    "heart_rate_bpm": "heart rate", "rr_ms": "RR interval", "rr_sd_ms": "spread of RR",
    "rmssd_ms": "beat-to-beat change of RR", "other_shape_share": "share of ectopic beats",
    "p_duration_ms": "P duration", "pr_ms": "PR interval", "qrs_ms": "QRS duration",
    "qt_ms": "QT interval", "qtc_bazett_ms": "QTc (Bazett)",
    "qtc_fridericia_ms": "QTc (Fridericia)", "qtc_framingham_ms": "QTc (Framingham)",
    "qtc_hodges_ms": "QTc (Hodges)", "jt_ms": "JT interval", "t_peak_end_ms": "T peak to end",
    "p_axis_deg": "P axis", "qrs_axis_deg": "QRS axis", "t_axis_deg": "T axis",
    "qrs_t_angle_deg": "QRS–T angle", "qrs_t_angle_frontal_deg": "QRS–T angle (frontal)",
    "sokolow_lyon_mv": "Sokolow–Lyon voltage", "cornell_mv": "Cornell voltage",
}  # fmt: skip
_WAVES = {
    "p": "P", "q": "Q", "r": "R", "s": "S", "r_prime": "R′", "j": "J point", "st60": "ST + 60 ms",
    "st80": "ST + 80 ms", "t": "T",
}  # fmt: skip


def spoken(quantity: str) -> str:
    """ "r_mv_V4" as "R in V4", "pr_ms" as "PR interval"; what is unknown stays readable."""
    if quantity in _INTERVALS:
        return _INTERVALS[quantity]
    wave, _, lead = quantity.partition("_mv_")
    if wave in _WAVES and lead:
        return f"{_WAVES[wave]} in {lead}"
    return quantity.replace("_", " ")


def spoken_with_r(text: str) -> str:
    """ "r_mv_V3 (+0.67)", as a card writes it, as "R in V3 (+0.67)" with a true minus sign."""
    quantity, space, rest = text.partition(" ")
    return f"{spoken(quantity)}{space}{rest}".replace("(-", "(−")
