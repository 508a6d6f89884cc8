"""Make voxtral.npz and voxtral.json: transformers' Voxtral on the recipe's tiny model.

Versions: torch 2.13, transformers 5.23, mistral-common 1.13.1.

    OMP_NUM_THREADS=1 python tests/goldens/make_voxtral.py
    python tests/goldens/make_voxtral.py --check FOLDER

The second form loads a folder that our own writer made from the recipe's model in
transformers and compares its logits with the golden.
"""

from __future__ import annotations

import base64
import io
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import mistral_common
import numpy as np
import soundfile
import torch
from transformers import (
    VoxtralConfig,
    VoxtralForConditionalGeneration,
    VoxtralProcessor,
    WhisperFeatureExtractor,
)
from transformers.tokenization_mistral_common import MistralCommonBackend

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import voxtral_recipe as recipe  # noqa: E402

REAL = Path(mistral_common.__file__).parent / "data" / "tekken_240911.json"


def processor(content: dict[str, Any]) -> VoxtralProcessor:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tekken.json"
        path.write_text(json.dumps(content))
        tokenizer = MistralCommonBackend(tokenizer_path=str(path))
    return VoxtralProcessor(WhisperFeatureExtractor(feature_size=128), tokenizer)


def model() -> VoxtralForConditionalGeneration:
    found = VoxtralForConditionalGeneration(VoxtralConfig(**recipe.hf_config()))
    arrays = {memory_name(k): torch.tensor(v) for k, v in recipe.state().items()}
    found.load_state_dict(arrays, strict=True)
    return found.eval()


def memory_name(name: str) -> str:
    """Where transformers 5 keeps what its files call ``name``."""
    if name.startswith("language_model.lm_head"):
        return name.removeprefix("language_model.")
    return "model." + name.replace("language_model.model.", "language_model.")


def transcription(hf: VoxtralProcessor, name: str, language: str | None) -> Any:
    return hf.apply_transcription_request(
        audio=[recipe.clip(name)],
        model_id="voxtral",
        language=language,
        sampling_rate=recipe.SAMPLE_RATE,
        format=["wav"],
    )


def conversation(hf: VoxtralProcessor, name: str) -> Any:
    messages = [
        {
            "role": role,
            "content": said if isinstance(said, str) else list(map(part, said)),
        }
        for role, said in recipe.CONVERSATIONS[name]
    ]
    return hf.apply_chat_template(messages)


def part(content: Any) -> dict[str, str]:
    if isinstance(content, str):
        return {"type": "text", "text": content}
    buffer = io.BytesIO()
    soundfile.write(buffer, recipe.clip(content[1]), recipe.SAMPLE_RATE, format="wav")
    return {"type": "audio", "base64": base64.b64encode(buffer.getvalue()).decode()}


def short(ids: list[int]) -> list[Any]:
    """Ids with each run of audio tokens as [24, how many]."""
    found: list[Any] = []
    for token in ids:
        if token != 24:
            found.append(token)
        elif found and isinstance(found[-1], list):
            found[-1][1] += 1
        else:
            found.append([24, 1])
    return found


def all_prompts(content: dict[str, Any]) -> dict[str, Any]:
    hf = processor(content)
    requests: dict[str, Any] = {
        f"{name} {language}": transcription(hf, name, language)
        for name, language in recipe.TRANSCRIPTIONS
    }
    requests |= {
        f"short {language}": transcription(hf, "short", language)
        for language in recipe.LANGUAGES
    }
    requests |= {name: conversation(hf, name) for name in recipe.CONVERSATIONS}
    return requests


@torch.no_grad()
def make() -> None:
    hf = model()
    requests = all_prompts(recipe.tekken())
    arrays: dict[str, np.ndarray] = {}
    tokens: dict[str, list[int]] = {}
    compared = [f"{name} {language}" for name, language in recipe.TRANSCRIPTIONS]
    for key in [*compared, "two audios", "text before"]:
        inputs = dict(requests[key])
        outputs = hf(**inputs)
        features = inputs["input_features"]
        encoded = hf.model.audio_tower(features).last_hidden_state
        projected = hf.get_audio_features(features).pooler_output
        fields = {
            "features": features.transpose(1, 2),
            "encoder": encoded,
            "projector": projected,
            "logits": outputs.logits[0],
        }
        for field, value in fields.items():
            arrays[f"{key}/{field}"] = recipe.sample(field, value.numpy())
        length = inputs["input_ids"].shape[1]
        generated = hf.generate(
            **inputs,
            max_new_tokens=recipe.GENERATED,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=11,
        )
        tokens[key] = generated[0, length:].tolist()
        print(key, length, tokens[key])
    np.savez_compressed(HERE / "voxtral.npz", **arrays)
    real = json.loads(REAL.read_text())
    golden = {
        "tokens": tokens,
        "prompts": {k: short(r["input_ids"][0].tolist()) for k, r in requests.items()},
        "real_prompts": {
            k: short(r["input_ids"][0].tolist())
            for k, r in all_prompts(recipe.with_audio(real)).items()
        },
    }
    text = json.dumps(golden, separators=(",", ":"))
    (HERE / "voxtral.json").write_text(text + "\n")


@torch.no_grad()
def check(folder: str) -> None:
    hf, report = VoxtralForConditionalGeneration.from_pretrained(
        folder, output_loading_info=True
    )
    assert not any(report.values()), report
    key = "short en"
    inputs = dict(transcription(processor(recipe.tekken()), "short", "en"))
    logits = hf.eval()(**inputs).logits[0].numpy()
    with np.load(HERE / "voxtral.npz") as golden:
        stored = golden[f"{key}/logits"]
    gap = np.abs(recipe.sample("logits", logits) - stored).max() / np.abs(stored).max()
    print(f"{key}: {gap:.2g}, {hf.config.dtype}, {hf.generation_config}")
    assert gap < 1e-5, gap


if __name__ == "__main__":
    if sys.argv[1:2] == ["--check"]:
        check(*sys.argv[2:])
    else:
        make()
