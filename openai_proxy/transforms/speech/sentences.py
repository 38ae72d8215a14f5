"""The proxy's own sentences to a person, in their language."""

from dataclasses import dataclass
from typing import Final

from openai_proxy.transforms.speech.language import guess_language


@dataclass(frozen=True, slots=True)
class Sentences:
    """Our sentences in one language."""

    too_long: str  # the time for an answer is over
    nothing: str  # the model's answer was empty
    done: str  # the same, after it had done something


_ENGLISH: Final = Sentences("Sorry, that took too long.", "I have no answer to that.", "Done.")

_SENTENCES: Final = {
    "en": _ENGLISH,
    "de": Sentences("Das hat leider zu lange gedauert.", "Darauf habe ich keine Antwort.", "Erledigt."),
    "fr": Sentences("Désolé, cela a pris trop de temps.", "Je n'ai pas de réponse à cela.", "C'est fait."),
    "es": Sentences("Lo siento, ha tardado demasiado.", "No tengo respuesta para eso.", "Hecho."),
    "it": Sentences("Mi dispiace, ci è voluto troppo tempo.", "Non ho una risposta.", "Fatto."),
    "nl": Sentences("Sorry, dat duurde te lang.", "Daar heb ik geen antwoord op.", "Gedaan."),
    "pt": Sentences("Desculpe, isso demorou demais.", "Não tenho resposta para isso.", "Feito."),
    "pl": Sentences("Przepraszam, to trwało zbyt długo.", "Nie mam na to odpowiedzi.", "Gotowe."),
    "sv": Sentences("Det tog tyvärr för lång tid.", "Det har jag inget svar på.", "Klart."),
    "da": Sentences("Det tog desværre for lang tid.", "Det har jeg ikke noget svar på.", "Færdig."),
    "nb": Sentences("Det tok dessverre for lang tid.", "Det har jeg ikke noe svar på.", "Ferdig."),
    "fi": Sentences("Valitettavasti siinä kesti liian kauan.", "En osaa vastata siihen.", "Valmis."),
    "cs": Sentences("Bohužel to trvalo příliš dlouho.", "Na to nemám odpověď.", "Hotovo."),
    "hu": Sentences("Sajnos ez túl sokáig tartott.", "Erre nem tudok válaszolni.", "Kész."),
    "ro": Sentences("Îmi pare rău, a durat prea mult.", "Nu am un răspuns la asta.", "Gata."),
    "tr": Sentences("Üzgünüm, bu çok uzun sürdü.", "Buna verecek bir yanıtım yok.", "Tamam."),
    "ru": Sentences("К сожалению, это заняло слишком много времени.", "У меня нет на это ответа.", "Готово."),
    "uk": Sentences("На жаль, це тривало надто довго.", "Я не маю на це відповіді.", "Готово."),
    "el": Sentences("Λυπάμαι, αυτό πήρε πολλή ώρα.", "Δεν έχω απάντηση σε αυτό.", "Έγινε."),
    "he": Sentences("מצטערים, זה לקח יותר מדי זמן.", "אין לי תשובה לכך.", "בוצע."),
    "ar": Sentences("عذراً، استغرق ذلك وقتاً طويلاً.", "ليس لدي إجابة عن ذلك.", "تم."),
    "fa": Sentences("متأسفم، خیلی طول کشید.", "پاسخی برای آن ندارم.", "انجام شد."),
    "hi": Sentences("माफ़ कीजिए, इसमें बहुत समय लग गया।", "मेरे पास इसका उत्तर नहीं है।", "हो गया।"),
    "th": Sentences("ขออภัย ใช้เวลานานเกินไป", "ฉันไม่มีคำตอบสำหรับเรื่องนี้", "เรียบร้อยแล้ว"),
    "ja": Sentences("すみません、時間がかかりすぎました。", "それにはお答えできません。", "完了しました。"),
    "zh": Sentences("抱歉，耗时太长了。", "我无法回答这个问题。", "好了。"),
    "ko": Sentences("죄송합니다. 시간이 너무 오래 걸렸습니다.", "그에 대한 답이 없습니다.", "완료했습니다."),
}


def sentences_for(text: str) -> Sentences:
    """Our sentences in the language of `text`; in English if it is unknown."""
    return _SENTENCES.get(guess_language(text) or "en", _ENGLISH)
