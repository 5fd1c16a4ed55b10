"""Hearts with known truth."""
