"""One 12-lead recording."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import xarray as xr


@dataclass(frozen=True)
class Recording:
    """One 12-lead recording as a file gave it, in millivolt.

    Attributes:
        signal_mv: (lead, sample) float32 in millivolt; all twelve of `leads.LEADS`, NaN where the
            file has no value.
        rate_hz: samples per second.
        record_id: unique in its cohort once imported; a reader sets the file's name without ending.
        patient_id: for splits and intervals; None where the file does not say.
        age_years: None where unknown. Ages that files write as 300 ("over 89") stay as 90.
        sex: "F", "M" or None.
        codes: diagnosis codes as the file writes them (SNOMED CT numbers, say), in file order.
        derived_leads: leads that the algebra gave because the file lacks them.
        missing_leads: leads that are NaN because the file lacks them and nothing gives them.
        median_beat_mv: (lead, sample) the cart's own median beat where the file holds one.
        median_beat_rate_hz: its rate.
        source_format: "wfdb", "dicom", ...
        notes: anything else the file says that a later stage needs, as text.
        cart_measurements: what the recording device measured, under the names and units of
            `leadlight.ecg.measurements`; what it left blank is not there.
    """

    signal_mv: xr.DataArray
    rate_hz: float
    record_id: str
    patient_id: str | None = None
    age_years: float | None = None
    sex: str | None = None
    codes: tuple[str, ...] = ()
    derived_leads: tuple[str, ...] = ()
    missing_leads: tuple[str, ...] = ()
    median_beat_mv: xr.DataArray | None = None
    median_beat_rate_hz: float | None = None
    source_format: str = ""
    notes: Mapping[str, str] = field(default_factory=dict)
    cart_measurements: Mapping[str, float] = field(default_factory=dict)

    @property
    def n_samples(self) -> int:
        """Samples per lead."""
        return int(self.signal_mv.sizes["sample"])

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.rate_hz
