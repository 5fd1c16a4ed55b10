"""The ECG's own factors."""
