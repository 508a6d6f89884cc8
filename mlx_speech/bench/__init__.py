"""Measurements; the command line only prints them."""
