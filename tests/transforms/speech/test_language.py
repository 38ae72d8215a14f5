"""The language of a message, and our own sentences in that language."""

import pytest

from openai_proxy.transforms.speech.language import guess_language
from openai_proxy.transforms.speech.sentences import _SENTENCES, sentences_for


@pytest.mark.parametrize(("language", "text"), [
    ("en", "Turn on the lights"),
    ("en", "What does 你好 mean?"),
    ("en", "What is the weather like in München?"),
    ("de", "Mach das Licht im Wohnzimmer an"),
    ("de", "Licht aus"),
    ("de", "Wie spät ist es?"),
    ("fr", "Allume la lumière du salon"),
    ("fr", "Quelle heure est-il ?"),
    ("es", "¿Qué hora es?"),
    ("es", "Enciende la luz de la cocina"),
    ("it", "Che ore sono?"),
    ("nl", "Hoe laat is het?"),
    ("pt", "Que horas são?"),
    ("pl", "Która jest godzina?"),
    ("sv", "Tänd lampan i köket"),
    ("da", "Tænd lyset i køkkenet"),
    ("nb", "Skru på lyset på kjøkkenet"),
    ("fi", "Sytytä valot"),
    ("cs", "Rozsviť světlo v kuchyni"),
    ("hu", "Hány óra van?"),
    ("ro", "Aprinde lumina în bucătărie"),
    ("tr", "Mutfak ışığını aç"),
    ("ru", "Включи свет"),
    ("uk", "Увімкни світло"),
    ("ja", "電気をつけて"),
    ("zh", "开灯"),
    ("ko", "불 켜줘"),
    ("ar", "أشعل الضوء"),
    ("hi", "बत्ती जलाओ"),
    (None, "ok"),
    (None, "42"),
    (None, ""),
])  # fmt: skip
def test_languages_are_detected(language: str | None, text: str) -> None:
    assert guess_language(text) == language


def test_our_sentences_are_in_the_right_language() -> None:
    for language, sentences in _SENTENCES.items():
        said = f"{sentences.too_long} {sentences.nothing}"
        assert guess_language(said) in (language, None), said


def test_unknown_languages_are_answered_in_english() -> None:
    assert sentences_for("xyzzy").nothing == "I have no answer to that."
    assert sentences_for("Licht an").done == "Erledigt."
