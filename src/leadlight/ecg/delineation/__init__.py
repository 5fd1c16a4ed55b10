"""Wave limits by a small network: P, QRS and T of every beat, per lead and over all leads."""

from leadlight.ecg.delineation.delineate import delineate
from leadlight.ecg.delineation.fiducials import POINTS, WAVES, Fiducials

__all__ = ["POINTS", "WAVES", "Fiducials", "delineate"]
