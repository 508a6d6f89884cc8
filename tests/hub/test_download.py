"""Models are looked up and downloaded on a hub that we fake, and failures explained."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import pytest

from mlx_speech.errors import SpeechError
from mlx_speech.hub import download
from mlx_speech.hub.download import Download
from mlx_speech.hub.resolve import resolve

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "someone/small-model"
FILES = {
    "config.json": b'{"model_type": "whisper"}',
    "model.safetensors": b"weights" * 1000,
    "pytorch_model.bin": b"the same once more" * 1000,
    "README.md": b"about",
    "tokenizer.json": b"{}",
}
INDEX = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
INDEX["weight_map"]["b"] = "model-00002-of-00002.safetensors"


class FakeHub:
    """A server with one repository, speaking what huggingface_hub asks for."""

    def __init__(self) -> None:
        self.files = dict(FILES)
        self.revisions = {"main", COMMIT}
        self.asked: list[str] = []
        self.declared: dict[str, int] = {}
        self.cut_short = False
        self.refusal: tuple[int, str] | None = None
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                hub.answer(self, body=False)

            def do_GET(self) -> None:
                hub.answer(self, body=True)

            def log_message(self, *arguments: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        serve = self.server.serve_forever
        threading.Thread(target=serve, args=(0.02,), daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler, body: bool) -> None:
        path = unquote(urlsplit(request.path).path)
        self.asked.append(path)
        headers = {"X-Repo-Commit": COMMIT}
        content, code = b"", 200
        if self.refusal is not None:
            code, headers["X-Error-Code"] = self.refusal
        elif REPO not in path:
            code, headers["X-Error-Code"] = 404, "RepoNotFound"
        elif "/resolve/" in path:
            name = path.split("/resolve/")[1].split("/", 1)[1]
            content = self.files[name]
            headers["ETag"] = f'"{hashlib.sha1(content).hexdigest()}"'
        elif "/tree/" in path:
            content = json.dumps(
                [
                    {"type": "file", "path": name, "size": len(data), "oid": "0" * 40}
                    for name, data in self.files.items()
                ]
            ).encode()
        elif path.rsplit("/", 1)[-1] in self.revisions or path.endswith(REPO):
            siblings = [
                {"rfilename": name, "size": self.declared.get(name, len(data))}
                for name, data in self.files.items()
            ]
            info = {"id": REPO, "sha": COMMIT, "siblings": siblings}
            content = json.dumps(info).encode()
        else:
            code, headers["X-Error-Code"] = 404, "RevisionNotFound"
        request.send_response(code)
        for key, value in headers.items():
            request.send_header(key, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if body and self.cut_short and b"weights" in content:
            request.connection.shutdown(socket.SHUT_RDWR)
        elif body:
            request.wfile.write(content)


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    fake = FakeHub()
    yield fake
    fake.server.shutdown()
    fake.server.server_close()


def test_a_cached_model_needs_no_network(
    tmp_path: Path, hub: FakeHub, put_in_cache: Callable[..., Path]
) -> None:
    files = {name: FILES[name] for name in ("config.json", "model.safetensors")}
    snapshot = put_in_cache(tmp_path, REPO, files, COMMIT)
    assert resolve(REPO, cache=tmp_path, endpoint=hub.address) == snapshot
    assert resolve(f"{REPO}@{COMMIT}", cache=tmp_path, offline=True) == snapshot
    assert hub.asked == []


def test_only_what_is_needed_is_downloaded(
    tmp_path: Path, hub: FakeHub, capfd: pytest.CaptureFixture[str]
) -> None:
    reports: list[Download] = []
    folder = resolve(
        REPO, cache=tmp_path, endpoint=hub.address, on_download=reports.append
    )
    names = {"config.json", "model.safetensors", "tokenizer.json"}
    assert {path.name for path in folder.iterdir()} == names
    for name in names:
        assert (folder / name).read_bytes() == FILES[name]
    total = sum(len(FILES[name]) for name in names)
    assert reports[0] == Download(REPO, 0, total)
    assert reports[-1] == Download(REPO, total, total)
    assert capfd.readouterr().out == ""
    hub.asked.clear()
    assert resolve(REPO, cache=tmp_path, endpoint=hub.address) == folder
    assert hub.asked == []


def test_progress_is_reported_while_the_bytes_arrive(tmp_path: Path) -> None:
    reports: list[Download] = []
    (tmp_path / "older").write_bytes(b"x" * 500)
    with download._reporting(tmp_path, REPO, 1000, reports.append):
        (tmp_path / "partial").write_bytes(b"x" * 300)
        time.sleep(2.5 * download.REPORT_SECONDS)
    assert [report.done for report in reports][:2] == [0, 300]
    assert reports[-1].done == 1000


def test_what_is_cached_already_does_not_count(
    tmp_path: Path, hub: FakeHub, put_in_cache: Callable[..., Path]
) -> None:
    put_in_cache(tmp_path, REPO, {"config.json": FILES["config.json"]}, COMMIT)
    reports: list[Download] = []
    resolve(REPO, cache=tmp_path, endpoint=hub.address, on_download=reports.append)
    assert reports[0].total == sum(
        len(FILES[name]) for name in ("model.safetensors", "tokenizer.json")
    )


def test_shards_are_downloaded_with_their_index(tmp_path: Path, hub: FakeHub) -> None:
    del hub.files["model.safetensors"]
    shards = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}
    hub.files |= {name: b"weights" for name in shards}
    hub.files["model.fp32-00001-of-00001.safetensors"] = b"larger"
    hub.files["model.safetensors.index.json"] = json.dumps(INDEX).encode()
    folder = resolve(f"{REPO}@main", cache=tmp_path, endpoint=hub.address)
    kept = {path.name for path in folder.iterdir()}
    assert kept == {"config.json", "tokenizer.json", *shards} | {
        "model.safetensors.index.json"
    }


def test_voxtral_comes_with_its_tokenizer_and_once(
    tmp_path: Path, hub: FakeHub
) -> None:
    """Mistral's repositories hold the same weights in its own layout too."""
    for name in ("tekken.json", "params.json", "consolidated.safetensors"):
        hub.files[name] = b"{}"
    folder = resolve(REPO, cache=tmp_path, endpoint=hub.address)
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "model.safetensors",
        "tekken.json",
        "tokenizer.json",
    }


def test_names_from_the_network_stay_inside(tmp_path: Path, hub: FakeHub) -> None:
    hub.files["../../../../escaped.json"] = b"{}"
    hub.files["sub/tokenizer.json"] = b"{}"
    hub.files["model-1-of-../../1.safetensors"] = b"w"
    resolve(REPO, cache=tmp_path / "a" / "cache", endpoint=hub.address)
    assert not any("escaped" in path or "sub/" in path for path in hub.asked)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["cache"]


def test_offline_never_asks(
    tmp_path: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SpeechError, match="this run is offline") as caught:
        resolve(
            "turbo",
            cache=tmp_path,
            endpoint=hub.address,
            offline=True,
            otherwise="or do something else",
        )
    assert "openai/whisper-large-v3-turbo" in caught.value.message
    assert caught.value.hint.endswith("or do something else")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SpeechError, match="this run is offline"):
        resolve(REPO, cache=tmp_path, endpoint=hub.address)
    assert hub.asked == []


def test_a_hub_that_refuses_connections_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(SpeechError, match="cannot be reached") as caught:
            resolve("tiny", cache=tmp_path, endpoint=address)
    assert "`tiny` (openai/whisper-tiny) is not on this machine" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_hub_that_never_answers_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "REACH_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        begin = time.monotonic()
        with pytest.raises(SpeechError, match="cannot be reached"):
            resolve(REPO, cache=tmp_path, endpoint=address)
    assert time.monotonic() - begin < 3


def test_a_name_look_up_that_hangs_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "REACH_SECONDS", 0.2)
    release = threading.Event()
    monkeypatch.setattr(download, "_model_info", lambda *a: release.wait(10))
    with pytest.raises(SpeechError, match=r"no answer within 0\.2 s"):
        resolve(REPO, cache=tmp_path, endpoint="http://nowhere.invalid")
    release.set()


@pytest.mark.parametrize(
    ("refusal", "message"),
    [
        ((404, "RepoNotFound"), "has no model `someone/small-model`"),
        ((401, "GatedRepo"), "accepted its terms"),
        ((403, "GatedRepo"), "accepted its terms"),
        ((503, "Overloaded"), "cannot be reached"),
    ],
)
def test_refusals_are_explained(
    refusal: tuple[int, str], message: str, tmp_path: Path, hub: FakeHub
) -> None:
    hub.refusal = refusal
    with pytest.raises(SpeechError, match=message):
        resolve(REPO, cache=tmp_path, endpoint=hub.address)


def test_an_unknown_revision_is_named(tmp_path: Path, hub: FakeHub) -> None:
    with pytest.raises(SpeechError, match="no revision `v9`"):
        resolve(f"{REPO}@v9", cache=tmp_path, endpoint=hub.address)


def test_a_repository_without_weights_says_what_it_has(
    tmp_path: Path, hub: FakeHub
) -> None:
    del hub.files["model.safetensors"]
    with pytest.raises(SpeechError, match=r"\(but pytorch_model.bin\)"):
        resolve(REPO, cache=tmp_path, endpoint=hub.address)


def test_a_full_disk_is_noticed_before_the_download(
    tmp_path: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.declared = {"model.safetensors": 3_090_000_000}
    usage = SimpleNamespace(free=1_000_000_000)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(SpeechError, match=r"3\.09 GB, but only 1\.00 GB are free"):
        resolve(REPO, cache=tmp_path / "not yet", endpoint=hub.address)
    assert not any("/resolve/" in path for path in hub.asked)


def test_a_broken_download_can_be_repeated(
    tmp_path: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between its retries
    hub.cut_short = True
    with pytest.raises(SpeechError, match="broke off") as caught:
        resolve(REPO, cache=tmp_path, endpoint=hub.address)
    assert "again" in caught.value.hint
    with pytest.raises(SpeechError, match="is not on this machine"):
        resolve(REPO, cache=tmp_path, offline=True)
    hub.cut_short = False
    folder = resolve(REPO, cache=tmp_path, endpoint=hub.address)
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
