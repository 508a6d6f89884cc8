"""`train-vits` from a base: which ones are refused, speakers, parts, notes."""

from __future__ import annotations

import os
import shutil
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.hub.load import load_safetensors
from mlx_speech.hub.save import flatten_parameters, save_safetensors
from mlx_speech.text.characters import vits_vocabulary
from mlx_speech.text.ipa import english_to_ipa
from mlx_speech.vits.checkpoints import load_voice, save_voice
from mlx_speech.vits.model import SynthesizerTrn
from mlx_speech.vits.voice import Voice

Command = Callable[..., tuple[int, str, str]]
Refusal = Callable[[tuple[int, str, str]], tuple[str, str]]
Maker = Callable[..., None]


# Bases that cannot be used


def cut(base: Path) -> Path:
    path = base / "model.safetensors"
    os.truncate(path, path.stat().st_size // 2)
    return base


def other_keys(base: Path) -> Path:
    arrays = load_safetensors(base / "model.safetensors")
    arrays["dec.surprise"] = arrays.pop("enc_p.emb.weight")
    save_safetensors(base / "model.safetensors", arrays)
    return base


def other_shapes(base: Path) -> Path:
    config = base / "config.json"
    config.write_text(config.read_text().replace('"n_flows": 2', '"n_flows": 4'))
    return base


def malicious(base: Path) -> Path:
    evil = base / "G_1.pth"
    command = "touch executed"
    pickle = b"\x80\x02cos\nsystem\n(X" + struct.pack("<I", len(command))
    with zipfile.ZipFile(evil, "w") as archive:
        archive.writestr("archive/data.pkl", pickle + command.encode() + b"tR.")
    (base / "config.json").write_text(
        '{"model": {}, "data": {"sampling_rate": 8000, "filter_length": 512,'
        ' "hop_length": 256, "win_length": 512}}'
    )
    return evil


def other_spectrogram(base: Path) -> Path:
    config = base / "config.json"
    config.write_text(config.read_text().replace('"log": "ln"', '"log": "log10"'))
    return base


def absent(base: Path) -> Path:
    return base / "nowhere"


def unknown_family(base: Path) -> Path:
    (base / "config.json").write_text('{"model_type": "bert"}')
    return base


BAD_BASES: dict[Callable[[Path], Path], str] = {
    absent: "no file or folder `base/nowhere`",
    cut: "`base/model.safetensors` is truncated: ",
    other_keys: "1 keys missing (enc_p.emb.weight); 1 keys unexpected (dec.surprise)",
    other_shapes: "keys missing (flow.",
    other_spectrogram: "the spectrogram of the base voice `base` does not fit VITS",
    malicious: "was refused: it asks for `os.system`",
    unknown_family: "model_type is 'bert'",
}


@pytest.mark.parametrize("spoil", BAD_BASES, ids=lambda spoil: spoil.__name__)
def test_an_unusable_base_is_refused_before_anything_is_written(
    folder: Path,
    train: Command,
    trained: Path,
    spoil: Callable[[Path], Path],
    refusal: Refusal,
) -> None:
    shutil.copytree(trained / "model", folder / "base")
    base = spoil(folder / "base").relative_to(folder)
    error, _ = refusal(train("data", "-o", "run", "--base", base))
    assert BAD_BASES[spoil] in error
    assert not (folder / "run").exists()
    assert not (folder / "executed").exists()


# Speakers, bases, parts


def speaker_lines(*names: str) -> list[str]:
    texts = ("one two", "a cat", "the sun", "go on", "red sky", "my hat")
    return [
        f"r{index}|{names[index % len(names)]}|{text}|{text}"
        for index, text in enumerate(texts)
    ]


@pytest.fixture
def duet(folder: Path, train: Command, make_metadata: Maker) -> Path:
    """A base of the speakers ann and bob."""
    shutil.copytree(folder / "data", folder / "pair")
    make_metadata(folder / "pair", speaker_lines("ann", "bob"))
    code, _, err = train("pair", "-o", "duet", "--gin-channels", "4", "-q")
    assert code == 0, err
    return folder / "duet"


def test_several_speakers_and_new_ones_from_such_a_base(
    folder: Path, train: Command, duet: Path, make_metadata: Maker
) -> None:
    base = load_voice(duet / "model")
    assert base.speakers == ("ann", "bob")
    table = np.array(base.model.emb_g.weight)
    make_metadata(folder / "data", speaker_lines("zoe", "bob", "cyd"))
    # So slow that the table shows where it began.
    slow = ("--learning-rate", "1e-9", "--weight-decay", "0", "--max-steps", "1")
    code, _, err = train("data", "-o", "trio", "--base", "duet", *slow, "-q")
    assert code == 0, err
    voice = load_voice(folder / "trio" / "model")
    assert voice.speakers == ("bob", "cyd", "zoe")
    mean = table.mean(axis=0)
    np.testing.assert_allclose(
        np.array(voice.model.emb_g.weight), [table[1], mean, mean], atol=1e-6
    )
    # One unnamed speaker gets a row of its own.
    shutil.rmtree(folder / "data")
    shutil.copytree(folder / "pair", folder / "data")
    make_metadata(folder / "data", [f"r{i}|go on" for i in range(6)])
    code, _, err = train("data", "-o", "solo", "--base", "duet", *slow, "-q")
    assert code == 0, err
    solo = load_voice(folder / "solo" / "model")
    assert solo.speakers == ("voice",)
    np.testing.assert_allclose(np.array(solo.model.emb_g.weight), [mean], atol=1e-6)


def test_a_base_of_one_voice_takes_no_second_speaker(
    folder: Path, train: Command, trained: Path, refusal: Refusal, make_metadata: Maker
) -> None:
    make_metadata(folder / "data", speaker_lines("ann", "bob"))
    error, _ = refusal(train("data", "-o", "run", "--base", trained))
    assert "the data has 2 speakers, the base voice has one" in error


def test_a_base_says_which_settings_have_no_effect(
    folder: Path, train: Command, trained: Path
) -> None:
    flags = ("--hidden-channels", "32", "--mel", "mms-16k", "--max-steps", "1")
    code, _, err = train("data", "-o", "run", "--base", trained, *flags)
    assert code == 0, err
    assert "note: the base voice brings its own hidden_channels, mel;" in err
    assert f"parameters, from `{trained}`; batch" in err
    model = load_voice(folder / "run" / "model")
    assert model.config == load_voice(trained / "model").config


@pytest.mark.parametrize("start", [-1, 1])
def test_discriminators_that_learnt_nothing_are_left_out(
    folder: Path, train: Command, trained: Path, start: int
) -> None:
    before = load_voice(trained / "model").discriminators
    assert before is not None
    flags = ("--base", trained, "--discriminator-start", start, "-q")
    assert train("data", "-o", "run", *flags, "--max-steps", "1")[0] == 0
    assert load_voice(folder / "run" / "model").discriminators is None
    if start > 0:
        assert train("-o", "run", "--resume", "--max-steps", "2", "-q")[0] == 0
        after = load_voice(folder / "run" / "model").discriminators
        assert after is not None
        old, new = flatten_parameters(before), flatten_parameters(after)
        assert old.keys() == new.keys()
        assert not all(mx.array_equal(new[name], old[name]) for name in old)


def test_frozen_and_slow_parts(folder: Path, train: Command, trained: Path) -> None:
    before = dict(load_safetensors(trained / "model" / "model.safetensors"))
    flags = ("--frozen-parts", "enc_p,flow.flows.0", "--slow-parts", "dec")
    # Adam's first step is the learning rate in every weight that has a gradient.
    rates = ("--learning-rate", "1e-3", "--slow-rate", "0.01", "--weight-decay", "0")
    code, _, err = train(
        "data", "-o", "run", "--base", trained, *flags, *rates, "--max-steps", "1", "-q"
    )
    assert code == 0, err
    after = load_safetensors(
        folder / "run" / "checkpoints" / "00000001" / "generator.safetensors"
    )
    moved = {
        name: mx.abs(after[name] - value).max().item() for name, value in before.items()
    }
    for name, distance in moved.items():
        if name.startswith(("enc_p.", "flow.flows.0.")):
            assert distance == 0, name
        elif name.startswith("dec."):
            assert distance <= 1.01e-5, name
    assert max(d for n, d in moved.items() if n.startswith("dec.")) > 9e-6
    assert max(d for n, d in moved.items() if n.startswith("enc_q.")) > 9e-4


def test_characters_from_scratch(
    folder: Path, train: Command, command: Command, refusal: Refusal
) -> None:
    (folder / "data" / "r1.txt").write_text("Blå ål", encoding="utf-8")
    flags = ("--vocabulary", "characters", "--base", "none", "-q")
    assert train("data", "-o", "run", *flags)[0] == 0
    said = command("speak", "blå one", "--voice", "run", "-o", "a.wav", "-q")
    assert said == (0, "a.wav\n", "")
    error, _ = refusal(command("speak", "zebra!", "-m", "run", "-o", "b.wav"))
    assert "no symbol for 'z' 'b' '!'" in error or "'z'" in error
    assert not (folder / "b.wav").exists()


def test_a_hugging_face_folder_that_reads_ipa_is_a_base(
    folder: Path, train: Command, command: Command, trained: Path, refusal: Refusal
) -> None:
    like, vocabulary = load_voice(trained / "model"), vits_vocabulary()
    config = replace(
        like.config,
        n_vocab=vocabulary.size,
        decoder="hifigan",
        upsample_rates=(16, 16),
        upsample_kernel_sizes=(32, 32),
        upsample_initial_channel=16,
        resblock_kernel_sizes=(3,),
        resblock_dilation_sizes=((1,),),
    )
    voice = Voice(SynthesizerTrn(config), like.mel_spec, vocabulary, reads_ipa=True)
    save_voice(folder / "ours", voice)
    assert command("convert", "ours", "--to", "hf", "-o", "theirs")[0] == 0
    code, _, err = train("data", "-o", "run", "--base", "theirs", "--max-steps", "1")
    assert code == 0, err
    assert "note: the base voice reads IPA; transcripts in plain letters" in err
    made = load_voice(folder / "run" / "model")
    assert made.reads_ipa
    assert made.encode("The sky.") == vocabulary.encode(english_to_ipa("The sky."))
    # What English cannot read is still refused, and not dropped on the way.
    (folder / "data" / "r1.txt").write_text("a \u58f0", encoding="utf-8")
    error, _ = refusal(train("data", "-o", "other", "--base", "theirs"))
    assert "1 symbol(s) that the vocabulary lacks" in error
