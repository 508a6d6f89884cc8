"""Sizes of Voxtral 2507, read from the three forms in which they are published.

Hugging Face's config.json is in use with ``rope_theta`` as a setting of its own
(transformers 4) and within ``rope_parameters`` (transformers 5); Mistral's params.json
names everything differently. The fields here are Hugging Face's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

from mlx_speech.errors import SpeechError

MODEL_TYPE = "voxtral"
# Whisper's older names, which transformers also accepts in the audio tower's part.
ALIASES = {
    "d_model": "hidden_size",
    "encoder_layers": "num_hidden_layers",
    "encoder_attention_heads": "num_attention_heads",
    "encoder_ffn_dim": "intermediate_size",
}
# Mistral's name -> Hugging Face's, in the decoder's part and in the encoder's.
_MISTRAL_NAMES = {
    "dim": "hidden_size",
    "hidden_dim": "intermediate_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "norm_eps": "rms_norm_eps",
}
# Defaults that transformers leaves out of a file or that Mistral takes for granted.
_AUDIO_DEFAULTS = {"num_mel_bins": 128, "max_source_positions": 1500}
TEXT_DEFAULTS = {"rms_norm_eps": 1e-5, "max_position_embeddings": 131072}
# What the modules have built in; a file that says otherwise is refused.
_FIXED_AUDIO = {"activation_function": "gelu", "scale_embedding": False}
_FIXED_TEXT = {
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "use_biases": False,
    "tie_word_embeddings": False,
    "tied_embeddings": False,
}


@dataclass(frozen=True)
class AudioConfig:
    """Sizes of the audio tower, a Whisper encoder.

    Attributes:
        hidden_size: channels.
        intermediate_size: inner channels of the feed-forward networks.
        num_hidden_layers, num_attention_heads: layers, and heads of each.
        num_mel_bins: bands of the log-mel spectrogram.
        max_source_positions: positions of one chunk of audio, two frames each.
    """

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_mel_bins: int = 128
    max_source_positions: int = 1500

    def __post_init__(self) -> None:
        check_counts(self)
        if self.intermediate_size % self.hidden_size:
            raise invalid(
                f"the projector cannot join frames of {self.hidden_size} channels to "
                f"{self.intermediate_size}"
            )
        if self.max_source_positions % self.group:
            raise invalid(
                f"{self.max_source_positions} positions are no multiple of the "
                f"{self.group} that one token of audio stands for"
            )

    @property
    def group(self) -> int:
        """Positions of the encoder that make one token of audio."""
        return self.intermediate_size // self.hidden_size

    @property
    def tokens_per_chunk(self) -> int:
        """Tokens of audio in one chunk."""
        return self.max_source_positions // self.group


@dataclass(frozen=True)
class TextConfig:
    """Sizes of the decoder, a Llama.

    Attributes:
        vocab_size: rows of the table of tokens.
        hidden_size, intermediate_size: channels, outside and inside the feed-forward
            networks.
        num_hidden_layers: layers.
        num_attention_heads, num_key_value_heads: heads of queries, and of keys and
            values that they share.
        head_dim: channels of a head.
        rms_norm_eps: added to the mean square.
        rope_theta: longest wavelength of the positions over 2 pi, in tokens.
        max_position_embeddings: tokens that a prompt and its answer may have.
        sliding_window: tokens that a token sees, itself included; None: all.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    rope_theta: float
    rms_norm_eps: float = 1e-5
    max_position_embeddings: int = 131072
    sliding_window: int | None = None

    def __post_init__(self) -> None:
        check_counts(self)
        check_heads_share(self.num_attention_heads, self.num_key_value_heads)


@dataclass(frozen=True)
class VoxtralConfig:
    """Everything that fixes the shapes of a Voxtral 2507.

    Attributes:
        audio: the audio tower.
        text: the decoder.
        audio_token_id: the token in whose place features of audio come.
    """

    audio: AudioConfig
    text: TextConfig
    audio_token_id: int = 24

    def to_hf(self) -> dict[str, Any]:
        """config.json for transformers 4.54 and 5, in both spellings of rope_theta."""
        text = asdict(self.text)
        theta = text["rope_theta"]
        return {
            "model_type": MODEL_TYPE,
            "architectures": ["VoxtralForConditionalGeneration"],
            "audio_token_id": self.audio_token_id,
            "projector_hidden_act": "gelu",
            "audio_config": {
                "model_type": "voxtral_encoder",
                "activation_function": "gelu",
                **asdict(self.audio),
            },
            "text_config": {
                "model_type": "llama",
                "hidden_act": "silu",
                "tie_word_embeddings": False,
                "rope_parameters": {"rope_theta": theta, "rope_type": "default"},
                **text,
            },
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> VoxtralConfig:
        """Read Hugging Face's config.json or Mistral's params.json.

        Settings that do not change the network are ignored.

        Raises:
            SpeechError: a size is missing or makes no sense, or a setting asks for a
                network that this package does not have.
        """
        if "text_config" in values:
            audio = section(values, "audio_config")
            text = section(values, "text_config")
            audio = {ALIASES.get(key, key): value for key, value in audio.items()}
            text = text | {"rope_theta": rope_theta(text)}
            if values.get("projector_hidden_act", "gelu") != "gelu":
                raise invalid(
                    f"projector_hidden_act is {values['projector_hidden_act']!r}"
                )
        elif "multimodal" in values:
            audio, text = from_mistral(values)
        else:
            raise invalid("it has neither text_config nor multimodal")
        refuse_unusual(audio, _FIXED_AUDIO)
        refuse_unusual(text, _FIXED_TEXT)
        return cls(
            build(AudioConfig, _AUDIO_DEFAULTS | audio, "the audio tower"),
            build(TextConfig, TEXT_DEFAULTS | text, "the decoder"),
            values.get("audio_token_id", cls.audio_token_id),
        )


def from_mistral(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of encoder and decoder under Hugging Face's names, of params.json.

    The encoder's join of frames, given apart, becomes ``downsample_factor``.

    Raises:
        SpeechError: a part is missing.
    """
    whisper = section(section(values, "multimodal"), "whisper_model_args")
    encoder = section(whisper, "encoder_args")
    audio = _renamed(encoder) | optional_section(encoder, "audio_encoding_args")
    audio |= optional_section(whisper, "downsample_args")
    # Layouts of the same model write the absent table of positions as null.
    audio = {key: value for key, value in audio.items() if value is not None}
    text = _renamed(values)
    if "max_seq_len" in text:
        text["max_position_embeddings"] = text["max_seq_len"]
    return audio, text


def rope_theta(values: Mapping[str, Any]) -> float:
    """The base of the rotary positions, in either of Hugging Face's spellings.

    Raises:
        SpeechError: absent, in both spellings differently, or positions are scaled.
    """
    nested = optional_section(values, "rope_parameters")
    scaling = optional_section(values, "rope_scaling")
    for part in (nested, scaling):
        kind = part.get("rope_type", part.get("type", "default"))
        if kind != "default":
            raise invalid(f"its positions are scaled: {kind}")
    given = [part.get("rope_theta") for part in (nested, values)]
    found = [theta for theta in given if theta is not None]
    if not found or found[0] != found[-1]:
        raise invalid(f"rope_theta is {' and '.join(map(str, found)) or 'missing'}")
    return found[0]


def section(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A part of a configuration (SpeechError: it is missing, or is no object)."""
    part = values.get(name)
    if part is None:
        raise invalid(f"{name} is missing")
    if not isinstance(part, Mapping):
        raise invalid(f"{name} is {part!r}, not an object")
    return dict(part)


def optional_section(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """As :func:`section`; empty where there is none, or null stands for it."""
    return {} if values.get(name) is None else section(values, name)


def build(kind: type[Any], values: Mapping[str, Any], what: str) -> Any:
    """A dataclass of those values that it has fields for.

    Raises:
        SpeechError: fields without a default that are missing, named.
    """
    values, known = dict(values), fields(kind)
    names = [each.name for each in known]
    if "head_dim" in names and values.get("head_dim") is None:
        size, heads = values.get("hidden_size"), values.get("num_attention_heads")
        if size and heads:
            values["head_dim"] = size // heads
    missing = [
        each.name
        for each in known
        if each.name not in values and each.default is MISSING
    ]
    if missing:
        raise invalid(f"{what} has no {', '.join(missing)}")
    return kind(**{name: values[name] for name in names if name in values})


def refuse_unusual(values: Mapping[str, Any], fixed: Mapping[str, Any]) -> None:
    """Raise SpeechError where a setting differs from what the modules have built in."""
    wrong = [
        f"{key} is {values[key]!r} instead of {needed!r}"
        for key, needed in fixed.items()
        if values.get(key, needed) != needed
    ]
    if wrong:
        raise invalid("; ".join(wrong))


def check_counts(config: Any) -> None:
    """Raise SpeechError unless every number of a configuration is positive.

    Only a field that may be None by its annotation, such as ``int | None``, may be.
    """
    for each in fields(config):
        value, annotation = getattr(config, each.name), str(each.type)
        if value is None and "None" in annotation:
            continue
        check_positive(each.name, value, whole="float" not in annotation)


def check_positive(name: str, value: Any, whole: bool = True) -> None:
    """Raise SpeechError unless a setting is a positive number, whole where asked."""
    kinds = int if whole else (int, float)
    known = isinstance(value, kinds) and not isinstance(value, bool)
    # Written so that NaN is refused too.
    if not known or not 0 < value < 2**63:
        raise invalid(f"{name} is {value!r}, not a positive number")


def check_heads_share(queries: int, keys: int) -> None:
    """Raise SpeechError unless heads of queries share those of keys evenly."""
    if queries % keys:
        raise invalid(f"{queries} heads cannot share {keys} heads of keys evenly")


def invalid(why: str) -> SpeechError:
    """The error of a configuration that cannot be used."""
    return SpeechError(
        f"this is no configuration of Voxtral that can be used: {why}",
        "use the files that came with the weights",
    )


def _renamed(values: Mapping[str, Any]) -> dict[str, Any]:
    return {_MISTRAL_NAMES.get(key, key): value for key, value in values.items()}
