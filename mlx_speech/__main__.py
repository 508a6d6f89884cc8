"""``python -m mlx_speech`` is the command ``mlx-speech``."""

from mlx_speech.cli.main import main

if __name__ == "__main__":
    main()
