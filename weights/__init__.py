"""Bundled models and the demo corpus (data only)."""
