"""VITS: text to speech, trained end to end (Kim et al. 2021, arXiv 2106.06103)."""
