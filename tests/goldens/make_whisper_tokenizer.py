"""Write ``whisper_tokenizer.json``: what openai-whisper's tokenizers give.

python tests/goldens/make_whisper_tokenizer.py      # needs openai-whisper 20250625
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from whisper.tokenizer import LANGUAGES, TO_LANGUAGE_CODE, get_tokenizer

TEXTS = [
    "",
    " ",
    "  two  spaces\n\tand a tab ",
    " Hello, world! It's 3.14 o'clock -- isn't it?",
    " Fünf schöne Äpfel kosten 12,50 €.",
    " Ça va très bien, n'est-ce pas ?",
    " Съешь же ещё этих мягких булок.",
    "我们今天去看电影，好吗？",  # noqa: RUF001
    "今日は天気がいいですね。カタカナもある。",
    "วันนี้อากาศดีมาก",
    "안녕하세요 세계",
    "مرحبا بالعالم",
    "नमस्ते दुनिया",
    "🎉👩‍👩‍👧‍👦 emoji ♪ la la ♪",
    "[MUSIC] (laughs) «quoted» “curly”",
    "a\u0301 combining, \u00a0no-break, \u200bzero width, \ufffd replaced",
    "MixedCASE snake_case http://example.com/x?y=z#w 1,000,000",
    "é" * 7 + "!" * 9 + " " * 5 + "x",
]
MODELS = {"51864": (False, 99), "51865": (True, 99), "51866": (True, 100)}


def describe(multilingual: bool, languages: int) -> dict[str, Any]:
    """Everything about one kind of model."""
    tokenizer = get_tokenizer(
        multilingual, num_languages=languages, language="en", task="transcribe"
    )
    draw = random.Random(languages)
    pool = [[draw.randrange(tokenizer.eot) for _ in range(12)] for _ in range(6)]
    ids = [tokenizer.encode(text) for text in TEXTS]
    begin = tokenizer.timestamp_begin
    pool += [[begin, *tokens[:20], begin + 57, tokenizer.eot] for tokens in ids]
    # Cut in the middle of characters.
    pool += [tokens[1:-1] for tokens in ids if len(tokens) > 4]
    sots = {}
    if multilingual:
        for language in ("en", "de", "ja", "haw", "German", "mandarin"):
            for task in ("transcribe", "translate"):
                made = get_tokenizer(
                    True, num_languages=languages, language=language, task=task
                )
                sots[f"{language} {task}"] = [
                    made.sot_sequence,
                    made.sot_sequence_including_notimestamps,
                ]
    else:
        sots["en transcribe"] = [
            tokenizer.sot_sequence,
            tokenizer.sot_sequence_including_notimestamps,
        ]
    splits = []
    for language in ("en", "de", "ja", "zh", "th"):
        made = get_tokenizer(multilingual, num_languages=languages, language=language)
        # An English tokenizer drops its language; its rules for others are the same.
        made.language = language
        for tokens in pool:
            try:
                words, groups = made.split_to_word_tokens(tokens)
            except IndexError:  # some transcripts that end inside a character
                splits.append([language, None, None])
            else:
                splits.append([language, words, [len(group) for group in groups]])
    names = "eot sot translate transcribe sot_lm sot_prev no_speech no_timestamps"
    return {
        "special": {
            name: getattr(tokenizer, name)
            for name in (*names.split(), "timestamp_begin")
        },
        "names": {
            name: token
            for name, token in sorted(tokenizer.special_tokens.items())
            if token < begin or (token - begin) % 150 == 0
        },
        # openai-whisper lists them in the order of a set: any.
        "languages": dict(
            sorted(
                zip(
                    tokenizer.all_language_codes,
                    tokenizer.all_language_tokens,
                    strict=True,
                ),
                key=lambda item: item[1],
            )
        ),
        "ids": ids,
        "pool": pool,
        "decoded": [tokenizer.decode(tokens) for tokens in pool],
        "decoded_with_timestamps": [
            tokenizer.decode_with_timestamps(tokens) for tokens in pool
        ],
        "splits": splits,
        "sot_sequences": sots,
        "non_speech": tokenizer.non_speech_tokens,
        "size": tokenizer.encoding.n_vocab,
    }


def main() -> None:
    """Store one description per vocabulary size."""
    golden = {
        "texts": TEXTS,
        "language_names": LANGUAGES,
        "language_codes": TO_LANGUAGE_CODE,
        "models": {size: describe(*kind) for size, kind in MODELS.items()},
    }
    target = Path(__file__).with_name("whisper_tokenizer.json")
    target.write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
