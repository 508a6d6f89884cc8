"""The languages that Whisper models know, in the order of their token ids.

Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision".
"""

from __future__ import annotations

from difflib import get_close_matches

from mlx_speech.errors import SpeechError

# The order is the order of the language tokens: never sort it. Models before
# large-v3 know all but the last.
_TABLE = """
    en=english zh=chinese de=german es=spanish ru=russian ko=korean fr=french
    ja=japanese pt=portuguese tr=turkish pl=polish ca=catalan nl=dutch ar=arabic
    sv=swedish it=italian id=indonesian hi=hindi fi=finnish vi=vietnamese he=hebrew
    uk=ukrainian el=greek ms=malay cs=czech ro=romanian da=danish hu=hungarian
    ta=tamil no=norwegian th=thai ur=urdu hr=croatian bg=bulgarian lt=lithuanian
    la=latin mi=maori ml=malayalam cy=welsh sk=slovak te=telugu fa=persian
    lv=latvian bn=bengali sr=serbian az=azerbaijani sl=slovenian kn=kannada
    et=estonian mk=macedonian br=breton eu=basque is=icelandic hy=armenian ne=nepali
    mn=mongolian bs=bosnian kk=kazakh sq=albanian sw=swahili gl=galician mr=marathi
    pa=punjabi si=sinhala km=khmer sn=shona yo=yoruba so=somali af=afrikaans
    oc=occitan ka=georgian be=belarusian tg=tajik sd=sindhi gu=gujarati am=amharic
    yi=yiddish lo=lao uz=uzbek fo=faroese ht=haitian_creole ps=pashto tk=turkmen
    nn=nynorsk mt=maltese sa=sanskrit lb=luxembourgish my=myanmar bo=tibetan
    tl=tagalog mg=malagasy as=assamese tt=tatar haw=hawaiian ln=lingala ha=hausa
    ba=bashkir jw=javanese su=sundanese yue=cantonese
"""

LANGUAGES: dict[str, str] = {
    code: name.replace("_", " ")
    for code, name in (entry.split("=") for entry in _TABLE.split())
}

_OTHER_NAMES = {
    "burmese": "my",
    "castilian": "es",
    "flemish": "nl",
    "haitian": "ht",
    "letzeburgesch": "lb",
    "mandarin": "zh",
    "moldavian": "ro",
    "moldovan": "ro",
    "panjabi": "pa",
    "pushto": "ps",
    "sinhalese": "si",
    "valencian": "ca",
}
LANGUAGE_CODES: dict[str, str] = {
    **{name: code for code, name in LANGUAGES.items()},
    **_OTHER_NAMES,
}

# Written without spaces between words.
SPACELESS_LANGUAGES = frozenset({"zh", "ja", "th", "lo", "my", "yue"})


def language_code(language: str) -> str:
    """Turn a code or an English name, in any case, into Whisper's code.

    Raises:
        SpeechError: nobody's code or name; close ones are suggested.
    """
    wanted = language.strip().lower()
    if wanted in LANGUAGES:
        return wanted
    if wanted in LANGUAGE_CODES:
        return LANGUAGE_CODES[wanted]
    close = get_close_matches(wanted, [*LANGUAGE_CODES, *LANGUAGES], n=3)
    raise SpeechError(
        f"the language {language!r} is not known",
        f"did you mean {' or '.join(close)}?"
        if close
        else "give a code such as en, de, ja, or an English name such as german",
    )
