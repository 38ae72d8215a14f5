"""Answers of models in six languages, each with the text that may be spoken; and texts that may be spoken unchanged."""

ANSWERS: dict[str, list[tuple[str, str]]] = {
    "en": [
        (
            "It's **21.5 °C** in the kitchen and *slightly* cooler (19 °C) upstairs. 🌡️",
            "It's 21.5 °C in the kitchen and slightly cooler (19 °C) upstairs.",
        ),
        (
            "## Shopping list 🛒\n\nHere's what you need:\n\n- 2 l milk\n- 12 eggs,\n- *Organic* flour (500 "
            "g)\n\nAnything else?",
            "Shopping list.\n\nHere's what you need:\n\n2 l milk.\n12 eggs,\nOrganic flour (500 g).\n\nAnything else?",
        ),
        (
            "According to [the weather service](https://weather.example/today?x=1&y=(2)) [1], rain starts at "
            "17:30 [2, 3].\n\n"
            "[1]: https://weather.example\n[2] https://other.example/page\n",
            "According to the weather service, rain starts at 17:30.",
        ),
        (
            "Run this:\n\n```bash\nsudo systemctl restart openai-proxy\n```\n\nThen open "
            "`http://homeassistant.local:8123` or example.com.",
            "Run this.\n\nThen open or example.com.",
        ),
        (
            "| Room | Temperature | Window |\n|:-----|-----------:|:------:|\n| Kitchen | 21 °C | **open** |\n| "
            "Bedroom | 18 °C | closed |\n\nClose the kitchen window?",
            "Room, Temperature, Window.\nKitchen, 21 °C, open.\nBedroom, 18 °C, closed.\n\nClose the kitchen window?",
        ),
        (
            "1. Preheat the oven to 200 °C\n2. Mix `flour` and `sugar`\n3. Bake for 25-30 min.\n\n---\n\nEnjoy! 😋👩‍🍳",
            "1. Preheat the oven to 200 °C.\n2. Mix flour and sugar.\n3. Bake for 25-30 min.\n\nEnjoy!",
        ),
        (
            "> To be, or not to be\n\nThat's *Hamlet*, act 3. More at https://en.wikipedia.org/wiki/Hamlet_(play).",
            "To be, or not to be\n\nThat's Hamlet, act 3. More at.",
        ),
        (
            "The area is `pi * r**2`, so with r = 2 it's 3.14*4 ≈ 12.57. In Python, `__init__` and `my_var` stay.",
            "The area is pi * r**2, so with r = 2 it's 3.14*4 ≈ 12.57. In Python, __init__ and my_var stay.",
        ),
        (
            "<think>The user wants the light on.</think>Done<br>the light is ~~off~~ **on** 💡.",
            "The user wants the light on. Done the light is off on.",
        ),
    ],
    "de": [
        (
            "Das **Wohnzimmer**licht ist *an*, die Heizung steht auf 22,5 °C. 😊 Soll ich sie ausschalten?",
            "Das Wohnzimmerlicht ist an, die Heizung steht auf 22,5 °C. Soll ich sie ausschalten?",
        ),
        (
            "### Termine heute\n* 9:00 Uhr: Zahnarzt, z. B. Dr. Müller\n* 14:30 Uhr: **Besprechung**\n* 3. "
            "Oktober ist frei\n",
            "Termine heute.\n9:00 Uhr: Zahnarzt, z. B. Dr. Müller.\n14:30 Uhr: Besprechung.\n3. Oktober ist frei.\n",
        ),
        (
            "3. Oktober 1990",
            "3. Oktober 1990",
        ),
        (
            "Laut Wikipedia[1] hat Köln 1.087.353 Einwohner【4:0†Quelle】. Er sagte: „Et hätt noch immer jot jejange.“",
            "Laut Wikipedia hat Köln 1.087.353 Einwohner. Er sagte: „Et hätt noch immer jot jejange.“",
        ),
        (
            "Mehr dazu: https://www.köln.example/seite\n\n✅ Erledigt\n❌ Fenster offen",
            "Mehr dazu.\n\nErledigt\nFenster offen",
        ),
    ],
    "fr": [
        (
            "Bonjour ! Il fait **18 °C** à *Paris* ☀️ ; la météo annonce : « des averses » [^1].",
            "Bonjour ! Il fait 18 °C à Paris ; la météo annonce : « des averses ».",
        ),
        (
            "Voici les étapes :\n\n1) Éteindre le four\n2) Ouvrir la fenêtre\n   - côté cour\n   - côté "
            "rue\n\nC’est tout ?",
            "Voici les étapes :\n\n1) Éteindre le four.\n2) Ouvrir la fenêtre.\ncôté cour.\ncôté rue.\n\nC’est tout ?",
        ),
        (
            'La réponse est 3 × 4 = 12, soit 1/2 de 24 ; voir [l’article](/wiki/Multiplication "Multiplication").',
            "La réponse est 3 × 4 = 12, soit 1/2 de 24 ; voir l’article.",
        ),
    ],
    "es": [
        (
            "¡Listo! 🎉 He encendido la luz de la **cocina**. ¿Quieres algo más?",
            "¡Listo! He encendido la luz de la cocina. ¿Quieres algo más?",
        ),
        (
            "- **Salón:** 21 °C\n- **Dormitorio:** 19 °C\n- Sensor `sensor.bano_temp`: 23 °C",
            "Salón: 21 °C.\nDormitorio: 19 °C.\nSensor sensor.bano_temp: 23 °C.",
        ),
        (
            "Según la [AEMET](https://www.aemet.example) lloverá ([fuente](https://x.example/a)), unos 5 l/m².",
            "Según la AEMET lloverá (fuente), unos 5 l/m².",
        ),
    ],
    "ru": [
        (
            "**Готово!** Свет на _кухне_ включён 💡, температура: -5 °C.",
            "Готово! Свет на кухне включён, температура: -5 °C.",
        ),
        (
            "# Погода\n\n— Завтра дождь, — сказал диктор «Радио 1».\n\n+ утром 7 °C\n* днём 12 °C",
            "Погода.\n\n— Завтра дождь, — сказал диктор «Радио 1».\n\nутром 7 °C.\nднём 12 °C.",
        ),
        (
            "Подробнее — [на сайте](https://example.ru/путь?q=1) или example.ru.",
            "Подробнее — на сайте или example.ru.",
        ),
    ],
    "ja": [
        (
            "**リビング**の照明を*つけました*。😊他にありますか？",
            "リビングの照明をつけました。他にありますか？",
        ),
        (
            "## 今日の予定\n- 9時に会議\n- 「映画」を見る🎬\n- 詳細は[こちら](https://example.jp/a)です",
            "今日の予定。\n9時に会議。\n「映画」を見る。\n詳細はこちらです。",
        ),
        (
            "東京の人口は約1,400万人です[1]。詳しくはhttps://ja.example/wikiをご覧ください。",
            "東京の人口は約1,400万人です。詳しくはをご覧ください。",
        ),
    ],
}

SPEAKABLE: list[str] = [
    "It is half past nine.",
    "The lights in the living room are on, aren't they?\n\nShall I switch them off?\nSay yes or no.",
    "2 * 3 = 6, 2*3*4 = 24, a*b, x**2, (a+b)*(c+d) and 10^-3; 5 > 3, x < y, a <= b, |x| + |y|, P(A|B) = 0.5.",
    "y = f(x) for x in [0, 1) and [a, b]; the set {1, 2}; 1/2, 3/4, 50 %, ±2, ≈ 7, √2, x² + y² = z², H₂O, 21 °C.",
    "snake_case, __init__, light.kitchen_main, sensor.temp_1, a[0], a[i][j], x_1, foo_, _private, v1.2.3, README.md.",
    "C# and C++ are languages.",
    "Write to me@example.com or look at example.com, www.example.org, /etc/hosts or C:\\Users\\me.",
    "It costs $5 or 3,50 € (about £3), 10:30 to 11:45, 2026-11-29, +49 30 1234-567, #1 in the charts, ~5 min.",
    "-5 °C tonight.\n-3 °C tomorrow.",
    "„Guten Tag“, sagte er; «Bonjour», “hello”, 「こんにちは」, 『本』, 《书》, 【重要】, «да», ‘so’ [sic] […].",
    "Bonjour ! Ça va ? Oui : « très bien » ; merci…",
    "¿Qué hora es? ¡Las tres!",
    "— Привет! — сказал он. – Да.",
    "नमस्ते। आप कैसे हैं?",
    "مرحبا، كيف حالك؟",
    "明天有雨。请带伞！好吗？",
    "3. Oktober 1990",
    "1. FC Köln gegen FC Bayern: 2:1.",
    "A ♯ and a ♭, 50 ♀, © 2026, ® and ™, → and ↔, §5, № 7, 5' 10\", a/b, AT&T, R&D, 100% sure!!",
    "He said (quietly): yes. f() and g(x) are functions.",
    " leading space, and trailing  \n",
    "Say \"think\" or 'tag'. Less < more. 1 < 2 and 3 > 2. I <3 you.",
    "The theta θ, π * r, Δt.",
]
