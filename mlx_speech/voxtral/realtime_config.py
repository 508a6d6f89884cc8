"""Sizes of Voxtral Realtime, read from the forms in which it is published.

Hugging Face's config.json, Mistral's params.json, and the config.json of two MLX
conversions, which keep Mistral's names. The fields here are Hugging Face's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mlx_speech.voxtral.config import (
    ALIASES,
    TEXT_DEFAULTS,
    TextConfig,
    build,
    check_counts,
    check_positive,
    from_mistral,
    invalid,
    refuse_unusual,
    rope_theta,
    section,
)

MODEL_TYPE = "voxtral_realtime"
TOKEN_MILLISECONDS = 80
# The second convolution makes one position of two frames of the mel spectrogram.
FRAMES_PER_POSITION = 2
_AUDIO_DEFAULTS = {"num_mel_bins": 128, "rms_norm_eps": 1e-5, "sliding_window": 750}
# What the modules have built in; a file that says otherwise is refused.
_FIXED_AUDIO = {
    "activation_function": "gelu",
    "hidden_act": "silu",
    "causal": True,
    "pos_embed": "rope",
    "ffn_type": "swiglu",
    "norm_type": "rms_norm",
    "hop_length": 160,
    "global_log_mel_max": 1.5,
}
_FIXED_TEXT = {
    "hidden_act": "silu",
    "use_biases": False,
    "tie_word_embeddings": True,
    "tied_embeddings": True,
    "ada_rms_norm_t_cond": True,
}
DELAY_CHANNELS = 32


@dataclass(frozen=True)
class RealtimeAudioConfig:
    """Sizes of the causal audio tower.

    Attributes:
        hidden_size: channels.
        intermediate_size: inner channels of the feed-forward networks.
        num_hidden_layers, num_attention_heads: layers, and heads of each.
        head_dim: channels of a head; together they may be more than ``hidden_size``.
        rope_theta: base of the positions' wavelengths.
        num_mel_bins: bands of the log-mel spectrogram.
        rms_norm_eps: added to the mean square.
        sliding_window: positions of 20 ms that a position sees, itself included.
    """

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    head_dim: int
    rope_theta: float
    num_mel_bins: int = 128
    rms_norm_eps: float = 1e-5
    sliding_window: int = 750

    def __post_init__(self) -> None:
        check_counts(self)


@dataclass(frozen=True)
class RealtimeConfig:
    """Everything that fixes the shapes of a Voxtral Realtime.

    Attributes:
        audio: the audio tower.
        text: the decoder; its table of tokens makes the logits too.
        downsample_factor: positions of the audio tower that make one token.
        delay_tokens: how many tokens of 80 ms the text is behind the audio by default.
        delay_channels: inside the networks that tell the layers the delay.
    """

    audio: RealtimeAudioConfig
    text: TextConfig
    downsample_factor: int = 4
    delay_tokens: int = 6
    delay_channels: int = DELAY_CHANNELS

    def __post_init__(self) -> None:
        for name in ("downsample_factor", "delay_tokens", "delay_channels"):
            check_positive(name, getattr(self, name))

    @property
    def frames_per_token(self) -> int:
        """Frames of 10 ms that one token stands for."""
        return FRAMES_PER_POSITION * self.downsample_factor

    def to_hf(self) -> dict[str, Any]:
        """config.json as transformers 5 reads it."""

        def part(values: dict[str, Any], model_type: str) -> dict[str, Any]:
            rope = {"rope_theta": values.pop("rope_theta"), "rope_type": "default"}
            return {"model_type": model_type, "rope_parameters": rope, **values}

        return {
            "model_type": MODEL_TYPE,
            "architectures": ["VoxtralRealtimeForConditionalGeneration"],
            "projector_hidden_act": "gelu",
            "audio_length_per_tok": self.frames_per_token,
            "default_num_delay_tokens": self.delay_tokens,
            "downsample_factor": self.downsample_factor,
            "tie_word_embeddings": True,
            "audio_config": part(asdict(self.audio), f"{MODEL_TYPE}_encoder"),
            "text_config": part(asdict(self.text), f"{MODEL_TYPE}_text"),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RealtimeConfig:
        """Read any of the forms; settings that do not change the network are ignored.

        Raises:
            SpeechError: a size is missing or makes no sense, or a setting asks for a
                network that this package does not have.
        """
        if "text_config" in values:
            audio, text = _from_hf(values)
            factor = values.get("downsample_factor", 4)
            delay = values.get("default_num_delay_tokens", 6)
        else:
            whole = _with_multimodal(values)
            audio, text = from_mistral(whole)
            factor = audio.get("downsample_factor", 4)
            delay = delay_in_tokens(values.get("transcription_delay_ms", 480))
        refuse_unusual(audio, _FIXED_AUDIO)
        refuse_unusual(text, _FIXED_TEXT)
        if text.get("sliding_window") is None:
            raise invalid("the decoder has no sliding_window")
        return cls(
            build(RealtimeAudioConfig, _AUDIO_DEFAULTS | audio, "the audio tower"),
            build(TextConfig, TEXT_DEFAULTS | text, "the decoder"),
            factor,
            delay,
            text.get("ada_rms_norm_t_cond_dim", DELAY_CHANNELS),
        )


def delay_in_tokens(milliseconds: Any) -> int:
    """The delay that Mistral's files give, ``transcription_delay_ms``, in tokens.

    Raises:
        SpeechError: it is no positive number.
    """
    check_positive("transcription_delay_ms", milliseconds, whole=False)
    return round(milliseconds / TOKEN_MILLISECONDS)


def is_realtime(values: Mapping[str, Any]) -> bool:
    """Whether a configuration is of Voxtral Realtime and not of Voxtral 2507."""
    if "text_config" in values:
        return values.get("model_type") == MODEL_TYPE
    return bool(_decoder(values).get("ada_rms_norm_t_cond"))


def _decoder(values: Mapping[str, Any]) -> Mapping[str, Any]:
    decoder = values.get("decoder")
    return decoder if isinstance(decoder, Mapping) else values


def _from_hf(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    audio, text = section(values, "audio_config"), section(values, "text_config")
    audio = {ALIASES.get(key, key): value for key, value in audio.items()}
    return (
        audio | {"rope_theta": rope_theta(audio)},
        text | {"rope_theta": rope_theta(text)},
    )


def _with_multimodal(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Mistral's form of a conversion that lays its parts side by side."""
    if "multimodal" in values or "encoder_args" not in values:
        return values
    encoder = section(values, "encoder_args")
    factor = {"downsample_factor": encoder.pop("downsample_factor", 4)}
    whisper = {"encoder_args": encoder, "downsample_args": factor}
    return {**_decoder(values), "multimodal": {"whisper_model_args": whisper}}
