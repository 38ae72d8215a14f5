import asyncio
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openai_proxy.prompt.templates import MAX_CALL, TemplateCache, parse, render
from openai_proxy.tools.base import ToolResult


def only(text):
    (call,) = parse(text).calls
    return call


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ("{{f()}}", "f", {}),
        ("{{ f ( ) }}", "f", {}),
        ("{{mcp_remote-tools_x()}}", "mcp_remote-tools_x", {}),
        ('{{f(a="x", n=10, x=1.5, flag=true, off=false, nothing=null)}}', "f",
         {"a": "x", "n": 10, "x": 1.5, "flag": True, "off": False, "nothing": None}),
        ("{{f(a='single')}}", "f", {"a": "single"}),
        ("""{{f(a='say "hi"', b="it's")}}""", "f", {"a": 'say "hi"', "b": "it's"}),
        (r'{{f(a="q \" q \\ n\n t\t u\u00e4 e\ud83d\ude00")}}', "f", {"a": 'q " q \\ n\n t\t uä e😀'}),
        (r'{{f(a="C:\x")}}', "f", {"a": "C:\\x"}),
        (r'{{f(a="\ud800")}}', "f", {"a": "\ufffd"}),
        ('{{f(a="Zürich 💡 {{g()}} )}}")}}', "f", {"a": "Zürich 💡 {{g()}} )}}"}),
        ("{{f(a=-3, b=-0.5e2, c=1E3)}}", "f", {"a": -3, "b": -50.0, "c": 1000.0}),
        ("{{f(a=1,)}}", "f", {"a": 1}),
        ('{{f(\n  a="x",\n  b=2\n)}}', "f", {"a": "x", "b": 2}),
        ('{{f(time-zone="x", _y=1)}}', "f", {"time-zone": "x", "_y": 1}),
    ],
)  # fmt: skip
def test_a_call_is_found_with_its_arguments(text, name, arguments):
    call = only(text)
    assert (call.name, call.arguments, call.source) == (name, arguments, text)
    assert [type(v) for v in call.arguments.values()] == [type(v) for v in arguments.values()]


LITERAL = [
    "", "{", "{{", "}}", "{{}}", "{{ }}", "{{f}}", "{{f(}}", "{{f)}}", "{{f()}", "{f()}", "{{f() }", "{{f(a)}}",
    "{{f(a=)}}", "{{f(a=b)}}", "{{f(a=True)}}", '{{f("x")}}', "{{f(a=1 b=2)}}", "{{f(a=1,,b=2)}}", "{{f(,)}}",
    "{{f(a=1, a=2)}}", '{{f(a="x)}}', "{{f(a='x)}}", '{{f(a="x\ny")}}', '{{f(a="\\")}}', '{{f(a="\\u12")}}',
    "{{f(a=01)}}", "{{f(a=1.)}}", "{{f(a=.5)}}", "{{f(a=1e999)}}", "{{f(a=99999999999999999999)}}", "{{f(a=1x)}}",
    "{{f(a=nullx)}}", "{{f.g()}}", "{{f g()}}", "{{ü()}}", "{{f(ü=1)}}", "{% f() %}", "${f()}", "{{f()|upper}}",
    "{{{{}}}}", '{{f(a=["x"])}}', "{{f(a={})}}", "{{ states('light.x') }} {{ now }}", "{{f(1)}}", "{{f(a==1)}}",
]  # fmt: skip


@pytest.mark.parametrize("text", LITERAL)
def test_texts_that_resemble_a_call_stay(text):
    template = parse(text)
    assert template.calls == ()
    assert template.text == text


def test_several_on_a_line_and_braces_around():
    template = parse('a {{f()}}{{g(x=1)}} b {{{h()}}} {{f(}} {{i("}} {{j()}}')
    assert [c.name for c in template.calls] == ["f", "g", "h", "j"]
    assert template.source == 'a {{f()}}{{g(x=1)}} b {{{h()}}} {{f(}} {{i("}} {{j()}}'


def test_a_call_knows_its_position():
    calls = parse('one {{f()}}\n\n  {{g()}} {{h(a="\\n")}}\n{{i()}}').calls
    assert [(c.name, c.line, c.column) for c in calls] == [("f", 1, 5), ("g", 3, 3), ("h", 3, 11), ("i", 4, 1)]


pieces = st.lists(
    st.sampled_from(["{{", "}}", "{", "}", "f", "(", ")", "a", "=", '"', "'", "\\", "\\u00", "1", ".5", ",", " ", "\n",
                     "true", "null", "ä", "{{f()}}", '{{g(a="x")}}']),
    max_size=40,
).map("".join)  # fmt: skip


@given(st.one_of(st.text(max_size=200), pieces))
@settings(max_examples=150)
async def test_any_text_is_parsed_and_written_back_byte_for_byte(text):
    template = parse(text)
    assert template.source == text
    assert (await render(template, no_tool, known=lambda name: False)).text == text


@given(st.text(max_size=60), st.integers(min_value=0, max_value=100))
def test_an_unfinished_call_is_literal(value, at):
    text = "{{f(a=" + quoted(value) + ")}}"
    assert only(text).arguments == {"a": value}
    cut = text[: min(at, len(text) - 1)]
    assert parse(cut).text == cut


def quoted(value):
    out = []
    for character in value:
        if character in '"\\':
            out.append("\\" + character)
        elif ord(character) < 32:
            out.append(f"\\u{ord(character):04x}")
        else:
            out.append(character)
    return '"' + "".join(out) + '"'


@pytest.mark.parametrize(
    "unit",
    ["{{", "{{f(", '{{f(a="', "{{f(a='", '{{f(a="\\', "{{f(a=1,", "{{ ", "{{f(a=\"'", "{{f()}}", "{{f(a=1" + "0" * 50],
)
def test_parsing_takes_linear_time(unit):
    def measure(length):
        text = (unit * (length // len(unit) + 1))[:length]
        best = 1e9
        for _ in range(3):
            start = time.thread_time()
            parse(text)
            best = min(best, time.thread_time() - start)
        return best

    # Quadratic would be 64 times; the bound leaves room for a busy machine.
    assert measure(80_000) < 30 * max(measure(10_000), 0.0005)


def test_an_overlong_call_is_literal():
    assert parse('{{f(a="' + "x" * MAX_CALL + '")}}').calls == ()


async def no_tool(name, arguments):
    raise AssertionError("a tool was called")


async def run(text, call, **options):
    """The fixed and the changing part, joined."""
    rendered = await render(parse(text), call, known=lambda name: name != "unknown", **options)
    return rendered.text + rendered.changing


async def test_values_replace_calls():
    async def call(name, arguments):
        return ToolResult(f"<{name} {arguments}>\n")

    assert await run("a {{f(n=1)}} b {{g()}}{{f(n=1)}} c", call) == "a <f {'n': 1}> b <g {}><f {'n': 1}> c"


async def test_a_value_is_never_parsed_again():
    async def call(name, arguments):
        return ToolResult("{{g()}}")

    assert await run("{{f()}}", call) == "{{g()}}"


async def test_an_unknown_tool_is_literal_and_reported_at_load():
    template = parse("x {{unknown(a=1)}} y {{f()}}")
    assert [c.name for c in template.unknown(lambda name: name == "f")] == ["unknown"]

    async def call(name, arguments):
        return ToolResult("v")

    assert await run("x {{unknown(a=1)}} y {{f()}}", call) == "x {{unknown(a=1)}} y v"


async def test_calls_run_concurrently_and_equal_ones_once():
    started = []
    both = asyncio.Event()

    async def call(name, arguments):
        started.append(name)
        if len(started) == 2:
            both.set()
        await asyncio.wait_for(both.wait(), 5)
        return ToolResult(name)

    assert await run("{{f()}} {{g()}} {{f()}}", call, timeout=10) == "f g f"
    assert started == ["f", "g"]


async def test_a_failing_call_becomes_a_short_note():
    async def call(name, arguments):
        if name == "raises":
            raise ValueError("secret detail")
        if name == "hangs":
            await asyncio.Event().wait()
        return ToolResult("the server\nis down. " + "x" * 1000, is_error=True)

    text = await run("{{raises()}}|{{hangs()}}|{{fails()}}", call, timeout=0.05)
    raised, hung, failed = text.split("|")
    assert raised == "[raises is not available now: ValueError]"
    assert hung == "[hangs is not available now: no answer within 0.05 s]"
    assert failed.startswith("[fails is not available now: the server is down. xxx")
    assert len(failed) < 300


async def test_all_calls_end_when_the_client_disconnects():
    ended = []

    async def call(name, arguments):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)

    task = asyncio.ensure_future(run("{{f()}}{{g()}}", call, timeout=30))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert sorted(ended) == ["f", "g"]


async def test_results_are_reused_but_failures_are_not():
    calls = []

    async def call(name, arguments):
        calls.append(name)
        return ToolResult(str(len(calls)), is_error=name == "bad")

    cache = TemplateCache(size=2)
    for _ in range(2):
        assert await run("{{f(a=1, b=2)}}", call, cache=cache, cache_seconds=60) == "1"
    assert await run("{{f(b=2, a=1)}}", call, cache=cache, cache_seconds=60) == "1"
    await run("{{f(a=1, b=2)}}", call, cache=cache, cache_seconds=0)
    assert calls == ["f", "f"]
    for _ in range(2):
        await run("{{bad()}}", call, cache=cache, cache_seconds=60)
    assert calls.count("bad") == 2
    for n in range(5):
        await run(f"{{{{f(n={n})}}}}", call, cache=cache, cache_seconds=60)
    assert len(cache) == 2


def test_a_probe_waits_for_no_tool():
    template = parse("You help. Time: {{get_current_time()}}, {{nobody()}}. {{nobody()}}{{calculator(a=1)}}.")
    rendered = template.placed({}, lambda name: name != "nobody")
    assert rendered.text == "You help. {{nobody()}}[calculator]."


NOW = '{{now(zone="UTC")}}'


@pytest.mark.parametrize(
    ("text", "stays", "changes"),
    [
        (f"You help. Time: {NOW}", "You help. ", "Time: 9"),
        (f"You help. Time: {NOW}. Be brief.\n", "You help. Be brief.\n", "Time: 9."),
        (f"You help.\nTime: {NOW}\nBe brief.", "You help.\nBe brief.", "Time: 9"),
        (f"You help. Time: {NOW}\nBe brief.", "You help.\nBe brief.", "Time: 9"),
        (f"Devices:\n\n{NOW}\n\nBe brief.", "\nBe brief.", "Devices:\n9"),
        (f"Values:\n- {NOW}\n- {NOW}\nBe brief.", "Be brief.", "Values:\n- 9\n- 9"),
        (f"短く。今は{NOW}です。はい。", "短く。はい。", "今は9です。"),
        (f"{NOW}", "", "9"),
        (f"Version 1.5 is {NOW}! Ok?  \nYes  \nNo", "Ok?  \nYes  \nNo", "Version 1.5 is 9!"),
        ("Two  \nspaces. {{nobody()}}  \n", "Two  \nspaces. {{nobody()}}  \n", ""),
    ],
)
def test_a_sentence_with_a_changing_value_is_taken_out_of_the_text(text, stays, changes):
    template = parse(text)
    values = {call.key: "9" for call in template.calls}
    rendered = template.placed(values, lambda name: name == "now")
    assert (rendered.text, rendered.changing) == (stays, changes)
