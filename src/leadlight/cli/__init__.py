"""One file per verb; no logic lives here."""
