"""From settings, a folder of recordings and perhaps a base voice to a training task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import mlx.core as mx

from mlx_speech.audio import MEL_PRESETS, MelSpec
from mlx_speech.corpus import (
    FeatureCache,
    Limits,
    Utterance,
    check_corpus,
    listed,
    read_corpus,
    split_validation,
)
from mlx_speech.errors import SpeechError
from mlx_speech.text.characters import CharacterVocabulary
from mlx_speech.text.vocabulary import Vocabulary, vocabulary_from_dict
from mlx_speech.vits.checkpoints import load_voice
from mlx_speech.vits.config import DiscriminatorConfig, VitsConfig
from mlx_speech.vits.discriminator import Discriminators
from mlx_speech.vits.examples import ExampleSet, feature_settings
from mlx_speech.vits.front_end import load_front_end
from mlx_speech.vits.model import SynthesizerTrn
from mlx_speech.vits.train import VitsTask
from mlx_speech.vits.training_config import VitsTrainConfig
from mlx_speech.vits.voice import Voice

ONE_SPEAKER = "voice"
# Settings of a training that are shapes of the model.
BROUGHT_BY_BASE = tuple(
    name
    for name in VitsTrainConfig.__dataclass_fields__
    if name in VitsConfig.__dataclass_fields__
)


def prepare_task(
    config: VitsTrainConfig,
    data: Path,
    base: Path | None,
    cache: Path,
    on_note: Callable[[str], None] = lambda note: None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> VitsTask:
    """Read and check the data, build the networks and make the features.

    Args:
        config: the settings of the run.
        data: folder of recordings, see ``mlx_speech.corpus.read_corpus``.
        base: folder of a voice to start from; it brings its own shapes, vocabulary and
            mel. None starts from random weights.
        cache: folder for features; written to when everything else has succeeded.
        on_note: told what was changed or left out.
        on_progress: told (done, total) while recordings are checked and read.

    Raises:
        SpeechError: the data or the base cannot be used; the message says why, and of
            the data everything that is wrong at once.
    """
    utterances = read_corpus(data)
    mx.random.seed(config.seed)
    voice, discriminators = _networks(config, utterances, base, on_note)
    # Of this long bar, the first half is the check and the second one the features.
    total = 2 * len(utterances)
    features = FeatureCache(cache)
    front_end = load_front_end(config.fft, voice.mel_spec.n_fft)
    settings = feature_settings(voice.mel_spec, front_end)

    def is_heard(utterance: Utterance) -> bool:
        return features.entry_path(utterance, settings).exists()

    _check_data(
        data, utterances, voice, is_heard, on_note, lambda n, _: on_progress(n, total)
    )
    training, validation = split_validation(
        utterances, config.validation_share, config.seed
    )
    training += validation[config.validation_limit :]
    validation = validation[: config.validation_limit]

    def examples(part: Sequence[Utterance], before: int, shortest: int) -> ExampleSet:
        return ExampleSet(
            part,
            voice,
            voice.mel_spec,
            features,
            speakers=voice.speakers,
            shortest=shortest,
            on_note=on_note,
            on_progress=lambda done, _: on_progress(before + done, total),
            front_end=front_end,
        )

    checked = len(utterances)
    task = VitsTask(
        config,
        voice,
        discriminators,
        examples(training, checked, config.segment_frames),
        examples(validation, checked + len(training), 1),
    )
    if task.buckets.note:
        on_note(task.buckets.note)
    return task


def fresh_discriminators(config: VitsTrainConfig) -> Discriminators:
    """Discriminators with random weights."""
    return Discriminators(
        DiscriminatorConfig(
            periods=config.discriminator_periods,
            channels_scale=config.discriminator_scale,
        )
    )


def _networks(
    config: VitsTrainConfig,
    utterances: Sequence[Utterance],
    base: Path | None,
    on_note: Callable[[str], None],
) -> tuple[Voice, Discriminators | None]:
    """What is trained: from the base where there is one, else with random weights."""
    names = _speaker_names(utterances)
    if base is None:
        voice = _fresh_voice(config, names, utterances)
    else:
        loaded = load_voice(base)
        _require_fit(loaded.mel_spec, f"the spectrogram of the base voice `{base}`")
        for note in _base_notes(config, loaded):
            on_note(note)
        voice = _adopt_base(loaded, names)
    discriminators = voice.discriminators if config.uses_discriminators else None
    if config.uses_discriminators and discriminators is None:
        discriminators = fresh_discriminators(config)
    return voice, discriminators


def _check_data(
    data: Path,
    utterances: Sequence[Utterance],
    voice: Voice,
    is_heard: Callable[[Utterance], bool],
    on_note: Callable[[str], None],
    on_progress: Callable[[int, int], None],
) -> None:
    """Refuse data that cannot be trained on, with all of its faults.

    Only recordings without features are opened: those with features were good.
    """
    limits = Limits(sample_rate=voice.sample_rate)
    report = check_corpus(utterances, voice, limits, on_progress, is_heard)
    if report.problems:
        raise SpeechError(
            f"`{data}` cannot be trained on: {'; '.join(report.problems)}",
            "correct or remove these; `mlx-speech check-data` reports on all of it",
        )
    for note in report.notes:
        on_note(note)


def _speaker_names(utterances: Sequence[Utterance]) -> list[str]:
    """The speakers of the data, sorted; none where no utterance names one.

    Raises:
        SpeechError: some utterances name a speaker and others do not.
    """
    nameless = [each.identifier for each in utterances if each.speaker is None]
    if nameless and len(nameless) < len(utterances):
        raise SpeechError(
            f"{len(nameless)} recording(s) name no speaker, the others do: "
            f"{listed(nameless)}",
            "name the speaker of every recording, or of none",
        )
    return sorted({each.speaker for each in utterances if each.speaker is not None})


def _fresh_voice(
    config: VitsTrainConfig, names: Sequence[str], utterances: Sequence[Utterance]
) -> Voice:
    """A voice with random weights, shaped by ``config``."""
    mel_spec = MelSpec.preset(config.mel)
    vocabulary = _fresh_vocabulary(config, [each.text for each in utterances])
    several = len(names) > 1
    shapes = model_config(
        config, mel_spec, vocabulary.size, n_speakers=len(names) if several else 0
    )
    return Voice(
        model=SynthesizerTrn(shapes),
        mel_spec=mel_spec,
        vocabulary=vocabulary,
        speakers=tuple(names) if several else (),
    )


def model_config(
    config: VitsTrainConfig, mel_spec: MelSpec, n_vocab: int, n_speakers: int = 0
) -> VitsConfig:
    """The shapes of a model that is trained from scratch.

    Raises:
        SpeechError: the spectrogram is of another family, or the decoder does not
            make one hop of samples from a frame.
    """
    _require_fit(mel_spec, f"the mel preset `{config.mel}`")
    shapes = {name: getattr(config, name) for name in BROUGHT_BY_BASE}
    shapes |= {
        "n_vocab": n_vocab,
        "spec_channels": mel_spec.n_bins,
        "n_speakers": n_speakers,
        "gin_channels": config.gin_channels if n_speakers else 0,
        "istft_n_fft": mel_spec.n_fft,
        "istft_hop_length": mel_spec.hop_length,
    }
    model = VitsConfig(**shapes)
    if model.hop_length != mel_spec.hop_length:
        raise SpeechError(
            f"the decoder makes {model.hop_length} samples from a frame, but "
            f"the mel preset `{config.mel}` has a hop of {mel_spec.hop_length}",
            "choose upsample_rates whose product is the hop",
        )
    return model


def _fits(spec: MelSpec) -> bool:
    """Whether training cuts and compares segments of such spectrograms correctly.

    One frame for each hop of samples, magnitudes, and a plain natural logarithm.
    """
    frames = spec.padding == "same" and not spec.drop_last_frame
    plain = spec.log == "ln" and spec.log_range is None
    return frames and plain and spec.power == 1


def _require_fit(spec: MelSpec, what: str) -> None:
    if not _fits(spec):
        fitting = [name for name, preset in MEL_PRESETS.items() if _fits(preset)]
        raise SpeechError(
            f"{what} does not fit VITS, which needs padding `same`, power 1 and log "
            "`ln`",
            f"presets that fit: {', '.join(fitting)}",
        )


def _fresh_vocabulary(config: VitsTrainConfig, texts: Sequence[str]) -> Vocabulary:
    if config.vocabulary == CharacterVocabulary.kind:
        return CharacterVocabulary.from_texts(texts)
    return vocabulary_from_dict(
        {"kind": config.vocabulary, "add_blank": config.add_blank}
    )


def _base_notes(config: VitsTrainConfig, base: Voice) -> list[str]:
    """What a user of this base should know, one line each."""
    notes = []
    default = VitsTrainConfig()
    theirs = {name: getattr(base.config, name, None) for name in BROUGHT_BY_BASE}
    theirs |= {
        "vocabulary": base.vocabulary.kind,
        "mel": base.mel_spec,
        "add_blank": getattr(base.vocabulary, "add_blank", config.add_blank),
    }
    ignored = []
    for name, value in theirs.items():
        wanted = getattr(config, name)
        if wanted == getattr(default, name):
            continue
        if (MelSpec.preset(wanted) if name == "mel" else wanted) != value:
            ignored.append(name)
    if ignored:
        notes.append(
            f"the base voice brings its own {', '.join(ignored)}; the settings of that "
            "name have no effect"
        )
    if base.reads_ipa:
        notes.append(
            "the base voice reads IPA; transcripts in plain letters are taken as "
            "English and transcribed"
        )
    return notes


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
