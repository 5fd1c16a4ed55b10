"""Figures and the page: reads results, never models."""
