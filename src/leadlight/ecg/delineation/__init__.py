"""Wave limits by a small network: P, QRS and T of every beat, per lead and over all leads."""

from leadlight.ecg.delineation.delineate import AskedStrip, ask_network, delineate
from leadlight.ecg.delineation.fiducials import POINTS, WAVES, Fiducials

__all__ = ["POINTS", "WAVES", "AskedStrip", "Fiducials", "ask_network", "delineate"]
