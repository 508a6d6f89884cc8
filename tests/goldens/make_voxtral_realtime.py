"""Make voxtral_realtime.npz and .json: transformers' Voxtral Realtime, a tiny model.

Versions: torch 2.13, transformers 5.23, mistral-common 1.13.1.

    OMP_NUM_THREADS=1 python tests/goldens/make_voxtral_realtime.py
    python tests/goldens/make_voxtral_realtime.py --check FOLDER

The second form loads a folder that our own writer made from the recipe's model in
transformers and compares its logits with the golden.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    VoxtralRealtimeConfig,
    VoxtralRealtimeFeatureExtractor,
    VoxtralRealtimeForConditionalGeneration,
    VoxtralRealtimeProcessor,
)
from transformers.tokenization_mistral_common import MistralCommonBackend

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import voxtral_realtime_recipe as recipe  # noqa: E402


def processor(delay_tokens: int) -> VoxtralRealtimeProcessor:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tekken.json"
        path.write_text(json.dumps(recipe.tekken(delay_tokens)))
        tokenizer = MistralCommonBackend(tokenizer_path=str(path))
    return VoxtralRealtimeProcessor(VoxtralRealtimeFeatureExtractor(), tokenizer)


def model() -> VoxtralRealtimeForConditionalGeneration:
    found = VoxtralRealtimeForConditionalGeneration(
        VoxtralRealtimeConfig(**recipe.hf_config())
    )
    arrays = {
        "model." + name.replace("language_model.model.", "language_model."): value
        for name, value in recipe.state().items()
    }
    arrays["lm_head.weight"] = arrays["model.language_model.embed_tokens.weight"]
    tensors = {name: torch.tensor(value) for name, value in arrays.items()}
    found.load_state_dict(tensors, strict=True)
    return found.eval()


def inputs_of(name: str) -> dict[str, Any]:
    # Read by mistral-common as a wav file of 16 bits.
    audio = processor(recipe.CLIPS[name][1])(
        recipe.clip(name), sampling_rate=recipe.base.SAMPLE_RATE, return_tensors="pt"
    )
    return dict(audio)


@torch.no_grad()
def make() -> None:
    hf = model()
    arrays: dict[str, np.ndarray] = {}
    golden: dict[str, Any] = {}
    for name in recipe.CLIPS:
        inputs = inputs_of(name)
        features = inputs["input_features"]
        delay = inputs["num_delay_tokens"]
        ids = hf.generate(**inputs, do_sample=False, eos_token_id=None, pad_token_id=11)
        positions = features.shape[-1] // 8
        assert ids.shape[1] == positions, (ids.shape, positions)
        # All of the answer at once, by the tokens that were generated.
        logits = hf(
            input_ids=ids, input_features=features, num_delay_tokens=delay
        ).logits
        fields = {
            "features": features[0].T,
            "encoder": hf.model.audio_tower(features).last_hidden_state[0],
            "projector": hf.get_audio_features(features).pooler_output[0],
            "logits": logits[0],
        }
        for field, value in fields.items():
            arrays[f"{name}/{field}"] = recipe.sample(field, value.numpy())
        golden[name] = {
            "prompt": inputs["input_ids"][0].tolist(),
            "tokens": ids[0, inputs["input_ids"].shape[1] :].tolist(),
            "delay": int(delay),
        }
        print(name, features.shape, golden[name])
    np.savez_compressed(HERE / "voxtral_realtime.npz", **arrays)
    text = json.dumps(golden, separators=(",", ":"))
    (HERE / "voxtral_realtime.json").write_text(text + "\n")


@torch.no_grad()
def check(folder: str) -> None:
    hf, report = VoxtralRealtimeForConditionalGeneration.from_pretrained(
        folder, output_loading_info=True
    )
    assert not any(report.values()), report
    golden = json.loads((HERE / "voxtral_realtime.json").read_text())["short"]
    ids = torch.tensor([golden["prompt"] + golden["tokens"]])
    inputs = inputs_of("short") | {"input_ids": ids}
    inputs.pop("attention_mask")
    logits = hf.eval()(**inputs).logits[0].numpy()
    with np.load(HERE / "voxtral_realtime.npz") as archive:
        stored = archive["short/logits"]
    gap = np.abs(recipe.sample("logits", logits) - stored).max() / np.abs(stored).max()
    print(f"{gap:.2g}, {hf.config.dtype}, {hf.generation_config}")
    assert gap < 1e-5, gap


if __name__ == "__main__":
    if sys.argv[1:2] == ["--check"]:
        check(*sys.argv[2:])
    else:
        make()
