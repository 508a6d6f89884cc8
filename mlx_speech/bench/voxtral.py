"""How long Voxtral takes: true shapes with random weights, a few layers, extrapolated.

All layers of a stack are alike, so two models of different depths tell what a layer
costs and what is left without layers; a whole model's time is computed from the two,
and is called extrapolated wherever it is shown. On a CPU times are processor time,
elsewhere the clock's. Medians of several runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from mlx_speech.bench.clock import clock_name, median_seconds
from mlx_speech.errors import SpeechError
from mlx_speech.nn.conv import current_device
from mlx_speech.voxtral.checkpoints import quantize_voxtral
from mlx_speech.voxtral.config import AudioConfig, TextConfig, VoxtralConfig
from mlx_speech.voxtral.model import Voxtral
from mlx_speech.voxtral.realtime_audio import LEFT_TOKENS, TOKEN_SECONDS
from mlx_speech.voxtral.realtime_config import RealtimeAudioConfig, RealtimeConfig
from mlx_speech.voxtral.realtime_model import VoxtralRealtime

_AUDIO = AudioConfig(1280, 5120, 32, 20)
# Name -> sizes of the published model.
SIZES: dict[str, VoxtralConfig | RealtimeConfig] = {
    "mini": VoxtralConfig(
        _AUDIO, TextConfig(131072, 3072, 8192, 30, 32, 8, 128, rope_theta=1e8)
    ),
    "small": VoxtralConfig(
        _AUDIO, TextConfig(131072, 5120, 32768, 40, 32, 8, 128, rope_theta=1e8)
    ),
    "realtime": RealtimeConfig(
        RealtimeAudioConfig(1280, 5120, 32, 32, 64, rope_theta=1e6),
        TextConfig(
            131072, 3072, 9216, 26, 32, 8, 128, rope_theta=1e6, sliding_window=8192
        ),
    ),
}
BITS = (4, 8, 16)
# What is said in 30 s, at 3.3 tokens a second.
TOKENS = 100
PROMPT_EXTRA = 10
_STEPS = 4
# All tokens take the same time.
_ANY_TOKEN = 1


@dataclass(frozen=True)
class VoxtralCase:
    """What is measured.

    Args:
        size: a key of ``SIZES``.
        bits: of the decoder's weights, 4, 8 or 16; what hears has 8 at least.
        depths: layers of the two models that are measured, of either stack.

    Raises:
        SpeechError: no such size, or numbers that make no sense.
    """

    size: str = "mini"
    bits: int = 4
    depths: tuple[int, int] = (1, 2)

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise SpeechError(
                f"there is no size {self.size!r}", f"choose from {', '.join(SIZES)}"
            )
        if self.bits not in BITS:
            raise SpeechError(
                f"weights of {self.bits} bits cannot be measured",
                f"choose from {', '.join(map(str, BITS))}",
            )
        shallow, deep = self.depths
        if not 1 <= shallow < deep <= SIZES[self.size].text.num_hidden_layers:
            raise SpeechError(
                f"models of {shallow} and {deep} layers tell nothing",
                "give two different depths, the smaller first",
            )


@dataclass(frozen=True)
class Stage:
    """One stage of one model.

    Attributes:
        name: what is done.
        layers: of the whole model's stack.
        shallow_s, deep_s: measured seconds of the two models.
        whole_s: extrapolated seconds of the whole model.
    """

    name: str
    layers: int
    shallow_s: float
    deep_s: float
    whole_s: float


@dataclass(frozen=True)
class VoxtralTiming:
    """Seconds of one model.

    Attributes:
        size, bits, depths: as in :class:`VoxtralCase`.
        clock: "processor" or "wall".
        stages: of what the model does for ``audio_s`` seconds of audio.
        counts: how often each stage is done for them.
        audio_s: seconds of audio.
    """

    size: str
    bits: int
    depths: tuple[int, int]
    clock: str
    stages: list[Stage]
    counts: list[int]
    audio_s: float

    @property
    def whole_s(self) -> float:
        """Extrapolated seconds for the audio."""
        pairs = zip(self.stages, self.counts, strict=True)
        return sum(stage.whole_s * count for stage, count in pairs)

    def to_dict(self) -> dict[str, Any]:
        """The fields, and what is extrapolated from them."""
        return {
            **asdict(self),
            "extrapolated_s": self.whole_s,
            "extrapolated_x_real_time": self.audio_s / self.whole_s,
        }


def measure(
    case: VoxtralCase,
    repeats: int = 3,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> VoxtralTiming:
    """Measure both depths and extrapolate.

    Args:
        case: what to measure.
        repeats: runs of each measurement, after one that is not counted.
        on_progress: told (done, total) models.
    """
    config = SIZES[case.size]
    found: list[list[float]] = []
    for done, depth in enumerate(case.depths):
        found.append(_stage_seconds(shallow_model(config, depth, case.bits), repeats))
        on_progress(done + 1, len(case.depths))
    names, layers, counts, audio_s = _plan(config)
    stages = []
    for index, name in enumerate(names):
        first, second = found[0][index], found[1][index]
        per_layer = (second - first) / (case.depths[1] - case.depths[0])
        # A disturbed measurement must not make layers cost less than nothing.
        whole = first + max(0.0, per_layer) * (layers[index] - case.depths[0])
        stages.append(Stage(name, layers[index], first, second, whole))
    return VoxtralTiming(
        case.size,
        case.bits,
        case.depths,
        clock_name(),
        stages,
        counts,
        audio_s,
    )


def shallow_model(
    config: VoxtralConfig | RealtimeConfig, depth: int, bits: int
) -> Voxtral | VoxtralRealtime:
    """A model of random weights with so many layers in either stack."""
    text = replace(config.text, num_hidden_layers=depth)
    mx.random.seed(0)
    model: Voxtral | VoxtralRealtime
    if isinstance(config, VoxtralConfig):
        audio = replace(config.audio, num_hidden_layers=depth)
        model = Voxtral(replace(config, audio=audio, text=text))
    else:
        tower = replace(config.audio, num_hidden_layers=depth)
        model = VoxtralRealtime(replace(config, audio=tower, text=text))
    if bits < 16:
        quantize_voxtral(model, bits)
    elif current_device() != "cpu":
        model.set_dtype(mx.bfloat16)
    # Layer by layer: the random numbers take more room than what is made of them.
    leaves = dict(tree_flatten(model.leaf_modules(), is_leaf=nn.Module.is_module))
    for layer in leaves.values():
        mx.eval(layer.parameters())
    mx.eval(model.parameters())
    return model


def _plan(
    config: VoxtralConfig | RealtimeConfig,
) -> tuple[list[str], list[int], list[int], float]:
    """Names of the stages, layers of each, how often each is done, for what audio."""
    layers = [config.audio.num_hidden_layers, config.text.num_hidden_layers]
    if isinstance(config, VoxtralConfig):
        prompt = config.audio.tokens_per_chunk + PROMPT_EXTRA
        names = ["encode 30 s", f"read {prompt} tokens", "make one token"]
        return names, [*layers, layers[1]], [1, 1, TOKENS], 30.0
    return ["encode 80 ms", "make one token"], layers, [1, 1], TOKEN_SECONDS


def _stage_seconds(model: Voxtral | VoxtralRealtime, repeats: int) -> list[float]:
    if isinstance(model, Voxtral):
        return _stages_of_pieces(model, repeats)
    return _stages_of_stream(model, repeats)


def _stages_of_pieces(model: Voxtral, repeats: int) -> list[float]:
    audio = model.config.audio
    shape = (1, 2 * audio.max_source_positions, audio.num_mel_bins)
    features = mx.random.normal(shape)
    embedded = model.encode(features)
    heard = [model.config.audio_token_id] * audio.tokens_per_chunk
    tokens = mx.array(heard + [_ANY_TOKEN] * PROMPT_EXTRA)
    prompt = model.embed(tokens, embedded)
    mx.eval(features, prompt)
    caches = model.new_caches()
    model.prefill(prompt, caches)

    def steps() -> None:
        for _ in range(_STEPS):
            mx.eval(model.step(mx.array([_ANY_TOKEN]), caches))

    return [
        median_seconds(lambda: model.encode(features), repeats),
        median_seconds(
            lambda: mx.eval(model.prefill(prompt, model.new_caches())), repeats
        ),
        median_seconds(steps, repeats) / _STEPS,
    ]


def _stages_of_stream(model: VoxtralRealtime, repeats: int) -> list[float]:
    per_token, bands = model.config.frames_per_token, model.config.audio.num_mel_bins
    window = 2 * model.config.audio.sliding_window
    state = model.audio_tower.new_state()
    filling = mx.random.normal((window // per_token * per_token, bands))
    audio = model.encode(filling, state)
    mx.eval(audio, state.frames)
    part = mx.random.normal((per_token, bands))
    caches = model.language_model.new_caches()
    scales = model.delay_scales(model.config.delay_tokens)
    prompt = mx.array([_ANY_TOKEN] * min(len(audio), 10 * LEFT_TOKENS))
    mx.eval(part, model.read(prompt, audio[: len(prompt)], caches, scales))

    def encode() -> None:
        for _ in range(_STEPS):
            mx.eval(model.encode(part, state), state.frames)

    def steps() -> None:
        for _ in range(_STEPS):
            mx.eval(model.read(mx.array([_ANY_TOKEN]), audio[:1], caches, scales))

    return [median_seconds(each, repeats) / _STEPS for each in (encode, steps)]
