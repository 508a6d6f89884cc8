"""`mlx-speech speak` as a user runs it: text in, sound out, refusals."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile

from mlx_speech.text.characters import vits_vocabulary
from mlx_speech.vits.checkpoints import load_voice, save_voice
from mlx_speech.vits.model import SynthesizerTrn
from mlx_speech.vits.voice import Voice

Command = Callable[..., tuple[int, str, str]]
Refusal = Callable[[tuple[int, str, str]], tuple[str, str]]
TEXT = "One two, the red sky."


@pytest.fixture
def speak(
    command: Command, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Command:
    """Run `speak` in an empty folder, with the trained run unless told otherwise."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLX_SPEECH_VOICE", str(trained))

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        return command("speak", *arguments)

    return run


def seconds(path: Path) -> float:
    with soundfile.SoundFile(path) as file:
        return file.frames / file.samplerate


def stdin_of(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_an_argument_becomes_a_sound_file(speak: Command, tmp_path: Path) -> None:
    code, out, err = speak(TEXT, "-o", "a.wav")
    assert (code, out) == (0, "a.wav\n")
    samples, rate = soundfile.read("a.wav")
    assert rate == 16000
    assert err == f"{len(samples) / rate:.2f} s at 16000 Hz\n"
    assert abs(samples).max() > 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_file_and_standard_input_say_the_same_as_an_argument(
    speak: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert speak(TEXT, "-o", "a.wav", "-q") == (0, "a.wav\n", "")
    # A byte-order mark is no text.
    Path("text.txt").write_text(f"\ufeff{TEXT}\n", encoding="utf-8")
    assert speak("--file", "text.txt", "-o", "b.wav", "-q")[0] == 0
    stdin_of(TEXT.encode(), monkeypatch)
    assert speak("-", "-o", "c.wav", "-q")[0] == 0
    stdin_of(TEXT.encode(), monkeypatch)
    assert speak("--file", "-", "-o", "d.wav", "-q")[0] == 0
    sounds = {Path(name).read_bytes() for name in ("a.wav", "b.wav", "c.wav", "d.wav")}
    assert len(sounds) == 1


def test_long_text_is_spoken_sentence_by_sentence(speak: Command) -> None:
    assert speak(TEXT, "-o", "one.wav", "-q", "--noise-scale", "0")[0] == 0
    Path("long.txt").write_text(" ".join([TEXT] * 6) + "\n\n" + TEXT)
    code, _, err = speak("-i", "long.txt", "-o", "long.flac", "--noise-scale", "0")
    assert code == 0, err
    pauses = 6 * 0.25
    expected = 7 * seconds(Path("one.wav")) + pauses
    assert seconds(Path("long.flac")) == pytest.approx(expected, abs=0.001)


def test_json_describes_the_result(speak: Command) -> None:
    code, out, err = speak(TEXT, "-o", "a.ogg", "--json")
    assert (code, err) == (0, "")
    described = json.loads(out)
    assert described == {
        "file": "a.ogg",
        "seconds": pytest.approx(seconds(Path("a.ogg"))),
        "sample_rate": 16000,
    }


def test_speed_divides_the_length(speak: Command) -> None:
    lengths = {}
    # Durations are whole frames, rounded up: slow speech shows the ratio best.
    for speed in ("0.25", "0.5", "1"):
        assert speak(TEXT, "-o", "a.wav", "-q", "--speed", speed)[0] == 0
        lengths[speed] = seconds(Path("a.wav"))
    assert lengths["0.25"] / lengths["0.5"] == pytest.approx(2, rel=0.25)
    assert lengths["0.5"] > 1.3 * lengths["1"]


def test_the_seed_decides_the_audio(speak: Command) -> None:
    def spoken(*flags: str) -> bytes:
        assert speak(TEXT, "-o", "a.wav", "-q", *flags)[0] == 0
        return Path("a.wav").read_bytes()

    assert spoken("--seed", "5") == spoken("--seed", "5")
    assert spoken("--seed", "5") != spoken("--seed", "6")
    still = ("--noise-scale", "0", "--noise-scale-w", "0")
    assert spoken("--seed", "5", *still) == spoken("--seed", "6", *still)
    assert spoken("--seed", str(2**63 - 1))


def test_a_run_and_its_voice_speak_alike(speak: Command, trained: Path) -> None:
    for voice, name in ((trained, "a.wav"), (trained / "model", "b.wav")):
        assert speak(TEXT, "--voice", voice, "-o", name, "-q")[0] == 0
    assert Path("a.wav").read_bytes() == Path("b.wav").read_bytes()


def test_a_hugging_face_folder_speaks_like_ours(
    speak: Command, command: Command, trained: Path
) -> None:
    like = load_voice(trained / "model")
    # Their layout has this generator only.
    config = replace(
        like.config,
        decoder="hifigan",
        upsample_rates=(16, 16),
        upsample_kernel_sizes=(32, 32),
        upsample_initial_channel=16,
        resblock_kernel_sizes=(3,),
        resblock_dilation_sizes=((1,),),
    )
    save_voice("ours", replace(like, model=SynthesizerTrn(config)))
    assert command("convert", "ours", "--to", "hf", "-o", "theirs")[0] == 0
    sounds = []
    for voice in ("ours", "theirs"):
        assert speak(TEXT, "--voice", voice, "-o", "a.wav", "-q")[0] == 0
        sounds.append(soundfile.read("a.wav")[0])
    assert len(sounds[0]) == len(sounds[1])
    assert abs(sounds[0] - sounds[1]).max() <= 2 / 32768


def test_a_voice_that_reads_ipa_says_so(speak: Command, trained: Path) -> None:
    like = load_voice(trained / "model")
    vocabulary = vits_vocabulary()
    config = replace(like.config, n_vocab=vocabulary.size)
    voice = Voice(SynthesizerTrn(config), like.mel_spec, vocabulary, reads_ipa=True)
    save_voice("ipa", voice)
    code, _, err = speak("The sky.", "--voice", "ipa", "-o", "english.wav")
    assert code == 0
    assert "note: this voice reads IPA, so the text is read as English" in err
    ipa = "ð\u0259 sk\u02c8a\u026a."
    code, _, err = speak(ipa, "--voice", "ipa", "-o", "ipa.wav")
    assert code == 0
    assert "note" not in err


def test_play_hands_the_file_to_a_player(
    speak: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: Refusal
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    player = programs / "aplay"
    player.write_text(f'#!/bin/sh\n/bin/cp "$2" "{tmp_path}/played.wav"\n')
    player.chmod(player.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", str(programs))
    assert speak(TEXT, "--play", "-o", "a.wav", "-q") == (0, "a.wav\n", "")
    assert Path("played.wav").read_bytes() == Path("a.wav").read_bytes()
    Path("played.wav").unlink()
    assert speak(TEXT, "--play", "-q") == (0, "", "")
    assert Path("played.wav").read_bytes() == Path("a.wav").read_bytes()
    player.write_text("#!/bin/sh\necho no sound device >&2\nexit 1\n")
    error, _ = refusal(speak(TEXT, "--play", "-q"))
    assert "could not play" in error
    assert "no sound device" in error


def test_play_without_a_player(
    speak: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: Refusal
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    error, hint = refusal(speak(TEXT, "--play"))
    assert "no audio player was found" in error
    assert "-o" in hint
    # The file that was asked for is there all the same.
    code, out, err = speak(TEXT, "--play", "-q", "-o", "a.wav")
    assert (code, out) == (1, "a.wav\n")
    assert err.startswith("error: no audio player was found")
    assert Path("a.wav").exists()


@pytest.mark.parametrize(
    ("arguments", "message", "advice"),
    [
        ([], "give the text either as an argument or with `--file`", "for example"),
        ([TEXT, "--file", "x.txt"], "either as an argument or with `--file`", ""),
        (["", "-o", "a.wav"], "there is no text to speak", "one word"),
        (["  \n ", "-o", "a.wav"], "there is no text to speak", ""),
        (["...", "-o", "a.wav"], "there is no text to speak", ""),
        (["\u58f0 one", "-o", "a.wav"], "cannot read '声'", ""),
        ([TEXT, "-o", "a.mp3"], "`a.mp3` ends in no format", ".wav, .flac, .ogg"),
        ([TEXT, "-o", "folder.wav"], "`folder.wav` is a folder", ""),
        ([TEXT, "-o", "file/a.wav"], "`file/a.wav` cannot be written", ""),
        ([TEXT, "-o", "a.wav", "--speed", "0"], "the speed 0.0 is out of range", ""),
        ([TEXT, "-o", "a.wav", "--speed", "nan"], "the speed nan is out of range", ""),
        ([TEXT, "-o", "a.wav", "--noise-scale", "9"], "`noise_scale` 9.0 is out", ""),
        ([TEXT, "-o", "a.wav", "--speaker", "ann"], "`ann` cannot be chosen", ""),
        (["-i", "gone.txt", "-o", "a.wav"], "`gone.txt` cannot be read", ""),
        (["-i", "latin.txt", "-o", "a.wav"], "`latin.txt` is not UTF-8", "UTF-8"),
        ([TEXT, "-o", "a.wav", "-m", "gone"], "no file or folder `gone`", ""),
        ([TEXT, "-o", "a.wav", "-m", "empty"], "`empty` holds no config.json", ""),
        ([TEXT, "-o", "a.wav", "-m", "file"], "`file` is no model", ""),
    ],
)
def test_what_cannot_be_spoken(
    speak: Command, arguments: list[str], message: str, advice: str, refusal: Refusal
) -> None:
    Path("file").write_text("")
    Path("folder.wav").mkdir()
    Path("empty").mkdir()
    Path("latin.txt").write_bytes("caf\u00e9".encode("latin-1"))
    before = sorted(Path().rglob("*"))
    if arguments and "-o" not in arguments:
        arguments = [*arguments, "-o", "a.wav"]
    error, hint = refusal(speak(*arguments, *([] if arguments else ["-o", "a.wav"])))
    assert message in error
    assert advice in hint
    assert sorted(Path().rglob("*")) == before


def test_voice_and_output_must_be_given(
    speak: Command, monkeypatch: pytest.MonkeyPatch, refusal: Refusal
) -> None:
    assert "nowhere to go" in refusal(speak(TEXT))[0]
    monkeypatch.delenv("MLX_SPEECH_VOICE")
    error, hint = refusal(speak(TEXT, "-o", "a.wav"))
    assert "no voice is chosen" in error
    assert "train-vits" in hint


def test_a_seed_out_of_range_is_wrong_usage(speak: Command) -> None:
    for seed in ("-1", str(2**63), "one"):
        assert speak(TEXT, "-o", "a.wav", "--seed", seed)[0] == 2


def test_a_truncated_voice(
    speak: Command, trained: Path, tmp_path: Path, refusal: Refusal
) -> None:
    shutil.copytree(trained / "model", tmp_path / "cut")
    weights = tmp_path / "cut" / "model.safetensors"
    os.truncate(weights, weights.stat().st_size - 100)
    error, hint = refusal(speak(TEXT, "-m", "cut", "-o", "a.wav"))
    assert "`cut/model.safetensors` is truncated" in error
    assert "again" in hint
    assert not Path("a.wav").exists()


def test_a_malicious_voice_is_refused_and_not_executed(
    speak: Command, refusal: Refusal
) -> None:
    command = "touch executed"
    pickle = b"\x80\x02cos\nsystem\n(X" + struct.pack("<I", len(command))
    with zipfile.ZipFile("G_1.pth", "w") as archive:
        archive.writestr("archive/data.pkl", pickle + command.encode() + b"tR.")
    Path("config.json").write_text(
        '{"model": {}, "data": {"sampling_rate": 8000, "filter_length": 512,'
        ' "hop_length": 256, "win_length": 512}}'
    )
    error, _ = refusal(speak(TEXT, "-m", "G_1.pth", "-o", "a.wav"))
    assert "was refused: it asks for `os.system`" in error
    assert not Path("executed").exists()


def test_a_run_without_a_finished_model(
    speak: Command, trained: Path, tmp_path: Path, refusal: Refusal
) -> None:
    shutil.copytree(trained / "checkpoints", tmp_path / "run" / "checkpoints")
    error, hint = refusal(speak(TEXT, "-m", "run", "-o", "a.wav"))
    assert "the training run `run` has no finished model yet" in error
    assert "--resume" in hint
