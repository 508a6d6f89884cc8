"""Write ``whisper_search.json.xz``: what openai-whisper finds in made-up languages.

    python tests/goldens/make_whisper_search.py     # needs openai-whisper 20250625

Its own beam search, greedy decoder, rules and ranking run; the logits are those of
whisper_search_recipe.py.
"""

from __future__ import annotations

import json
import lzma
import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import whisper.decoding as openai

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import whisper_search_recipe as recipe  # noqa: E402
from make_whisper_decoding import Recorder  # noqa: E402

TOKENIZER: Any = SimpleNamespace(
    eot=recipe.EOT,
    no_timestamps=recipe.NO_TIMESTAMPS,
    timestamp_begin=recipe.FIRST_TIME,
    encode=lambda _: [32],
)
INFERENCE: Any = SimpleNamespace(rearrange_kv_cache=lambda _: None)


def search(number: int, window: int, decoder: Any, rows: int) -> dict[str, Any]:
    """The loop over steps of openai-whisper, and its choice."""
    chosen = recipe.case(number)
    # One token stands for the prompt.
    filters: list[Any] = [openai.SuppressBlank(TOKENIZER, 1)]
    if chosen["timestamps"]:
        filters.append(openai.ApplyTimestampRules(TOKENIZER, 1, recipe.LATEST_FIRST))
    tokens = torch.zeros((rows, 1), dtype=torch.long)
    sums = torch.zeros(rows)
    decoder.reset()
    for _ in range(chosen["limit"]):
        made = [recipe.logits(number, window, row[1:]) for row in tokens.tolist()]
        logits = torch.stack([torch.tensor(row) for row in made])
        for rule in filters:
            rule.apply(logits, tokens)
        tokens, completed = decoder.update(tokens, logits, sums)
        if completed:
            break
    groups, totals = decoder.finalize(
        tokens.reshape(1, rows, -1), sums.reshape(1, rows)
    )
    texts = [row.tolist()[1 : row.tolist().index(recipe.EOT)] for row in groups[0]]
    scores = [float(total) for total in totals[0]]
    found: dict[str, Any] = {"tokens": texts, "sums": [round(s, 6) for s in scores]}
    # Nothing at all cannot be ranked by its length.
    if all(texts):
        ranker = openai.MaximumLikelihoodRanker(chosen["penalty"])
        tensors = [[torch.tensor(text) for text in texts]]
        found["best"] = int(ranker.rank(tensors, [scores])[0])
    return found


def run(number: int) -> dict[str, Any]:
    """All that is searched in a case."""
    chosen = recipe.case(number)
    windows = range(chosen["windows"])
    patience = None if chosen["patience"] == 1 else chosen["patience"]

    def beams() -> Any:
        return openai.BeamSearchDecoder(
            chosen["beams"], recipe.EOT, INFERENCE, patience
        )

    def greedy(temperature: float) -> Any:
        return openai.GreedyDecoder(temperature, recipe.EOT)

    found: dict[str, Any] = {
        "beams": [search(number, w, beams(), chosen["beams"]) for w in windows],
        "greedy": [search(number, w, greedy(0), 1) for w in windows],
        "drawn": [],
        "draws": [],
    }
    for window in windows:
        torch.manual_seed(number)
        Recorder.drawn = []
        decoder = greedy(chosen["temperature"])
        found["drawn"].append(search(number, window, decoder, chosen["samples"]))
        found["draws"].append(Recorder.drawn)
    return found


def main() -> None:
    """Store every case without continuations that cannot happen."""
    openai.Categorical = Recorder
    cases = {}
    for number in recipe.CASES:
        found = run(number)
        sums = [s for each in found["beams"] for s in each["sums"]]
        if all(math.isfinite(s) for s in sums):
            cases[number] = found
    packed = lzma.compress(json.dumps(cases).encode(), preset=9)
    (HERE / "whisper_search.json.xz").write_bytes(packed)
    print(len(packed), len(cases))


if __name__ == "__main__":
    main()
