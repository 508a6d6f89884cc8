"""Score the demo: base voice, fine-tuned voice, ceiling, and what is understood.

    python weights/score_demo.py --picture demo.png --json demo.json

Speaks the held-out sentences with the espeak-ng program in all voices of the demo,
scores the base on its own voices and on the demo's, runs ``train-vits --demo`` once per
seed, and scores what it made. Needs espeak-ng and the ``test`` extra; half an hour on
two cores.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Literal

import mlx.core as mx
import numpy as np

from mlx_speech.audio import load
from mlx_speech.audio.plot import save_spectrograms
from mlx_speech.bench.recogniser import SentenceRecogniser, shuffled
from mlx_speech.bench.voice import (
    VoiceScore,
    score_voice,
    speak_plainly,
    voice_log_mel,
)
from mlx_speech.corpus import Utterance, read_corpus
from mlx_speech.errors import SpeechError
from mlx_speech.files import replacing_file
from mlx_speech.models import load_model
from mlx_speech.vits.model import SynthesizerTrn
from mlx_speech.vits.speech import synthesize
from mlx_speech.weights.espeak import HERE, SAMPLE_RATE, read_voices
from mlx_speech.weights.make_base_corpus import make_held_out

BASE = HERE / "demo_base"
SEEDS = (1, 2, 3)
Measure = Literal["mcd", "mel_l1"]


@dataclass(frozen=True)
class TunedScore:
    """One fine-tuning: its seed, the command's seconds, and what came out.

    ``recognised`` is the share of sentences that the recogniser hears in the tuned
    voice; ``recognised_shuffled`` in the same audio shuffled in time.
    """

    seed: int
    seconds: float
    score: VoiceScore
    recognised: float
    recognised_shuffled: float


@dataclass(frozen=True)
class DemoScores:
    """Everything that the demo is judged by, on held-out sentences.

    Attributes:
        own: base voice -> the base's score on its recordings.
        untrained: of the base's shapes with random weights, on the demo's recordings.
        start: base voice -> the same speaker's score on the demo voice's recordings.
        tuned: one fine-tuning a seed, scored on the demo voice's recordings.
        originals: share that is recognised of the demo voice's recordings.
        originals_shuffled: of the same, shuffled in time.
        chance: what guessing would reach.
    """

    own: dict[str, VoiceScore]
    untrained: VoiceScore
    start: dict[str, VoiceScore]
    tuned: list[TunedScore]
    originals: float
    originals_shuffled: float
    chance: float

    @property
    def nearest_base(self) -> str:
        """The base voice that comes nearest to the demo voice, by MCD."""
        return min(self.start, key=lambda name: self.start[name].mcd)

    def base_distance(self, measure: Measure) -> float:
        """Of the base to the demo voice: its best speaker in this measure."""
        return min(getattr(score, measure) for score in self.start.values())

    def median(self, field: str) -> float:
        """Median over the seeds of a number of :class:`VoiceScore`'s dictionary."""
        return median(each.score.to_dict()[field] for each in self.tuned)

    def gap_removed(self, measure: Measure) -> float:
        """Share of the way from base to ceiling that fine-tuning went, median."""
        base = self.base_distance(measure)
        return median(
            (base - getattr(each.score, measure))
            / (base - getattr(each.score, f"ceiling_{measure}"))
            for each in self.tuned
        )

    @property
    def recognised(self) -> float:
        """Share of sentences recognised in the tuned voice, median."""
        return median(each.recognised for each in self.tuned)

    def to_dict(self) -> dict[str, Any]:
        """All numbers, and the summaries that the README quotes."""
        return {
            **asdict(self),
            "summary": {
                "nearest_base": self.nearest_base,
                "base_mcd": self.base_distance("mcd"),
                "base_mel_l1": self.base_distance("mel_l1"),
                "mcd": self.median("mcd"),
                "mel_l1": self.median("mel_l1"),
                "ceiling_mcd": self.median("ceiling_mcd"),
                "ceiling_mel_l1": self.median("ceiling_mel_l1"),
                "relative_mcd": self.median("relative_mcd"),
                "relative_ceiling_mcd": self.median("relative_ceiling_mcd"),
                "gap_removed_mcd": self.gap_removed("mcd"),
                "gap_removed_mel_l1": self.gap_removed("mel_l1"),
                "recognised": self.recognised,
            },
        }


def score_demo(
    folder: Path,
    seeds: Sequence[int] = SEEDS,
    on_step: Callable[[str], None] = lambda what: None,
) -> DemoScores:
    """Make recordings and fine-tuned voices under ``folder`` and score everything.

    Args:
        folder: gets ``held_out/<voice>/`` and ``runs/<seed>/``.
        seeds: one fine-tuning each.
        on_step: told what begins.

    Raises:
        SpeechError: espeak-ng or pocketsphinx is missing, or the training fails.
    """
    on_step("speaking the held-out sentences with espeak-ng")
    make_held_out(folder / "held_out")
    target = demo_recordings(folder)
    recogniser = SentenceRecogniser([each.text for each in target])
    recordings = [load(each.audio_path, SAMPLE_RATE)[0] for each in target]

    base = load_model(BASE, with_discriminators=False)
    on_step("scoring random weights")
    mx.random.seed(0)
    random_voice = replace(base, model=SynthesizerTrn(base.config))
    untrained = score_voice(random_voice, target, base.speakers[0])
    own, start = {}, {}
    for name in read_voices("base"):
        on_step(f"scoring the base as {name}")
        own[name] = score_voice(base, read_corpus(folder / "held_out" / name), name)
        start[name] = score_voice(base, target, name)

    tuned = []
    for seed in seeds:
        on_step(f"train-vits --demo --seed {seed}")
        seconds = _fine_tune(folder / "runs" / str(seed), seed)
        on_step(f"scoring seed {seed}")
        voice = load_model(folder / "runs" / str(seed), with_discriminators=False)
        # What `mlx-speech speak` says, noise and pace included.
        spoken = [synthesize(voice, each.text) for each in target]
        rate = voice.sample_rate
        tuned.append(
            TunedScore(
                seed=seed,
                seconds=seconds,
                score=score_voice(voice, target),
                recognised=recogniser.share_recognised(spoken, rate),
                recognised_shuffled=_share_shuffled(recogniser, spoken, rate),
            )
        )
    return DemoScores(
        own=own,
        untrained=untrained,
        start=start,
        tuned=tuned,
        originals=recogniser.share_recognised(recordings, SAMPLE_RATE),
        originals_shuffled=_share_shuffled(recogniser, recordings, SAMPLE_RATE),
        chance=1 / len(target),
    )


def demo_recordings(folder: Path) -> list[Utterance]:
    """The demo voice's held-out recordings that :func:`score_demo` made."""
    (name,) = read_voices("demo")
    return read_corpus(folder / "held_out" / name)


def draw_sentence(folder: Path, scores: DemoScores, path: Path, index: int = 0) -> None:
    """Spectrograms of one held-out sentence: recording, base, fine-tuned.

    Args:
        folder: where :func:`score_demo` worked.
        scores: what it found.
        path: the picture, .png, .svg or .pdf.
        index: of the sentence.

    Raises:
        SpeechError: matplotlib is missing, or the file cannot be written.
    """
    sentence = demo_recordings(folder)[index]
    base = load_model(BASE, with_discriminators=False)
    first = scores.tuned[0].seed
    tuned = load_model(folder / "runs" / str(first), with_discriminators=False)
    recording, _ = load(sentence.audio_path, tuned.sample_rate)
    speaker = scores.nearest_base
    save_spectrograms(
        path,
        {
            f"Recording: {sentence.text}": voice_log_mel(recording, tuned),
            f"Base, nearest of its voices ({speaker})": voice_log_mel(
                speak_plainly(base, sentence.text, speaker), base
            ),
            "Fine-tuned": voice_log_mel(speak_plainly(tuned, sentence.text), tuned),
        },
        tuned.mel_spec,
    )


def as_table(scores: DemoScores) -> str:
    """The numbers as Markdown."""
    yardstick = scores.tuned[0].score
    rows = [
        ("other sentences (yardstick)", "yardstick_mcd", "yardstick_mel_l1"),
        ("fine-tuned", "mcd", "mel_l1"),
        ("ceiling", "ceiling_mcd", "ceiling_mel_l1"),
    ]
    numbers = {
        name: (scores.median(mcd), scores.median(mel_l1)) for name, mcd, mel_l1 in rows
    }
    numbers["base, nearest of its voices"] = (
        scores.base_distance("mcd"),
        scores.base_distance("mel_l1"),
    )
    numbers["untrained (random weights)"] = (
        scores.untrained.mcd,
        scores.untrained.mel_l1,
    )
    lines = [
        f"| demo voice, {yardstick.sentences} held-out sentences, median of "
        f"{len(scores.tuned)} seeds | MCD (dB) | of yardstick | mel L1 |",
        "|---|--:|--:|--:|",
    ]
    for name, (mcd, mel_l1) in sorted(numbers.items(), key=lambda row: -row[1][0]):
        share = mcd / yardstick.yardstick_mcd
        lines.append(f"| {name} | {mcd:.2f} | {share:.2f} | {mel_l1:.3f} |")
    lines += ["", "| base on its own voices | MCD (dB) | of yardstick | nearest |"]
    lines.append("|---|--:|--:|--:|")
    for name, score in scores.own.items():
        share = score.mcd / score.yardstick_mcd
        nearest = f"{score.nearest} of {score.sentences}"
        lines.append(f"| {name} | {score.mcd:.2f} | {share:.2f} | {nearest} |")
    nearest = ", ".join(str(each.score.nearest) for each in scores.tuned)
    seconds = ", ".join(f"{each.seconds:.0f}" for each in scores.tuned)
    mixed = max(each.recognised_shuffled for each in scores.tuned)
    lines += [
        "",
        f"Fine-tuning removes {scores.gap_removed('mcd'):.0%} of the gap from base to "
        f"ceiling in MCD and {scores.gap_removed('mel_l1'):.0%} in mel L1; "
        f"{nearest} of {yardstick.sentences} sentences are nearest to their own "
        f"recording; the command took {seconds} s.",
        f"Recognised: {scores.originals:.0%} of the recordings, "
        f"{scores.recognised:.0%} of the fine-tuned voice; shuffled in time "
        f"{scores.originals_shuffled:.0%} and at most {mixed:.0%} "
        f"(guessing: {scores.chance:.0%}).",
    ]
    return "\n".join(lines)


def _fine_tune(run: Path, seed: int) -> float:
    """Run the command as a user would; return its seconds."""
    command = [sys.executable, "-m", "mlx_speech", "train-vits", "--demo", "--quiet"]
    command += ["--seed", str(seed), "--output-dir", str(run)]
    started = time.monotonic()
    finished = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if finished.returncode:
        raise SpeechError(
            f"`{' '.join(command[1:])}` ended with exit code {finished.returncode}"
        )
    return time.monotonic() - started


def _share_shuffled(
    recogniser: SentenceRecogniser, spoken: Sequence[np.ndarray], rate: int
) -> float:
    mixed = [shuffled(samples, rate, seed=i) for i, samples in enumerate(spoken)]
    return recogniser.share_recognised(mixed, rate)


def main() -> int:
    """Score the demo as the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--picture", type=Path, help="spectrograms of one sentence")
    parser.add_argument("--json", type=Path, help="file for all numbers")
    chosen = parser.parse_args()
    with TemporaryDirectory() as temporary:
        try:
            scores = score_demo(
                Path(temporary), chosen.seeds, lambda what: print(what, file=sys.stderr)
            )
            if chosen.picture:
                draw_sentence(Path(temporary), scores, chosen.picture)
            if chosen.json:
                with replacing_file(chosen.json) as path:
                    text = json.dumps(scores.to_dict(), indent=2) + "\n"
                    path.write_text(text, encoding="utf-8")
        except SpeechError as error:
            print(f"error: {error}", file=sys.stderr)
            return error.exit_code
    print(as_table(scores))
    return 0


if __name__ == "__main__":
    sys.exit(main())
