"""From settings, a folder of recordings and perhaps a base model to a training task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import mlx.core as mx

from mlx_speech.audio.io import open_sound, read_frames
from mlx_speech.audio.lengths import is_endless
from mlx_speech.corpus import Utterance, listed, read_corpus, split_validation
from mlx_speech.errors import SpeechError
from mlx_speech.nn.quantized import quantized_layers
from mlx_speech.whisper.checkpoints import load_whisper
from mlx_speech.whisper.config import WhisperConfig
from mlx_speech.whisper.ctc_labels import CtcLabels
from mlx_speech.whisper.decoding import tokenizer_of
from mlx_speech.whisper.languages import LANGUAGES
from mlx_speech.whisper.model import Whisper
from mlx_speech.whisper.own_vocabulary import spoken_form, words_vocabulary
from mlx_speech.whisper.tokenizer import TASKS, Tokenizer
from mlx_speech.whisper.train import WhisperTask
from mlx_speech.whisper.training_batches import (
    FRAME_SAMPLES,
    POSITION_SAMPLES,
    SAMPLE_RATE,
    BatchMaker,
)
from mlx_speech.whisper.training_config import WhisperTrainConfig
from mlx_speech.whisper.training_windows import Clip, Layout

# Of the tokens that the decoder holds, so many stay free for prompt and task.
_TEXT_SHARE = 0.5


def prepare_task(
    config: WhisperTrainConfig,
    data: Path,
    base: Path | None,
    on_note: Callable[[str], None] = lambda note: None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> WhisperTask:
    """Read the data and build the model.

    Args:
        config: the settings of the run.
        data: folder of recordings, see ``mlx_speech.corpus.read_corpus``.
        base: the model to start from; None: random weights and a vocabulary of the
            words in the data.
        on_note: told what was left out.
        on_progress: told (done, total) while recordings are looked at.

    Raises:
        SpeechError: the data or the base cannot be used.
    """
    utterances = read_corpus(data)
    if config.validation:
        training, validation = utterances, read_corpus(config.validation)
    else:
        training, validation = split_validation(
            utterances, config.validation_share, config.seed
        )
    mx.random.seed(config.seed)
    if base is None:
        whisper, tokenizer = _fresh(config, [each.text for each in training])
    else:
        whisper = load_whisper(base, mx.float32)
        if quantized_layers(whisper):
            raise SpeechError(
                f"the model in `{base}` is quantised, which cannot be trained",
                "start from the model that was not quantised",
            )
        tokenizer = tokenizer_of(whisper)
        _require_language(config, tokenizer)
    sizes = whisper.config
    window = sizes.n_frames * FRAME_SAMPLES
    if config.window_seconds:
        wanted = round(config.window_seconds * SAMPLE_RATE)
        if wanted > window:
            raise SpeechError(
                f"`window_seconds` is {config.window_seconds:g}, and the model hears "
                f"{window / SAMPLE_RATE:g} s",
                "leave it out, or give less",
            )
        window = wanted // POSITION_SAMPLES * POSITION_SAMPLES
    layout = Layout(
        window=window,
        sample_rate=SAMPLE_RATE,
        most_tokens=int(sizes.n_text_ctx * _TEXT_SHARE),
        pack=config.pack,
        longest_pause=config.longest_pause,
        cut_share=config.cut_share,
        silence_share=config.silence_share,
        full_share=0.0 if config.crop else 0.5,
        long_pause_share=config.long_pause_share,
        late_share=config.late_share,
        longest_loss=config.longest_loss,
    )
    total = len(training) + len(validation)
    labels = CtcLabels(config.ctc_labels, [each.text for each in training])

    def usable(
        part: Sequence[Utterance], name: str, before: int
    ) -> tuple[list[Utterance], list[Clip]]:
        spelt = labels if config.ctc_weight and part is training else None
        told = on_progress
        return _usable(
            part,
            tokenizer,
            spelt,
            layout,
            name,
            on_note,
            lambda done: told(before + done, total),
        )

    training, clips = usable(training, "training", 0)
    validation, _ = usable(validation, "validation", total - len(validation))
    maker = BatchMaker(
        training,
        clips,
        tokenizer,
        labels,
        config,
        window,
        sizes.n_mels,
        sizes.n_text_ctx,
    )
    return WhisperTask(
        config, whisper, maker, layout, validation[: config.validation_limit]
    )


def _require_language(config: WhisperTrainConfig, tokenizer: Tokenizer) -> None:
    """Refuse to teach a model a language or a task that it has no token for."""
    only = tokenizer.only_language
    if only is None:
        tokenizer.language_token(config.language)
        return
    if config.language != only:
        asked = f"`language` is {LANGUAGES[config.language].title()}"
    elif config.task != TASKS[0]:
        asked = f"`task` is {config.task}"
    else:
        return
    raise SpeechError(
        f"the model `{config.base}` writes {LANGUAGES[only].title()} only, and {asked}",
        "start from a model of many languages, such as `turbo` or `small`",
    )


def _fresh(
    config: WhisperTrainConfig, texts: Sequence[str]
) -> tuple[Whisper, Tokenizer]:
    """Random weights of the settings' shapes, and the words of ``texts``."""
    vocabulary = words_vocabulary(
        texts, config.vocabulary_size, config.window_positions + 1, (config.language,)
    )
    shapes = WhisperConfig(
        n_mels=config.n_mels,
        n_audio_ctx=config.window_positions,
        n_audio_state=config.channels,
        n_audio_head=config.heads,
        n_audio_layer=config.encoder_layers,
        n_vocab=vocabulary.size,
        n_text_ctx=config.text_positions,
        n_text_state=config.channels,
        n_text_head=config.heads,
        n_text_layer=config.decoder_layers,
    )
    return Whisper(shapes), Tokenizer(vocabulary)


def _usable(
    utterances: Sequence[Utterance],
    tokenizer: Tokenizer,
    labels: CtcLabels | None,
    layout: Layout,
    name: str,
    on_note: Callable[[str], None],
    on_progress: Callable[[int], None],
) -> tuple[list[Utterance], list[Clip]]:
    """The recordings that fit into a window, and their sizes.

    With ``labels``, those that are not said too fast for CTC to spell them.

    Raises:
        SpeechError: a recording cannot be read, or none fits.
    """
    kept, clips, left_out, too_fast = [], [], [], []
    for done, utterance in enumerate(utterances, start=1):
        on_progress(done)
        # Two times beside the text.
        tokens = len(tokenizer.encode(spoken_form(utterance.text))) + 2
        samples = sample_count(utterance.audio_path)
        fits = 0 < samples <= layout.window and tokens <= layout.most_tokens
        positions = samples // POSITION_SAMPLES
        if fits and labels and labels.positions(utterance.text) >= positions:
            too_fast.append(utterance.identifier)
        elif fits and utterance.text:
            kept.append(utterance)
            clips.append(Clip(samples, tokens))
        else:
            left_out.append(utterance.identifier)
    seconds = layout.window / layout.sample_rate
    if not kept:
        raise SpeechError(
            f"no recording for {name} has a text and fits into a window of {seconds:g} "
            f"s and {layout.most_tokens} tokens",
            "write what is said, and cut long ones into shorter ones; `mlx-speech "
            "prepare` does that",
        )
    if left_out:
        on_note(
            f"{len(left_out)} recording(s) for {name} are left out, without text or "
            f"longer than {seconds:g} s or {layout.most_tokens} tokens: "
            f"{listed(left_out)}"
        )
    if too_fast:
        on_note(
            f"{len(too_fast)} recording(s) for {name} whose text is said too fast for "
            f"CTC are left out: {listed(too_fast)}"
        )
    return kept, clips


def sample_count(path: Path) -> int:
    """Samples of a recording at the model's rate, from its header where it counts.

    Raises:
        SpeechError: the file cannot be read.
    """
    with open_sound(path) as sound:
        frames = (
            len(read_frames(sound, -1, str(path)))
            if is_endless(sound)
            else sound.frames
        )
        return -(-frames * SAMPLE_RATE // sound.samplerate)
