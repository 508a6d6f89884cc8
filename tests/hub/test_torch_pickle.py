"""Checkpoints of torch, read without torch and without running anything of them."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlx_speech.errors import SpeechError
from mlx_speech.hub.torch_pickle import load_torch_checkpoint

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"


def test_nested_plain_values_and_tensors(tmp_path: Path, torch_tools: Any) -> None:
    writer = torch_tools.Writer()
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    content = {
        "model": {"w": writer.tensor(weight)},
        "iteration": 7,
        "learning_rate": 2e-4,
        "notes": ["é", None, True, (1, 2)],
    }
    loaded = load_torch_checkpoint(writer.save(tmp_path / "G_7.pth", content))
    np.testing.assert_array_equal(loaded["model"]["w"], weight)
    assert loaded["model"]["w"].dtype == np.float32
    del loaded["model"]
    assert loaded == {key: content[key] for key in content if key != "model"}


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("FloatStorage", np.float32),
        ("HalfStorage", np.float16),
        ("DoubleStorage", np.float64),
        ("LongStorage", np.int64),
        ("IntStorage", np.int32),
        ("ByteStorage", np.uint8),
        ("BoolStorage", np.bool_),
    ],
)
def test_storage_kinds(
    tmp_path: Path, torch_tools: Any, kind: str, dtype: type
) -> None:
    writer = torch_tools.Writer()
    values = np.array([0, 1, 1, 0]).astype(dtype)
    path = writer.save(tmp_path / "a.pth", {"x": writer.tensor(values, kind)})
    loaded = load_torch_checkpoint(path)["x"]
    assert loaded.dtype == dtype
    np.testing.assert_array_equal(loaded, values)


def test_bfloat16_becomes_float32(tmp_path: Path, torch_tools: Any) -> None:
    writer = torch_tools.Writer()
    exact = np.array([1.0, -2.5, 3.0e38, 0.0], np.float32)
    bits = (exact.view(np.uint32) >> 16).astype(np.uint16)
    path = writer.save(
        tmp_path / "a.pth", {"x": writer.tensor(bits, "BFloat16Storage")}
    )
    loaded = load_torch_checkpoint(path)["x"]
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded, (bits.astype(np.uint32) << 16).view("f4"))


def test_strided_and_shared_views(tmp_path: Path, torch_tools: Any) -> None:
    writer = torch_tools.Writer()
    base = np.arange(24, dtype=np.float32)
    storage = writer.storage(base)
    path = writer.save(
        tmp_path / "a.pth",
        {
            "transposed": writer.view(storage, 0, (4, 6), (1, 4)),
            "slice": writer.view(storage, 5, (3, 2), (6, 2)),
            "scalar": writer.view(storage, 23, (), ()),
            "empty": writer.view(storage, 0, (0, 3), (3, 1)),
            "expanded": writer.view(storage, 2, (3, 2), (0, 1)),
            "repeated": writer.view(storage, 7, (512,), (0,)),
            "odd step": writer.view(storage, 8, (1, 2), (10**30, 1)),
        },
    )
    loaded = load_torch_checkpoint(path)
    np.testing.assert_array_equal(loaded["transposed"], base.reshape(6, 4).T)
    np.testing.assert_array_equal(loaded["slice"], [[5, 7], [11, 13], [17, 19]])
    assert loaded["scalar"] == 23
    assert loaded["empty"].shape == (0, 3)
    np.testing.assert_array_equal(loaded["expanded"], [[2, 3]] * 3)
    np.testing.assert_array_equal(loaded["repeated"], np.full(512, 7))
    np.testing.assert_array_equal(loaded["odd step"], [[8, 9]])
    assert np.shares_memory(loaded["transposed"], loaded["slice"])


def test_parameters_sizes_and_devices(tmp_path: Path, torch_tools: Any) -> None:
    t = torch_tools
    writer = t.Writer()
    tensor = writer.tensor(np.ones(2, np.float32))
    parameter = t.Call(
        t.Global("torch._utils", "_rebuild_parameter"), (tensor, True, None)
    )
    path = writer.save(
        tmp_path / "a.pth",
        {
            "p": parameter,
            "size": t.Call(t.Global("torch", "Size"), ([2, 3],)),
            "device": t.Call(t.Global("torch", "device"), ("cuda", 0)),
        },
    )
    loaded = load_torch_checkpoint(path)
    np.testing.assert_array_equal(loaded["p"], [1, 1])
    assert loaded["size"] == (2, 3)
    assert loaded["device"] == "cuda:0"


def test_settings_objects_become_dictionaries(tmp_path: Path, torch_tools: Any) -> None:
    t = torch_tools
    kind = t.Global("utils", "HParams")
    inner = t.Instance(kind, {"hop_length": 640})
    content = {"config": t.Instance(kind, {"data": inner, "name": "x"})}
    loaded = load_torch_checkpoint(t.Writer().save(tmp_path / "a.pth", content))
    assert loaded == {"config": {"data": {"hop_length": 640}, "name": "x"}}


@pytest.mark.parametrize("magic", [b"05", b"06"])
def test_overwritten_first_bytes(
    tmp_path: Path, torch_tools: Any, magic: bytes
) -> None:
    writer = torch_tools.Writer()
    path = writer.save(tmp_path / "a.pth", {"x": writer.tensor(np.ones(3, np.float32))})
    content = path.read_bytes()
    path.write_bytes(magic + content[2:])
    np.testing.assert_array_equal(load_torch_checkpoint(path)["x"], [1, 1, 1])


def test_only_leaves_the_storages_of_other_keys_unread(
    tmp_path: Path, torch_tools: Any
) -> None:
    writer = torch_tools.Writer()
    content = {
        "model": writer.tensor(np.ones(3, np.float32)),
        "optimizer": writer.tensor(np.ones(4, np.float32)),
    }
    del writer.storages["1"]
    path = writer.save(tmp_path / "a.pth", content)
    assert list(load_torch_checkpoint(path, only=("model",))) == ["model"]
    with pytest.raises(SpeechError, match="lacks its member"):
        load_torch_checkpoint(path)


@pytest.mark.parametrize("name", ["torch_zip", "torch_stream"])
def test_files_that_torch_wrote(name: str) -> None:
    loaded = load_torch_checkpoint(GOLDENS / f"{name}.pth")
    with np.load(GOLDENS / "torch_checkpoint.npz") as expected:
        assert set(loaded["model"]) == set(expected.files)
        for key in expected.files:
            np.testing.assert_array_equal(loaded["model"][key], expected[key])
            assert loaded["model"][key].dtype == expected[key].dtype
    assert loaded["iteration"] == 12
    assert loaded["learning_rate"] == 1.5e-4
    assert loaded["optimizer"]["param_groups"][0]["betas"] == (0.8, 0.99)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("subprocess", "Popen"),
        ("numpy", "load"),
        ("collections", "OrderedDict.fromkeys"),
        ("torch.storage", "_load_from_bytes"),
        ("utils", "HParams.__init__"),
    ],
)
@pytest.mark.parametrize("form", ["zip", "stream", "plain pickle"])
def test_a_malicious_pickle_is_refused_and_not_run(
    tmp_path: Path, torch_tools: Any, module: str, name: str, form: str
) -> None:
    t = torch_tools
    mark = tmp_path / "executed"
    attack = {"model": t.Call(t.Global(module, name), (f"touch {mark}",))}
    path = tmp_path / "evil.pth"
    if form == "zip":
        t.Writer().save(path, attack)
    elif form == "stream":
        t.Writer().save_stream(path, attack)
    else:
        path.write_bytes(t.pickled(attack))
    with pytest.raises(SpeechError) as caught:
        load_torch_checkpoint(path)
    assert f"`{module}.{name}`" in caught.value.message
    assert "nothing of it was run" in caught.value.hint
    assert not mark.exists()


def test_the_attack_of_the_tests_does_run_in_an_ordinary_unpickler(
    tmp_path: Path, torch_tools: Any
) -> None:
    mark = tmp_path / "executed"
    command = torch_tools.Call(torch_tools.Global("os", "system"), (f"touch '{mark}'",))
    pickle.loads(torch_tools.pickled(command))
    assert mark.exists()


def test_a_pickle_cannot_edit_what_it_was_given(
    tmp_path: Path, torch_tools: Any
) -> None:
    t = torch_tools
    writer = t.Writer()
    tensor = writer.tensor(np.ones(2, np.float32))
    rebuild = t.Global("torch._utils", "_rebuild_tensor_v2")
    for number, target in enumerate((tensor, writer.storage(np.ones(2)), rebuild)):
        edit = t.Edit(target, (None, {"shape": (10**6,), "value": "device"}))
        path = writer.save(tmp_path / f"{number}.pth", {"x": edit})
        with pytest.raises(SpeechError, match="an edit of"):
            load_torch_checkpoint(path)


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (0, (5,), (1,)),
        (2, (3,), (1,)),
        (0, (2, 2), (3, 1)),
        (-1, (2,), (1,)),
        (0, (2,), (-1,)),
        (0, (2,), (1, 1)),
        (0, (2.0,), (1,)),
        # Far more elements than the storage has: one repeated, several overlapping,
        # none at all, too many axes.
        (0, (10**12,), (0,)),
        (3, (2**9, 2**9), (0, 0)),
        (0, (2**15, 2**15, 2), (0, 0, 1)),
        (0, (0, 10**30), (1, 1)),
        (0, (1,) * 100, (1,) * 100),
    ],
)
def test_a_tensor_that_its_storage_does_not_hold_is_refused(
    tmp_path: Path, torch_tools: Any, offset: int, shape: tuple, strides: tuple
) -> None:
    writer = torch_tools.Writer()
    storage = writer.storage(np.ones(4, np.float32))
    path = writer.save(
        tmp_path / "a.pth", {"x": writer.view(storage, offset, shape, strides)}
    )
    with pytest.raises(SpeechError, match="corrupt: a tensor of shape"):
        load_torch_checkpoint(path)


def test_a_storage_of_another_size_is_refused(tmp_path: Path, torch_tools: Any) -> None:
    writer = torch_tools.Writer()
    content = {"x": writer.tensor(np.ones(4, np.float32))}
    writer.storages["0"] += b"\0\0\0\0"
    path = writer.save(tmp_path / "a.pth", content)
    with pytest.raises(SpeechError, match="has 20 bytes where its pickle says 16"):
        load_torch_checkpoint(path)


def test_a_storage_key_that_is_a_path_is_refused(
    tmp_path: Path, torch_tools: Any
) -> None:
    t = torch_tools
    kind = t.Global("torch", "FloatStorage")
    storage = t.Reference(("storage", kind, "../data.pkl", "cpu", 1))
    writer = t.Writer()
    path = writer.save(tmp_path / "a.pth", {"x": writer.view(storage, 0, (1,), (1,))})
    with pytest.raises(SpeechError, match="strange storage"):
        load_torch_checkpoint(path)


def test_member_names_that_leave_the_archive_are_refused(
    tmp_path: Path, torch_tools: Any
) -> None:
    path = torch_tools.Writer().save(tmp_path / "a.pth", {})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../../outside", "x")
    with pytest.raises(SpeechError, match="outside"):
        load_torch_checkpoint(path)


def test_compressed_members_are_refused(tmp_path: Path, torch_tools: Any) -> None:
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", torch_tools.pickled({}))
    with pytest.raises(SpeechError, match="compressed"):
        load_torch_checkpoint(path)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.95])
@pytest.mark.parametrize("name", ["torch_zip", "torch_stream"])
def test_truncated_files(tmp_path: Path, name: str, keep: float) -> None:
    content = (GOLDENS / f"{name}.pth").read_bytes()
    path = tmp_path / "cut.pth"
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(SpeechError, match="truncated"):
        load_torch_checkpoint(path)


def test_flipped_bytes_never_escape_as_another_exception(tmp_path: Path) -> None:
    content = (GOLDENS / "torch_stream.pth").read_bytes()
    generator = np.random.default_rng(0)
    path = tmp_path / "damaged.pth"
    refused = 0
    for _ in range(200):
        damaged = bytearray(content)
        damaged[generator.integers(len(content))] = generator.integers(256)
        path.write_bytes(damaged)
        try:
            load_torch_checkpoint(path)
        except SpeechError:
            refused += 1
    # Flips among a tensor's numbers load as other numbers; the rest must be noticed.
    assert 0 < refused < 200


def test_objects_that_share_parts_do_not_multiply(
    tmp_path: Path, torch_tools: Any
) -> None:
    # Forty levels of [previous, previous], written once each and named by the memo.
    body = b"]q\x000"
    for level in range(40):
        previous = b"h" + bytes([level])
        body += b"](" + previous * 2 + b"eq" + bytes([level + 1]) + b"0"
    body += b"h" + bytes([40])
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w") as archive:
        content = b"\x80\x02}X\x01\x00\x00\x00x" + body + b"s."
        archive.writestr("archive/data.pkl", content)
    value = load_torch_checkpoint(path)["x"]
    assert value[0] is value[1]


def test_endless_nesting_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}q\x00X\x01\x00\x00\x00xh\x00s.")
    with pytest.raises(SpeechError, match="nests its objects without end"):
        load_torch_checkpoint(path)


def test_files_that_are_no_checkpoints(tmp_path: Path, torch_tools: Any) -> None:
    path = tmp_path / "a.pth"
    cases = [
        (b"", "is not a torch checkpoint"),
        (b"hello, world", "is not a torch checkpoint"),
        (torch_tools.pickled({"a": 1}), "not one that torch.save wrote"),
    ]
    for content, message in cases:
        path.write_bytes(content)
        with pytest.raises(SpeechError, match=message):
            load_torch_checkpoint(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "x")
    with pytest.raises(SpeechError, match="no torch checkpoint"):
        load_torch_checkpoint(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", torch_tools.pickled({}))
        archive.writestr("a/constants.pkl", "x")
    with pytest.raises(SpeechError, match="TorchScript"):
        load_torch_checkpoint(path)
    with pytest.raises(SpeechError, match="No such file"):
        load_torch_checkpoint(tmp_path / "absent.pth")
    torch_tools.Writer().save(path, [1])
    with pytest.raises(SpeechError, match="holds a list, not a dictionary"):
        load_torch_checkpoint(path)
    assert os.listdir(tmp_path) == ["a.pth"]
