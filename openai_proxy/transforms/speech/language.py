"""Guesses the language of a message from a few words, well enough to answer with a sentence of our own.

Scripts that only one language uses decide at once; otherwise common words, including those of a smart home, and letters
that other languages lack do. An unclear guess counts as none.
"""

import re
from collections import Counter
from typing import Final

_SCRIPTS: Final = (
    ("ja", re.compile("[\u3040-\u30ff]")),
    ("ko", re.compile("[\uac00-\ud7af\u1100-\u11ff]")),
    ("zh", re.compile("[\u3400-\u9fff]")),
    ("ru", re.compile("[\u0400-\u04ff]")),
    ("el", re.compile("[\u0370-\u03ff]")),
    ("he", re.compile("[\u0590-\u05ff]")),
    ("ar", re.compile("[\u0600-\u06ff]")),
    ("hi", re.compile("[\u0900-\u097f]")),
    ("th", re.compile("[\u0e00-\u0e7f]")),
)

_NEIGHBOURS: Final = {"ru": ("uk", re.compile("[іїєґ]")), "ar": ("fa", re.compile("[پچژگ]"))}
"""Of two languages with one script, the one with letters of its own."""

_LETTERS: Final = {
    "cs": "ěřů",
    "da": "æø",
    "de": "ß",
    "es": "ñ¿¡",
    "fr": "œêû",
    "hu": "őű",
    "nb": "æø",
    "pl": "łąężźśćń",
    "pt": "ãõ",
    "ro": "șță",
    "tr": "ğış",
}

_WORDS: Final = {
    "en": "a about all and are at be can do does for has have hello how i in is it kitchen light lights living long "
    "me my now of off okay on open please room set tell that the there this timer to turn up was weather what "
    "when where which who why will with you your",
    "de": "abend an auf aus bei bitte danke das dem den der die ein eine es für guten hallo heute ich im in ist "
    "kann küche lampe licht mach mir mit morgen nicht noch schalte sind spät stell uhr und viel von wann warm "
    "was welche wer wetter wie wird wohnzimmer zu",
    "fr": "allume au avec bonjour ce ces combien cuisine dans de des du en est et fait heure il je la le les "
    "lumière lumières merci mets moi ne nous où pas plaît pour quel quelle qui salon se sont sur temps tu un "
    "une va vous éteins",
    "es": "apaga apague buenos cocina como con cuál cuándo cuánto cómo de del dónde el en enciende es está favor "
    "gracias hace hay hola hora la las los luces luz me mi muy no noches para pon por que qué salón se son "
    "temperatura tiempo todo un una y",
    "it": "accendi alla che chi ciao come con cosa cucina da dei del della di dove fa favore gli grazie il imposta "
    "in la le lo luce luci mi nel nella non ore per qual quale quando quanto questo salotto sono spegni tempo "
    "un una è",
    "nl": "aan alle de dit doe een en er goed hallo hebt het hoe ik in is je keuken laat lampen licht met mij niet "
    "nu of op te uit uur van voor waar wat weer welke wie woonkamer zet zijn",
    "pt": "acenda acende apaga apague com como cozinha da das de desliga desligue do dos ela ele em está eu favor "
    "faz hora horas liga ligue luz luzes mais me meu na no não o olá os para por qual quando que quem sala "
    "são tempo um uma você às é",
    "pl": "co czy dla do dobry dzień gdzie godzina i ile jak jaka jaki jest już kiedy która kuchni ma mi na nie "
    "pogoda proszę salonie się są temu to w wyłącz włącz z za zapal zgaś światła światło że",
    "sv": "alla att av det du en ett för god hej hur i inte jag klockan köket lampan lampor ljuset mig mycket och "
    "om på släck som stäng så till tänd vad vardagsrummet vilken väder vädret är",
    "da": "af alle at beder det du en er et for god hej hvad hvilken hvor hvordan i ikke jeg klokken køkkenet "
    "lampen lyset med meget mig og om på sluk som stuen til tænd vejret",
    "nb": "alle at av det du en er et for god hei hva hvilken hvor hvordan i ikke jeg kjøkkenet klokka klokken "
    "lampen lyset med meg mye og om på skru slå som stua til været",
    "fi": "ei ja joka kaikki keittiö keittiön kello kiitos kuinka laita mikä milloin missä mitä moi nyt olohuoneen "
    "on ovat paljonko sammuta sytytä sää tämä valo valot",
    "cs": "a ahoj co do dobrý hodin jak jaké jaký je jsou kde kdy kolik kuchyni mi na ne obýváku počasí prosím "
    "rozsviť se světla světlo v ve vypni za zapni zhasni že",
    "hu": "a az be egy fel hogy hol hány idő igen jó kapcsold ki konyhában kérem kérlek le lámpát meg mennyi mi "
    "milyen nappaliban nem szia van villanyt én és óra",
    "ro": "aprinde bucătărie ce ceasul cu cum cât de din e este la lumina lumini mi nu oprește pe pornește salut "
    "stinge sunt te un unde vreme vremea vă îmi în și",
    "tr": "aç açık bir bu bugün da evet hava ile kapat kaç kim lambayı lütfen merhaba mutfak nasıl ne nerede oda "
    "saat salon sıcaklık ve yak ışıkları ışığı",
}

_TABLE: Final[dict[str, tuple[str, ...]]] = {}
for _language, _words in _WORDS.items():
    for _word in _words.split():
        _TABLE[_word] = (*_TABLE.get(_word, ()), _language)

_A_WORD: Final = re.compile(r"[^\W\d_]+")
_MAX_TEXT: Final = 2000


def guess_language(text: str) -> str | None:
    """The ISO 639-1 code of the language of `text`, or None if unclear."""
    text = text[:_MAX_TEXT].lower()
    if not text.isascii():
        letters = len(_A_WORD.findall(text))
        for language, script in _SCRIPTS:
            if letters and len(script.findall(text)) >= letters:
                other, own = _NEIGHBOURS.get(language, (language, script))
                return other if own.search(text) else language
    scores: Counter[str] = Counter()
    for word in _A_WORD.findall(text):
        languages = _TABLE.get(word, ())
        for language in languages:
            scores[language] += 12 // len(languages)
    if not text.isascii():
        for language, letters_of_it in _LETTERS.items():
            scores[language] += 6 * sum(map(text.count, letters_of_it))
    best = scores.most_common(2)
    if not best or best[0][1] < 4 or (len(best) > 1 and best[0][1] == best[1][1]):
        return None
    return best[0][0]
