"""Sizes of a Whisper model, read from the configurations of both families of files.

Field names are those of OpenAI's release. Hugging Face's names are translated, and may
also give widths of the feed-forward networks other than four times the channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from mlx_speech.errors import SpeechError
from mlx_speech.whisper.alignment_heads import default_heads, fitting_heads

# Our field -> Hugging Face's setting.
HF_NAMES = {
    "n_mels": "num_mel_bins",
    "n_audio_ctx": "max_source_positions",
    "n_audio_state": "d_model",
    "n_audio_head": "encoder_attention_heads",
    "n_audio_layer": "encoder_layers",
    "n_vocab": "vocab_size",
    "n_text_ctx": "max_target_positions",
    "n_text_state": "d_model",
    "n_text_head": "decoder_attention_heads",
    "n_text_layer": "decoder_layers",
    "n_audio_mlp": "encoder_ffn_dim",
    "n_text_mlp": "decoder_ffn_dim",
}
# What our modules have built in; a file that says otherwise is refused.
HF_FIXED = {"activation_function": "gelu", "tie_word_embeddings": True}
MLP_FACTOR = 4
MULTILINGUAL_VOCABULARY = 51865
# English, multilingual, and multilingual with Cantonese (large-v3).
OPENAI_VOCABULARIES = (51864, 51865, 51866)


@dataclass(frozen=True)
class WhisperConfig:
    """Everything that fixes the shapes of a Whisper model.

    Attributes:
        n_mels: bands of the log-mel spectrogram.
        n_audio_ctx: positions of the encoder; one window has twice as many frames of
            10 ms.
        n_audio_state, n_text_state: channels, the same in encoder and decoder.
        n_audio_head, n_text_head: heads of attention.
        n_audio_layer, n_text_layer: layers.
        n_vocab: rows of the table of tokens, special ones included.
        n_text_ctx: most tokens, prompt included.
        n_audio_mlp, n_text_mlp: inner channels of the feed-forward networks; 0: four
            times the channels.
        alignment_heads: (layer, head) of the decoder's cross-attention that follow the
            time; empty: all of the upper half of the layers.

    Raises:
        SpeechError: a size that makes no sense, or a head that does not exist.
    """

    n_mels: int
    n_audio_ctx: int
    n_audio_state: int
    n_audio_head: int
    n_audio_layer: int
    n_vocab: int
    n_text_ctx: int
    n_text_state: int
    n_text_head: int
    n_text_layer: int
    n_audio_mlp: int = 0
    n_text_mlp: int = 0
    alignment_heads: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        for name in HF_NAMES:
            value = getattr(self, name)
            least = 0 if name.endswith("_mlp") else 1
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise _invalid(f"{name} is {value!r}, not a positive whole number")
        if self.n_audio_state != self.n_text_state:
            raise _invalid(
                f"the encoder has {self.n_audio_state} channels and the decoder "
                f"{self.n_text_state}"
            )
        for name in ("n_audio_head", "n_text_head"):
            if self.n_audio_state % getattr(self, name):
                raise _invalid(
                    f"{self.n_audio_state} channels cannot be split into {name} = "
                    f"{getattr(self, name)} heads"
                )
        # A frozen dataclass is completed through its base class.
        for name in ("n_audio_mlp", "n_text_mlp"):
            width = getattr(self, name) or MLP_FACTOR * self.n_audio_state
            object.__setattr__(self, name, width)
        size = (self.n_text_layer, self.n_text_head)
        heads = _pairs(self.alignment_heads)
        if heads and not fitting_heads(heads, *size):
            raise _invalid(
                f"alignment_heads {list(heads)} are not all within {size[0]} layers of "
                f"{size[1]} heads"
            )
        object.__setattr__(self, "alignment_heads", heads or default_heads(*size))

    @property
    def n_frames(self) -> int:
        """Frames of the log-mel spectrogram of one full window."""
        return 2 * self.n_audio_ctx

    @property
    def is_multilingual(self) -> bool:
        """Whether the vocabulary can be OpenAI's multilingual one (not .en)."""
        return self.n_vocab >= MULTILINGUAL_VOCABULARY

    @property
    def has_openai_vocabulary(self) -> bool:
        """Whether the tokens are those of one of OpenAI's three vocabularies."""
        return self.n_vocab in OPENAI_VOCABULARIES

    def with_alignment_heads(self, heads: Sequence[Sequence[int]]) -> WhisperConfig:
        """The same sizes with other heads; heads that do not exist give the default.

        Distilled models often carry the heads of the model that they come from.
        """
        pairs = _pairs(heads)
        if not fitting_heads(pairs, self.n_text_layer, self.n_text_head):
            pairs = ()
        return replace(self, alignment_heads=pairs)

    def to_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        values = asdict(self)
        values["alignment_heads"] = [list(pair) for pair in self.alignment_heads]
        return values

    def to_openai(self) -> dict[str, int]:
        """The sizes under OpenAI's names; unusual widths beside them."""
        usual = MLP_FACTOR * self.n_audio_state
        return {
            name: getattr(self, name)
            for name in HF_NAMES
            if not (name.endswith("_mlp") and getattr(self, name) == usual)
        }

    def to_hf(self) -> dict[str, Any]:
        """The sizes under Hugging Face's names."""
        return {theirs: getattr(self, ours) for ours, theirs in HF_NAMES.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> WhisperConfig:
        """Read OpenAI's ``dims``, or the config.json of MLX's or Hugging Face's files.

        Settings that do not change the network are ignored.

        Raises:
            SpeechError: a size is missing or makes no sense, or a setting asks for a
                network that this package does not have.
        """
        # A size may be missing: the file is of the family that more names belong to.
        theirs = sum(name in values for name in set(HF_NAMES.values()))
        hugging_face = theirs > sum(name in values for name in HF_NAMES)
        wrong = [
            f"{key} is {values[key]!r} instead of {needed!r}"
            for key, needed in HF_FIXED.items()
            if hugging_face and values.get(key, needed) != needed
        ]
        optional = () if hugging_face else ("n_audio_mlp", "n_text_mlp")
        names = {ours: HF_NAMES[ours] if hugging_face else ours for ours in HF_NAMES}
        wrong += [
            f"{name} is missing"
            for ours, name in names.items()
            if name not in values and ours not in optional
        ]
        if wrong:
            raise _invalid("; ".join(dict.fromkeys(wrong)))
        sizes = {ours: values[name] for ours, name in names.items() if name in values}
        heads = values.get("alignment_heads") or ()
        return cls(**sizes).with_alignment_heads(heads)


def _pairs(heads: Sequence[Sequence[int]]) -> tuple[tuple[int, int], ...]:
    try:
        return tuple((int(layer), int(head)) for layer, head in heads)
    except (TypeError, ValueError) as error:
        raise _invalid(
            f"alignment_heads {heads!r} are not pairs of layer and head"
        ) from error


def _invalid(why: str) -> SpeechError:
    return SpeechError(
        f"this is no configuration of Whisper that can be used: {why}",
        "use the config.json that came with the weights",
    )
