"""From settings, a folder of recordings and perhaps a base voice to a training task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import mlx.core as mx

from mlx_speech.audio import MelSpec
from mlx_speech.corpus import FeatureCache, Utterance, read_corpus, split_validation
from mlx_speech.errors import SpeechError
from mlx_speech.text.characters import CharacterVocabulary
from mlx_speech.text.vocabulary import Vocabulary, vocabulary_from_dict
from mlx_speech.vits.checkpoints import load_voice
from mlx_speech.vits.config import DiscriminatorConfig, VitsConfig
from mlx_speech.vits.discriminator import Discriminators
from mlx_speech.vits.examples import ExampleSet
from mlx_speech.vits.model import SynthesizerTrn
from mlx_speech.vits.train import VitsTask
from mlx_speech.vits.training_config import VitsTrainConfig
from mlx_speech.vits.voice import Voice

ONE_SPEAKER = "voice"


def prepare_task(
    config: VitsTrainConfig,
    data: Path,
    base: Path | None,
    cache: Path,
    on_note: Callable[[str], None] = lambda note: None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> VitsTask:
    """Read the data, make the features and build the networks.

    Args:
        config: the settings of the run.
        data: folder of recordings, see ``mlx_speech.corpus.read_corpus``.
        base: folder of a voice to start from; it brings its own shapes, vocabulary and
            mel. None starts from random weights.
        cache: folder for features.
        on_note: told what was changed or left out.
        on_progress: told (done, total) while features are made.

    Raises:
        SpeechError: the data or the base cannot be used; the message says why.
    """
    utterances = read_corpus(data)
    names = sorted({each.speaker for each in utterances if each.speaker is not None})
    mx.random.seed(config.seed)
    if base is None:
        voice, discriminators = _fresh_voice(config, names, utterances), None
    else:
        voice = _adopt_base(load_voice(base), names)
        discriminators = voice.discriminators
    if config.uses_discriminators:
        if discriminators is None:
            discriminators = Discriminators(
                DiscriminatorConfig(
                    periods=config.discriminator_periods,
                    channels_scale=config.discriminator_scale,
                )
            )
    else:
        discriminators = None
    _refuse_unknown_symbols(utterances, voice.vocabulary)
    training, validation = split_validation(
        utterances, config.validation_share, config.seed
    )
    training += validation[config.validation_limit :]
    validation = validation[: config.validation_limit]
    total = len(training) + len(validation)

    def examples(part: Sequence[Utterance], before: int, shortest: int) -> ExampleSet:
        return ExampleSet(
            part,
            voice.vocabulary,
            voice.mel_spec,
            FeatureCache(cache),
            speakers=voice.speakers,
            shortest=shortest,
            on_note=on_note,
            on_progress=lambda done, _: on_progress(before + done, total),
        )

    task = VitsTask(
        config,
        voice,
        discriminators,
        examples(training, 0, config.segment_frames),
        examples(validation, len(training), 1),
    )
    if task.buckets.note:
        on_note(task.buckets.note)
    return task


def _fresh_voice(
    config: VitsTrainConfig, names: Sequence[str], utterances: Sequence[Utterance]
) -> Voice:
    """A voice with random weights, shaped by ``config``."""
    mel_spec = MelSpec.preset(config.mel)
    vocabulary = _fresh_vocabulary(config, [each.text for each in utterances])
    several = len(names) > 1
    shapes = {
        name: getattr(config, name)
        for name in VitsConfig.__dataclass_fields__
        if hasattr(config, name)
    }
    shapes |= {
        "n_vocab": vocabulary.size,
        "spec_channels": mel_spec.n_bins,
        "n_speakers": len(names) if several else 0,
        "gin_channels": config.gin_channels if several else 0,
        "istft_n_fft": mel_spec.n_fft,
        "istft_hop_length": mel_spec.hop_length,
    }
    model_config = VitsConfig(**shapes)
    if model_config.hop_length != mel_spec.hop_length:
        raise SpeechError(
            f"the decoder makes {model_config.hop_length} samples from a frame, but "
            f"the mel preset `{config.mel}` has a hop of {mel_spec.hop_length}",
            "choose upsample_rates whose product is the hop",
        )
    return Voice(
        model=SynthesizerTrn(model_config),
        mel_spec=mel_spec,
        vocabulary=vocabulary,
        speakers=tuple(names) if several else (),
    )


def _fresh_vocabulary(config: VitsTrainConfig, texts: Sequence[str]) -> Vocabulary:
    if config.vocabulary == CharacterVocabulary.kind:
        return CharacterVocabulary.from_texts(texts)
    return vocabulary_from_dict(
        {"kind": config.vocabulary, "add_blank": config.add_blank}
    )


def _adopt_base(base: Voice, names: Sequence[str]) -> Voice:
    """``base`` with a speaker table for the new data.

    Speakers that the base knows keep their row; new ones start at the mean of the
    base's rows, the middle of what it can sound like.
    """
    old = base.model.config
    if not old.n_speakers:
        if len(names) > 1:
            raise SpeechError(
                f"the data has {len(names)} speakers, the base voice has one",
                "train on one speaker, or start from a base with several",
            )
        return base
    names = list(names) or [ONE_SPEAKER]
    config = replace(old, n_speakers=len(names))
    model = SynthesizerTrn(config)
    table = base.model.emb_g.weight
    middle = mx.mean(table, axis=0)
    rows = [
        table[base.speakers.index(name)] if name in base.speakers else middle
        for name in names
    ]
    parameters = base.model.parameters()
    parameters["emb_g"] = {"weight": mx.stack(rows)}
    model.update(parameters)
    return replace(base, model=model, speakers=tuple(names))


def _refuse_unknown_symbols(
    utterances: Sequence[Utterance], vocabulary: Vocabulary
) -> None:
    unknown: dict[str, str] = {}
    for utterance in utterances:
        for symbol in vocabulary.unknown_symbols(utterance.text):
            unknown.setdefault(symbol, utterance.identifier)
    if unknown:
        symbol, first = next(iter(unknown.items()))
        raise SpeechError(
            f"the transcripts hold {len(unknown)} symbols that the vocabulary lacks: "
            f"{' '.join(list(unknown)[:20])} (`{symbol}` is in {first})",
            "correct the transcripts, or choose another vocabulary",
        )
