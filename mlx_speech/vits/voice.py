"""A voice: a VITS generator with everything that is needed to make it speak."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import mlx.core as mx

from mlx_speech.audio import MelSpec
from mlx_speech.errors import SpeechError
from mlx_speech.text.ipa import english_to_ipa, is_ipa
from mlx_speech.text.normalize import unspeakable
from mlx_speech.text.vocabulary import Vocabulary
from mlx_speech.vits.config import VitsConfig
from mlx_speech.vits.discriminator import Discriminators
from mlx_speech.vits.model import SynthesizerTrn

# How a voice speaks unless told otherwise: the spread of the prior's noise and of the
# stochastic durations' in standard deviations, and a factor on all durations.
DEFAULT_INFERENCE = {"noise_scale": 0.667, "noise_scale_w": 0.8, "length_scale": 1.0}


@dataclass
class Voice:
    """What a voice folder holds.

    Attributes:
        model: the generator, in evaluation mode after loading.
        mel_spec: sampling rate and spectrogram that it was trained on.
        vocabulary: text to symbol ids.
        speakers: names in the order of the speaker table; empty for one voice.
        inference: any of the keys of ``DEFAULT_INFERENCE``; the others are added. The
            length scale must be positive.
        discriminators: those that it was trained with, if they are there.
        reads_ipa: the vocabulary takes IPA characters, not written words; something
            outside (espeak, say) must phonemize first.

    Raises:
        SpeechError: the parts do not fit together.
    """

    model: SynthesizerTrn
    mel_spec: MelSpec
    vocabulary: Vocabulary
    speakers: Sequence[str] = ()
    inference: Mapping[str, float] = field(default_factory=dict)
    discriminators: Discriminators | None = None
    reads_ipa: bool = False

    def __post_init__(self) -> None:
        self.speakers = tuple(self.speakers)
        unknown = sorted(set(self.inference) - set(DEFAULT_INFERENCE))
        if unknown:
            raise SpeechError(
                f"unknown inference settings {unknown}",
                f"known are {', '.join(DEFAULT_INFERENCE)}",
            )
        given = {key: float(value) for key, value in self.inference.items()}
        self.inference = DEFAULT_INFERENCE | given
        scale = self.inference["length_scale"]
        if not 0 < scale < math.inf:
            raise SpeechError(
                f"the voice's length_scale is {scale}, so its words have no length",
                "give its config.json a positive number",
            )
        self._check_fit()

    @property
    def config(self) -> VitsConfig:
        """The model's shapes."""
        return self.model.config

    @property
    def sample_rate(self) -> int:
        """Hertz of the audio that it makes."""
        return self.mel_spec.sample_rate

    def speaker_ids(self, name: str | None = None) -> mx.array | None:
        """Row of the model's speaker table, int [1]; None for a model of one voice.

        Args:
            name: one of ``speakers``, or a number from 0 where they have no names; None
                takes the first.

        Raises:
            SpeechError: there is no such speaker.
        """
        rows = self.config.n_speakers
        if not rows:
            if name is None:
                return None
            raise SpeechError(
                f"this voice has one speaker, so `{name}` cannot be chosen",
                "leave out the speaker's name",
            )
        names = self.speakers or tuple(map(str, range(rows)))
        if name is not None and name not in names:
            raise SpeechError(
                f"unknown speaker `{name}`",
                f"choose one of: {', '.join(self.speakers)}"
                if self.speakers
                else f"they have no names: choose a number from 0 to {rows - 1}",
            )
        return mx.array([0 if name is None else names.index(name)])

    def encode(self, text: str) -> list[int]:
        """Symbol ids of ``text``; English becomes IPA first where IPA is read.

        Text that holds a letter of the IPA is taken as transcribed already.

        Raises:
            SpeechError: symbols that the voice lacks, or nothing to say.
        """
        if not self._reads_english(text):
            return self.vocabulary.encode(text)
        foreign = unspeakable(text)
        if foreign:
            raise SpeechError(
                f"English has no reading for {' '.join(map(repr, foreign))} in "
                f"{text!r}",
                "spell these out in letters",
            )
        return self.vocabulary.encode(english_to_ipa(text))

    def unknown_symbols(self, text: str) -> list[str]:
        """Characters of ``text`` that :meth:`encode` refuses, each once, in order."""
        if self._reads_english(text):
            return unspeakable(text)
        return self.vocabulary.unknown_symbols(text)

    def _reads_english(self, text: str) -> bool:
        return self.reads_ipa and not is_ipa(text)

    def _check_fit(self) -> None:
        config = self.config
        if self.vocabulary.size > config.n_vocab:
            raise SpeechError(
                f"the vocabulary has {self.vocabulary.size} symbols and the model's "
                f"embedding {config.n_vocab} rows",
                "use the vocabulary that the model was trained with",
            )
        for what, of_mel, of_model in (
            ("bins", self.mel_spec.n_bins, config.spec_channels),
            ("samples a frame", self.mel_spec.hop_length, config.hop_length),
        ):
            if of_mel != of_model:
                raise SpeechError(
                    f"the spectrogram has {of_mel} {what} and the model {of_model}",
                    "use the spectrogram that the model was trained with",
                )
        if self.speakers and len(self.speakers) != config.n_speakers:
            raise SpeechError(
                f"{len(self.speakers)} speaker names for a model of "
                f"{config.n_speakers} speakers"
            )


def build_model(config: VitsConfig, source: Path) -> SynthesizerTrn:
    """An untrained model, in evaluation mode.

    Raises:
        SpeechError: the configuration in ``source`` describes no model.
    """
    with explaining_settings(source):
        model = SynthesizerTrn(config)
    model.eval()
    return model


@contextmanager
def explaining_settings(source: Path) -> Iterator[None]:
    """Turn what values of a wrong kind raise into one sentence that names the file."""
    try:
        yield
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:
        raise SpeechError(
            f"`{source}` has settings that describe no VITS model: {error}",
            "use the configuration that the checkpoint was trained with",
        ) from error
