"""Weights in and out: strict loading, foreign checkpoints, atomic saving."""
