"""Leadlight opens the black box of the 12-lead ECG. Research software, not a medical device."""

__version__ = "0.1.0"
