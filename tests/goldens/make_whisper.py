"""Make whisper.npz, whisper_openai.pt and whisper_hf.bin.

Versions: torch 2.13, transformers 5.23, openai-whisper 20250625.

    python tests/goldens/make_whisper.py
    python tests/goldens/make_whisper.py --check FOLDER NAME

The second form loads a folder that our own writer made from the recipe's model NAME in
transformers and compares its logits with the golden.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
import whisper.model as openai
from transformers import WhisperConfig, WhisperForConditionalGeneration

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import whisper_recipe as recipe  # noqa: E402


def hf_model(name: str) -> WhisperForConditionalGeneration:
    model = WhisperForConditionalGeneration(WhisperConfig(**recipe.hf_config(name)))
    arrays = {f"model.{key}": torch.tensor(v) for key, v in recipe.state(name).items()}
    arrays["proj_out.weight"] = arrays["model.decoder.embed_tokens.weight"]
    model.load_state_dict(arrays, strict=True)
    return model.eval()


def openai_model(name: str) -> openai.Whisper:
    model = openai.Whisper(openai.ModelDimensions(**recipe.openai_dims(name)))
    arrays = {
        recipe.to_openai_name(key): torch.tensor(value)
        for key, value in recipe.state(name).items()
    }
    model.load_state_dict(arrays, strict=True)
    return model.eval()


@torch.no_grad()
def hf_fields(name: str) -> dict[str, np.ndarray]:
    model = hf_model(name)
    mel = torch.tensor(recipe.mel(name)).transpose(1, 2)
    tokens = torch.tensor(recipe.tokens(name))
    features = model.model.encoder(mel).last_hidden_state
    logits = model(encoder_outputs=(features,), decoder_input_ids=tokens).logits
    pieces, cache = [], None
    for start, end in steps():
        output = model(
            encoder_outputs=(features,),
            decoder_input_ids=tokens[:, start:end],
            past_key_values=cache,
            use_cache=True,
        )
        pieces.append(output.logits)
        cache = output.past_key_values
    return {
        "encoder": features.numpy(),
        "logits": logits.numpy(),
        "logits_cached": torch.cat(pieces, 1).numpy(),
    }


@torch.no_grad()
def openai_fields(name: str) -> dict[str, np.ndarray]:
    model = openai_model(name)
    mel = torch.tensor(recipe.mel(name)).transpose(1, 2)
    tokens = torch.tensor(recipe.tokens(name))
    features = model.encoder(mel)
    scores: list[torch.Tensor | None] = [None] * len(model.decoder.blocks)
    hooks = [
        block.cross_attn.register_forward_hook(
            lambda _module, _in, out, index=index: scores.__setitem__(index, out[-1])
        )
        for index, block in enumerate(model.decoder.blocks)
    ]
    with openai.disable_sdpa():
        logits = model.logits(tokens, features)
    for hook in hooks:
        hook.remove()
    heads = model.alignment_heads.indices().T.tolist()
    chosen = torch.stack([scores[layer][:, head] for layer, head in heads], 1)
    cache, hooks = model.install_kv_cache_hooks()
    pieces = [
        model.decoder(tokens[:, start:end], features, kv_cache=cache)
        for start, end in steps()
    ]
    for hook in hooks:
        hook.remove()
    return {
        "encoder": features.numpy(),
        "logits": logits.numpy(),
        "logits_cached": torch.cat(pieces, 1).numpy(),
        "scores": chosen.numpy(),
    }


def steps() -> list[tuple[int, int]]:
    single = [(at, at + 1) for at in range(recipe.PREFIX, recipe.TOKENS)]
    return [(0, recipe.PREFIX), *single]


def gap(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max() / np.abs(b).max())


def make() -> None:
    fields = {}
    for name in list(recipe.SIZES):
        found = {f"hf/{k}": v for k, v in hf_fields(name).items()}
        if recipe.mlp_sizes(name) == (4 * recipe.SIZES[name]["n_audio_state"],) * 2:
            found |= {f"openai/{k}": v for k, v in openai_fields(name).items()}
            for field in ("encoder", "logits", "logits_cached"):
                print(name, field, gap(found[f"hf/{field}"], found[f"openai/{field}"]))
        for field, value in found.items():
            fields[f"{name}/{field}"] = recipe.sample(field, value)
    np.savez_compressed(HERE / "whisper.npz", **fields)
    recipe.SIZES["stored"] = recipe.STORED
    make_openai_file()
    # What transformers wrote before safetensors: the tied layer is stored too.
    torch.save(hf_model("stored").half().state_dict(), HERE / "whisper_hf.bin")


def make_openai_file() -> None:
    """A checkpoint like OpenAI's, half precision, of a model that fits in a file."""
    arrays = {
        recipe.to_openai_name(key): torch.tensor(value).half()
        for key, value in recipe.state("stored").items()
    }
    openai.Whisper(
        openai.ModelDimensions(**recipe.openai_dims("stored"))
    ).load_state_dict(arrays)
    content = {"dims": recipe.openai_dims("stored"), "model_state_dict": arrays}
    torch.save(content, HERE / "whisper_openai.pt")


@torch.no_grad()
def check(folder: str, name: str) -> None:
    model, report = WhisperForConditionalGeneration.from_pretrained(
        folder, output_loading_info=True
    )
    assert not any(report.values()), report
    output = model.eval()(
        torch.tensor(recipe.mel(name)).transpose(1, 2),
        decoder_input_ids=torch.tensor(recipe.tokens(name)),
    )
    with np.load(HERE / "whisper.npz") as golden:
        stored = golden[f"{name}/hf/logits"]
    error = gap(recipe.sample("logits", output.logits.numpy()), stored)
    print(f"{name}: {error:.2g}, {model.config.dtype}, {model.generation_config}")
    assert error < 1e-5, error


if __name__ == "__main__":
    if sys.argv[1:2] == ["--check"]:
        check(*sys.argv[2:])
    else:
        make()
