"""Models are found by path, by name, and in the cache of Hugging Face."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mlx_speech.errors import SpeechError
from mlx_speech.hub.names import published
from mlx_speech.hub.resolve import resolve

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "someone/small-model"
INDEX = {
    "weight_map": {
        "a": "model-00001-of-00002.safetensors",
        "b": "model-00002-of-00002.safetensors",
    }
}
MODEL = {"config.json": b"{}", "model.safetensors": b"w"}
Put = Callable[..., Path]


def test_a_path_is_taken_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "large.pt").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert resolve("model") == Path("model")
    assert resolve(tmp_path / "large.pt") == tmp_path / "large.pt"


def test_a_folder_with_a_model_wins_over_a_short_name(
    tmp_path: Path, put_in_cache: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    snapshot = put_in_cache(tmp_path / "cache", "openai/whisper-base", MODEL, COMMIT)
    Path("base").mkdir()
    assert resolve("base", cache="cache", offline=True).samefile(snapshot)
    Path("base/config.json").write_text("{}")
    assert resolve("base", cache="cache", offline=True) == Path("base")


@pytest.mark.parametrize(
    "name",
    ["./none", "/none/at/all", "~/none at all", "a/b/c", "a.pt", Path("none")],
)
def test_a_missing_path_is_no_repository(name: str | Path, tmp_path: Path) -> None:
    with pytest.raises(SpeechError, match="no file or folder"):
        resolve(name, cache=tmp_path, offline=True)


def test_the_pinned_commit_is_preferred_and_another_is_good_enough(
    tmp_path: Path, put_in_cache: Put
) -> None:
    wanted = published("tiny")
    assert wanted.revision is not None
    newest = put_in_cache(tmp_path, wanted.repo, MODEL, COMMIT)
    assert resolve("tiny", cache=tmp_path, offline=True) == newest
    pinned = newest.with_name(wanted.revision)
    shutil.copytree(newest, pinned)
    assert resolve("tiny", cache=tmp_path, offline=True) == pinned


@pytest.mark.parametrize(
    "files",
    [
        {"config.json": b"{}"},
        {"model.safetensors": b"w"},
        {"config.json": b"{}", "model.safetensors.index.json": b"not json"},
        {
            "config.json": b"{}",
            "model.safetensors.index.json": json.dumps(INDEX).encode(),
            "model-00001-of-00002.safetensors": b"w",
        },
        {
            "config.json": b"{}",
            "model.safetensors.index.json": b'{"weight_map": {"a": "../../refs/main"}}',
        },
    ],
)
def test_an_incomplete_snapshot_is_not_taken(
    files: dict[str, bytes], tmp_path: Path, put_in_cache: Put
) -> None:
    put_in_cache(tmp_path, REPO, files, COMMIT)
    with pytest.raises(SpeechError, match="is not on this machine"):
        resolve(REPO, cache=tmp_path, offline=True)


@pytest.mark.parametrize("weights", ["weights.npz", "weights.safetensors"])
def test_models_of_mlx_community_are_complete(
    weights: str, tmp_path: Path, put_in_cache: Put
) -> None:
    files = {"config.json": b"{}", weights: b"w"}
    snapshot = put_in_cache(tmp_path, REPO, files, COMMIT)
    assert resolve(REPO, cache=tmp_path, offline=True) == snapshot
