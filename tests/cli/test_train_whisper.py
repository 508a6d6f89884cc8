"""`mlx-speech train-whisper` as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from mlx_speech.training.report import read_metrics
from mlx_speech.whisper import train
from mlx_speech.whisper.checkpoints import load_whisper
from mlx_speech.whisper.decoding import tokenizer_of

Command = Callable[..., tuple[int, str, str]]
Refusal = Callable[[tuple[int, str, str]], tuple[str, str]]

TINY = (
    *("--base", "none", "--channels", "16", "--heads", "2", "--encoder-layers", "1"),
    *("--decoder-layers", "1", "--window-positions", "100", "--text-positions", "80"),
    *("--ctc-weight", "0.5", "--learning-rate", "0.01", "--warmup-steps", "1"),
)
SHORT = ("--max-steps", "4", "--batch-size", "2", "--validate-every", "2")


@pytest.fixture
def teach(command: Command) -> Command:
    """Run `train-whisper` for four steps."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        return command("train-whisper", *SHORT, *arguments)

    return run


def parameters(folder: Path) -> dict[str, np.ndarray]:
    """What a finished run's model holds."""
    flat = tree_flatten(load_whisper(folder / "model").parameters())
    return {name: np.array(array) for name, array in flat}


def test_recordings_become_a_model_that_transcribes(
    folder: Path, teach: Command, command: Command
) -> None:
    code, out, err = teach("data", "-o", "run", *TINY, "--sample-every", "4")
    assert (code, out) == (0, "run/model\n"), err
    assert "5 recordings to train on, 1 to validate" in err
    assert "from random weights; batch 2, 4 steps" in err
    assert "step 2: validation  wer" in err
    steps = [
        line["metrics"]
        for line in read_metrics(folder / "run" / "metrics.jsonl")
        if line["kind"] == "step"
    ]
    assert steps[0].keys() >= {"loss_tokens", "loss_ctc", "grad_norm_whisper"}
    for metrics in steps:
        parts = metrics["loss_tokens"] + 0.5 * metrics["loss_ctc"]
        assert metrics["loss_total"] == pytest.approx(parts, rel=1e-5)
    heard = (folder / "run/samples/00000004/transcripts.txt").read_text()
    assert "said:" in heard and "heard:" in heard
    config = json.loads((folder / "run/model/config.json").read_text())
    assert config["max_source_positions"] == 100
    special = tokenizer_of(load_whisper(folder / "run/model")).special
    assert config["eos_token_id"] == special.eot
    assert config["decoder_start_token_id"] == special.sot

    sound = next((folder / "data").rglob("*.wav"))
    code, out, err = command("transcribe", sound, "-m", "run", "--json")
    assert code == 0, err
    assert "segments" in json.loads(out)


def test_a_stopped_run_resumes_to_the_same_weights(
    folder: Path, teach: Command, command: Command
) -> None:
    assert teach("data", "-o", "whole", *TINY, "--export", "last")[0] == 0
    assert teach("data", "-o", "halved", *TINY, "--export", "last")[0] == 0
    run = folder / "halved"
    # As if it had been killed after the checkpoint of step 2.
    for later in run.glob("checkpoints/*4"):
        for file in later.iterdir():
            file.unlink()
        later.rmdir()
    code, _, err = command("train-whisper", "--resume", "-o", "halved")
    assert code == 0, err
    assert "resuming after step 2" in err
    whole, halved = parameters(folder / "whole"), parameters(run)
    assert all(np.array_equal(whole[name], halved[name]) for name in whole)


def test_low_rank_updates_change_their_layers_and_nothing_else(
    folder: Path, teach: Command
) -> None:
    assert teach("data", "-o", "start", *TINY)[0] == 0
    code, _, err = teach(
        *("data", "-o", "tuned", "--base", "start", "--lora-rank", "2"),
        *("--learning-rate", "0.01", "--export", "last"),
    )
    assert code == 0, err
    assert "recordings to train on" in err and "from `start`" in err
    base, tuned = parameters(folder / "start"), parameters(folder / "tuned")
    assert base.keys() == tuned.keys()
    changed = {name for name in base if not np.array_equal(base[name], tuned[name])}
    layers = {"qkv_proj", "q_proj", "kv_proj", "out_proj", "fc1", "fc2"}
    assert {name.split(".")[-2] for name in changed} == layers
    assert all(name.endswith(".weight") for name in changed)


def test_a_frozen_encoder_stays(folder: Path, teach: Command) -> None:
    assert teach("data", "-o", "start", *TINY)[0] == 0
    code, _, err = teach(
        *("data", "-o", "tuned", "--base", "start", "--freeze-encoder"),
        *("--learning-rate", "0.01", "--export", "last"),
    )
    assert code == 0, err
    base, tuned = parameters(folder / "start"), parameters(folder / "tuned")
    for name, array in base.items():
        same = np.array_equal(array, tuned[name])
        if name.startswith("encoder."):
            assert same, name
    assert not np.array_equal(
        base["decoder.embed_tokens.weight"], tuned["decoder.embed_tokens.weight"]
    )


def test_half_precision_learns_in_single_precision(
    folder: Path, teach: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Frozen parts too: one of single precision would make all that follows single.
    assert teach("data", "-o", "start", *TINY)[0] == 0
    plain, computed = train.training_losses, set()

    def losses(network: train.TrainedWhisper, mel: mx.array, *rest: Any) -> Any:
        computed.add(network.whisper.encode(mel).dtype)
        return plain(network, mel, *rest)

    monkeypatch.setattr(train, "training_losses", losses)
    half = ("--precision", "bfloat16", "--overwrite")
    for more in (TINY, ("--base", "start", "--lora-rank", "2")):
        code, _, err = teach("data", "-o", "run", *more, *half)
        assert code == 0, err
        assert computed == {mx.bfloat16}
    weights = mx.load(str(folder / "run/checkpoints/00000004/whisper.safetensors"))
    assert {array.dtype for array in weights.values()} == {mx.float32}


def test_a_quantised_model_is_refused(
    folder: Path, teach: Command, command: Command, refusal: Refusal
) -> None:
    # Wide enough for a group of 64 weights.
    wide = ["64" if word == "16" else word for word in TINY]
    assert teach("data", "-o", "start", *wide)[0] == 0
    quantised = ("--to", "mlx", "--quantize", "8", "-o", "small")
    code, _, err = command("convert", "start", *quantised)
    assert code == 0, err
    message, hint = refusal(teach("data", "--base", "./small"))
    assert "is quantised, which cannot be trained" in message
    assert "not quantised" in hint


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--language", "de"), "writes English only, and `language` is German"),
        (("--task", "translate"), "writes English only, and `task` is translate"),
    ],
)
def test_a_model_of_english_is_not_taught_what_it_has_no_token_for(
    folder: Path,
    teach: Command,
    refusal: Refusal,
    monkeypatch: pytest.MonkeyPatch,
    flags: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.delattr("mlx_speech.whisper.training_setup._usable")
    message, hint = refusal(teach("data", "--base", "bundled", "-o", "run", *flags))
    assert said in message
    assert "of many languages" in hint
    assert not Path("run").exists()


def test_a_language_that_the_base_lacks_is_refused(
    folder: Path, teach: Command, refusal: Refusal, whisper_folder: Path
) -> None:
    given = ("data", "--base", whisper_folder, "--language", "french")
    assert "this model does not know french" in refusal(teach(*given))[0]
    assert not Path("runs").exists()


def test_a_model_from_scratch_knows_its_language(
    folder: Path, teach: Command, command: Command, refusal: Refusal
) -> None:
    code, _, err = teach("data", *TINY, "-o", "run", "--language", "de")
    assert code == 0, err
    (sound, *_) = sorted(Path("data").rglob("*.wav"))
    for flags in ((), ("--language", "german"), ("--exact",)):
        code, out, err = command("transcribe", sound, "-m", "run", "--json", *flags)
        assert code == 0, err
        assert json.loads(out)["language"] == "de"
    message, _ = refusal(command("transcribe", sound, "-m", "run", "-l", "en"))
    assert "hears German only, and the language is english" in message


def test_settings_that_cannot_be_are_refused_in_one_line(
    folder: Path, teach: Command, refusal: Refusal
) -> None:
    voice = folder / "voice"
    voice.mkdir()
    (voice / "config.json").write_text('{"model_type": "vits"}')
    for arguments, why in (
        ((), "there is nothing to train on"),
        (("data", *TINY, "--lora-rank", "2"), "random weights cannot stay"),
        (("data", *TINY, "--ctc-labels", "words"), "`ctc_labels` is `words`"),
        (("data", *TINY, "--noise-snr", "9,3"), "two ascending numbers"),
        (("data", *TINY, "--prompt-share", "2"), "`prompt_share` must lie"),
        (("data", *TINY, "--language", "xx"), "the language 'xx'"),
        (("data", *TINY, "--task", "sing"), "`task` is `sing`"),
        (("data", *TINY, "--learning-rte", "2"), "learning-rte"),
        (("data", *TINY, "--window-seconds", "0.2"), "no recording for training has"),
        (("data", *TINY, "--window-seconds", "2.5"), "and the model hears 2 s"),
        (("data", *TINY, "--vocabulary-size", "9"), "at least 256"),
        (("data", "--base", "missing/model", "--offline"), "missing/model"),
        (("data", "--base", voice), "of the family `vits`, not Whisper"),
        (("nowhere", *TINY), "nowhere"),
    ):
        message, hint = refusal(teach(*arguments))
        assert why in f"{message} {hint}", (arguments, message)
    assert not (folder / "runs").exists()


def test_recordings_without_text_are_not_called_long(
    folder: Path, teach: Command, refusal: Refusal
) -> None:
    for path in (folder / "data").rglob("*.txt"):
        path.write_text(" ", encoding="utf-8")
    message, hint = refusal(teach("data", *TINY))
    assert "no recording for training has a text and fits" in message
    assert "write what is said" in hint


def test_what_is_said_too_fast_for_ctc_is_left_out(
    folder: Path, teach: Command
) -> None:
    spoken = sorted((folder / "data").rglob("*.txt"))[:2]
    for path in spoken:
        path.write_text("extraordinarily " * 12, encoding="utf-8")
    code, _, err = teach("data", "-o", "run", *TINY)
    assert code == 0, err
    assert "too fast" in err and spoken[0].stem in err
