"""Voxtral: Mistral's models that transcribe speech and answer questions about it."""
