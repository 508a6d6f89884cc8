"""Vocabularies: OpenAI's come along, a model folder may bring its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlx_speech.errors import SpeechError
from mlx_speech.whisper.checkpoints import save_whisper
from mlx_speech.whisper.config import WhisperConfig
from mlx_speech.whisper.model import Whisper
from mlx_speech.whisper.tokenizer import Tokenizer
from mlx_speech.whisper.vocabulary import (
    RANKS_FILE,
    SPECIAL_FILE,
    SpecialTokens,
    Vocabulary,
    openai_vocabulary,
    read_vocabulary,
    write_vocabulary,
)


def small() -> Vocabulary:
    """All bytes, and two pieces of several."""
    pieces = [bytes([value]) for value in range(256)] + [b"th", b"the"]
    ranks = {piece: rank for rank, piece in enumerate(pieces)}
    special = SpecialTokens.following(len(ranks), ("en", "de"), timestamps=101)
    return Vocabulary(ranks, special, multilingual=True)


def test_a_vocabulary_survives_its_folder(tmp_path: Path) -> None:
    write_vocabulary(tmp_path, small())
    read = read_vocabulary(tmp_path)
    assert read is not None
    assert read.ranks == small().ranks
    assert read.special == small().special
    assert read.multilingual
    assert read.size == 258 + 2 + 2 + 6 + 101


def test_a_small_vocabulary_encodes_and_decodes(tmp_path: Path) -> None:
    write_vocabulary(tmp_path, small())
    vocabulary = read_vocabulary(tmp_path)
    assert vocabulary is not None
    tokenizer = Tokenizer(vocabulary)
    assert tokenizer.encode("the ü") == [257, ord(" "), *"ü".encode()]
    assert tokenizer.decode([257, 32, *"ü".encode(), vocabulary.size - 1]) == "the ü"
    assert tokenizer.sot_sequence("de") == (259, 261, 263)
    last = tokenizer.decode_with_timestamps([vocabulary.size - 1])
    assert last == "<|2.00|>"


def test_a_folder_without_a_vocabulary_has_none(tmp_path: Path) -> None:
    assert read_vocabulary(tmp_path) is None


@pytest.mark.parametrize("name", [RANKS_FILE, SPECIAL_FILE])
def test_half_a_vocabulary_is_refused(tmp_path: Path, name: str) -> None:
    write_vocabulary(tmp_path, small())
    (tmp_path / name).unlink()
    with pytest.raises(SpeechError, match=name):
        read_vocabulary(tmp_path)


@pytest.mark.parametrize(
    "text", ["not base64!!! 0\n", "YQ== zero\n", "YQ==\n", "YQ== 1\n", "YQ== 0\nYg== 0"]
)
def test_malformed_ranks_are_refused(tmp_path: Path, text: str) -> None:
    write_vocabulary(tmp_path, small())
    (tmp_path / RANKS_FILE).write_text(text)
    with pytest.raises(SpeechError, match=RANKS_FILE):
        read_vocabulary(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"multilingual": true, "eot": 1}'])
def test_malformed_special_tokens_are_refused(tmp_path: Path, text: str) -> None:
    write_vocabulary(tmp_path, small())
    (tmp_path / SPECIAL_FILE).write_text(text)
    with pytest.raises(SpeechError, match=SPECIAL_FILE):
        read_vocabulary(tmp_path)


def test_special_ids_among_the_text_are_refused(tmp_path: Path) -> None:
    write_vocabulary(tmp_path, small())
    table = json.loads((tmp_path / SPECIAL_FILE).read_text())
    table["eot"] = 100
    (tmp_path / SPECIAL_FILE).write_text(json.dumps(table))
    with pytest.raises(SpeechError, match="100"):
        read_vocabulary(tmp_path)


def test_a_model_of_another_size_needs_its_own_vocabulary() -> None:
    with pytest.raises(SpeechError, match="1234 tokens"):
        openai_vocabulary(1234)


def test_a_bundled_vocabulary_is_loaded_once() -> None:
    assert openai_vocabulary(51865) is openai_vocabulary(51865)


def test_a_saved_model_keeps_its_vocabulary(tmp_path: Path) -> None:
    model = Whisper(
        WhisperConfig(
            **{"n_mels": 8, "n_audio_ctx": 10, "n_audio_state": 16, "n_audio_head": 2},
            **{"n_audio_layer": 1, "n_vocab": small().size, "n_text_ctx": 16},
            **{"n_text_state": 16, "n_text_head": 2, "n_text_layer": 1},
        )
    )
    (tmp_path / "from").mkdir()
    write_vocabulary(tmp_path / "from", small())
    model.folder = tmp_path / "from"
    save_whisper(tmp_path / "to", model)
    read = read_vocabulary(tmp_path / "to")
    assert read is not None
    assert read.special == small().special
