"""The one place that knows every model family: a path to the package that loads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from importlib import import_module
from importlib.resources import files
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_speech.errors import SpeechError
from mlx_speech.hub.load import read_json

if TYPE_CHECKING:
    import numpy as np

    from mlx_speech.audio.io import AudioSource
    from mlx_speech.hub.download import Download
    from mlx_speech.vits.voice import Voice
    from mlx_speech.writers import Transcription

# model_type of config.json -> module and function that load such a folder.
FAMILIES = {
    "mlx-speech-vits": ("mlx_speech.vits.checkpoints", "load_voice"),
    "vits": ("mlx_speech.vits.checkpoints", "load_voice"),
    "whisper": ("mlx_speech.whisper.checkpoints", "load_whisper"),
    "voxtral": ("mlx_speech.voxtral.listening", "load"),
    "voxtral_realtime": ("mlx_speech.voxtral.listening", "load"),
}
# Families whose models write down what they hear -> a module that has ``transcribe``,
# which takes a model, samples at LISTENING_RATE and ``TranscriptionOptions``, and
# ``check_options``, which takes the same without samples.
LISTENERS = {
    "whisper": "mlx_speech.whisper.transcribe",
    "voxtral": "mlx_speech.voxtral.listening",
    "voxtral_realtime": "mlx_speech.voxtral.listening",
}
LISTENING_RATE = 16000
# Samples by which room for a recording grows: four minutes.
_GROWTH = 1 << 22
# What transcribes when nothing else is asked for.
DEFAULT_LISTENER = "turbo"
# The recogniser that is part of the package: small, of few words, always there.
BUNDLED = "bundled"
BUNDLED_FOLDER = "recogniser"
# Files that are a model by themselves.
FILE_FAMILIES = {".pth": "vits", ".pt": "whisper"}
# What folders hold that have no model_type: those of the VITS release these sections,
# old ones of mlx-community these sizes, Mistral's this part.
UNNAMED = {
    "vits": {"data", "model"},
    "whisper": {"n_mels", "n_audio_state", "n_text_state"},
    "voxtral": {"multimodal"},
}
# Where a model's folder says what it is: everybody's file, and Mistral's.
CONFIG_NAMES = ("config.json", "params.json")
RUN_MODEL_NAME = "model"


def load_model(path: str | Path, **options: Any) -> Any:
    """Load a model of any family.

    Args:
        path: a model's folder, a training run's folder (its ``model/`` is taken), or
            a ``G_*.pth`` of the VITS release, or a ``.pt`` of OpenAI's Whisper.
        options: handed to the family's loader.

    Returns:
        What the family's loader gives: a ``mlx_speech.vits.voice.Voice`` for VITS, a
        ``mlx_speech.whisper.model.Whisper`` for Whisper, a ``Voxtral`` or a
        ``VoxtralRealtime`` of ``mlx_speech.voxtral`` for Voxtral.

    Raises:
        SpeechError: no such path, an unknown family, or what the loader refuses.
    """
    folder = model_folder(path)
    module, function = FAMILIES[_family(folder)]
    return getattr(import_module(module), function)(folder, **options)


def load_voice(path: str | Path, **options: Any) -> Voice:
    """Load a model that speaks; otherwise like :func:`load_model`.

    Raises:
        SpeechError: also when the model is of a family that does not speak.
    """
    family = model_family(path)
    if family in LISTENERS:
        raise SpeechError(
            f"`{path}` is a model of the family `{family}`, which does not speak",
            "give a voice",
        )
    return load_model(path, **options)


def find_listener(
    name: str | Path = DEFAULT_LISTENER,
    *,
    offline: bool = False,
    cache: str | Path | None = None,
    on_download: Callable[[Download], None] | None = None,
) -> Path:
    """Find a model that transcribes; download it when it is nowhere on this machine.

    Args:
        name: ``bundled``, or as in ``mlx_speech.hub.resolve.resolve``.
        offline, cache, on_download: as there.

    Returns:
        What :func:`load_listener` takes.

    Raises:
        SpeechError: as there; this installation lacks the bundled recogniser.
    """
    if str(name) == BUNDLED:
        folder = Path(str(files("mlx_speech.weights"))) / BUNDLED_FOLDER
        if not (folder / "config.json").is_file():
            raise SpeechError(
                "this installation has no bundled recogniser",
                f"name another model, such as `{DEFAULT_LISTENER}`",
            )
        return folder
    from mlx_speech.hub.resolve import resolve

    found = resolve(
        name,
        offline=offline,
        cache=cache,
        on_download=on_download,
        otherwise=f"or use `-m {BUNDLED}`, which knows a few hundred English words",
    )
    return model_folder(found)


def load_listener(path: str | Path, **options: Any) -> Any:
    """Load a model that transcribes; otherwise like :func:`load_model`.

    Raises:
        SpeechError: also when the model is of a family that does not transcribe.
    """
    family = model_family(path)
    if family not in LISTENERS:
        raise SpeechError(
            f"`{path}` is a model of the family `{family}`, which does not transcribe",
            f"give a Whisper or Voxtral model, such as `{DEFAULT_LISTENER}`",
        )
    return load_model(path, **options)


def transcribe(
    source: AudioSource | np.ndarray, model: Any = DEFAULT_LISTENER, **options: Any
) -> Transcription:
    """Write down what is said in a recording.

    Args:
        source: a path, an open file, "-" for standard input, samples with their rate
            as a pair, or samples alone: float [samples] at 16 kHz.
        model: a loaded model, or what :func:`find_listener` takes.
        options: of the family's ``transcribe`` and of its ``TranscriptionOptions``;
            Whisper's are in ``mlx_speech.whisper.transcribe``: ``language="de"``,
            ``word_timestamps=True``, ``exact=True``, ``listener=print`` ...; Voxtral's
            in ``mlx_speech.voxtral.listening``.

    Raises:
        SpeechError: no such model or recording, or one that cannot be read; options
            that contradict each other or do not fit the model.
        TypeError: an option of a name that the family does not know.
    """
    import numpy as np

    if isinstance(source, np.ndarray):
        source = (source, LISTENING_RATE)
    samples = listening_samples(source)
    if isinstance(model, str | Path):
        model = load_listener(find_listener(model))
    module = _listening_module(model)
    wanted, others = _parted(module, options)
    return module.transcribe(model, samples, wanted, **others)


def check_options(model: Any, **options: Any) -> None:
    """Refuse, before any recording is read, what none could be transcribed with.

    Args:
        model: a loaded model.
        options: as in :func:`transcribe`.

    Raises:
        SpeechError: options that contradict each other or do not fit the model.
    """
    module = _listening_module(model)
    wanted, others = _parted(module, options)
    known = signature(module.check_options).parameters
    module.check_options(
        model, wanted, **{name: others[name] for name in known.keys() & others.keys()}
    )


def _parted(module: Any, options: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A family's ``TranscriptionOptions``, and the options that are not among them."""
    names = {field.name for field in fields(module.TranscriptionOptions)}
    own = {name: value for name, value in options.items() if name in names}
    others = {name: value for name, value in options.items() if name not in names}
    return module.TranscriptionOptions(**own), others


def listening_samples(
    source: AudioSource, on_missing: Callable[[float], None] = lambda seconds: None
) -> np.ndarray:
    """A recording as float32 [samples] at LISTENING_RATE, read in blocks.

    Of a file, no more than that is ever in memory, whatever its own rate is.

    Args:
        source: as in :func:`transcribe`.
        on_missing: told the seconds that a copy lacks which broke off, see
            ``mlx_speech.audio.load``.

    Raises:
        SpeechError: it cannot be read.
    """
    import numpy as np

    from mlx_speech.audio import AudioBlocks, load

    if isinstance(source, tuple):
        return load(source, LISTENING_RATE)[0]
    samples = np.empty(0, np.float32)
    filled = 0
    for block in AudioBlocks(source, LISTENING_RATE, on_missing=on_missing):
        # Growing in place, or joining blocks at the end would take twice the memory.
        while filled + len(block) > len(samples):
            samples.resize(len(samples) + _GROWTH, refcheck=False)
        samples[filled : filled + len(block)] = block
        filled += len(block)
    samples.resize(filled, refcheck=False)
    return samples


def listening_options(model: Any) -> set[str]:
    """Names of the options that :func:`transcribe` takes with a loaded model."""
    module = _listening_module(model)
    parameters = signature(module.transcribe).parameters.values()
    return {field.name for field in fields(module.TranscriptionOptions)} | {
        each.name for each in parameters if each.kind is each.KEYWORD_ONLY
    }


def _listening_module(model: Any) -> Any:
    # A model's class stands in the package of its family.
    return import_module(LISTENERS[type(model).__module__.split(".")[1]])


def model_family(path: str | Path) -> str:
    """The family of a model, a key of ``FAMILIES``; ``path`` as in :func:`load_model`.

    Raises:
        SpeechError: no such path, or an unknown family.
    """
    return _family(model_folder(path))


def model_folder(path: str | Path) -> Path:
    """``path``, or the folder of the model in it when it is a training run's.

    Raises:
        SpeechError: there is nothing at ``path``, or a run without a finished model.
    """
    path = Path(path)
    if not path.exists():
        raise SpeechError(f"no file or folder `{path}`", "check the path of the model")
    if path.is_file() or any((path / name).is_file() for name in CONFIG_NAMES):
        return path
    inner = path / RUN_MODEL_NAME
    if (inner / "config.json").is_file():
        return inner
    if (path / "checkpoints").is_dir():
        raise SpeechError(
            f"the training run `{path}` has no finished model yet",
            "let it go on with --resume, at least to its first export",
        )
    raise SpeechError(
        f"`{path}` holds no config.json, so it is no model",
        "give a model's folder or a training run's",
    )


def speak(
    text: str, voice: str | Path | Voice, **options: Any
) -> tuple[np.ndarray, int]:
    """Speak ``text``.

    Args:
        text: of any length.
        voice: a loaded voice, or the path of one (a training run will do).
        options: of ``mlx_speech.vits.speech.synthesize``: speaker, speed, seed,
            noise_scale, noise_scale_w, on_progress.

    Returns:
        float32 [samples] within -1..1, and its sampling rate in hertz.

    Raises:
        SpeechError: the voice cannot be loaded, or the text cannot be spoken.
    """
    from mlx_speech.vits.speech import synthesize

    loaded = (
        load_voice(voice, with_discriminators=False)
        if isinstance(voice, str | Path)
        else voice
    )
    return synthesize(loaded, text, **options), loaded.sample_rate


def _family(path: Path) -> str:
    if path.is_file():
        if path.suffix in FILE_FAMILIES:
            return FILE_FAMILIES[path.suffix]
        raise SpeechError(
            f"`{path}` is no model that can be loaded",
            "give a model's folder, a G_*.pth of the VITS release or a .pt of Whisper",
        )
    names = [name for name in CONFIG_NAMES if (path / name).is_file()]
    content = read_json(path / (names or CONFIG_NAMES)[0])
    content = content if isinstance(content, dict) else {}
    family = content.get("model_type")
    if family is None:
        for name, keys in UNNAMED.items():
            if set(content) >= keys:
                return name
    if not isinstance(family, str) or family not in FAMILIES:
        raise SpeechError(
            f"`{path}` has an unknown layout: model_type is {family!r}",
            f"known are {', '.join(FAMILIES)} and the VITS release's training folders",
        )
    return family
