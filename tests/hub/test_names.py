"""Short names, repositories and their revisions."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlx_speech.errors import SpeechError
from mlx_speech.hub.names import SHORT_NAMES, published
from mlx_speech.hub.resolve import resolve

REPO = "someone/small-model"


def test_every_whisper_name_is_known() -> None:
    sizes = ["tiny", "base", "small", "medium"]
    names = [*sizes, *(f"{size}.en" for size in sizes), "large-v1", "large-v2"]
    for name in [*names, "large-v3", "large", "turbo", "distil-large-v3"]:
        wanted = published(name)
        assert wanted.pinned
        assert wanted.revision is not None and len(wanted.revision) == 40
    assert published("turbo").repo == "openai/whisper-large-v3-turbo"
    assert published("large") == published("large-v3")
    commits = {wanted.revision for wanted in SHORT_NAMES.values() if wanted.pinned}
    assert len(commits) == len({w.repo for w in SHORT_NAMES.values() if w.pinned})


def test_a_repository_may_name_its_revision() -> None:
    wanted = published("someone/small-model@pr/1")
    assert (wanted.repo, wanted.revision, wanted.pinned) == (REPO, "pr/1", False)
    assert published(REPO).revision is None


def test_a_misspelt_name_is_corrected() -> None:
    with pytest.raises(SpeechError, match="no model is called 'larg-v3'") as caught:
        resolve("larg-v3")
    assert "large-v3" in caught.value.hint


@pytest.mark.parametrize(
    "name",
    ["owner/..", "owner/.hidden", "owner/name@../../x", "owner/na me", "a@b", "owner/"],
)
def test_no_name_leads_out_of_the_cache(name: str, tmp_path: Path) -> None:
    with pytest.raises(SpeechError, match="no model is called"):
        resolve(name, cache=tmp_path, offline=True)
