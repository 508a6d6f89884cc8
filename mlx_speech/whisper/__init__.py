"""Whisper: transcription of speech with OpenAI's models and those shaped like them."""
