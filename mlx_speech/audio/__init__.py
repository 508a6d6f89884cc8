"""Audio in and out: files, STFT, mel, metrics."""
