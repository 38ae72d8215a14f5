"""YAML text: places, the core schema of YAML 1.2, and every danger refused in words."""

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openai_proxy.config.yaml_text import MAX_BYTES, BrokenYaml, Node, parse


def value(text: str) -> object:
    node = parse(text.encode(), "f")
    assert isinstance(node, Node), node
    return node.value


def refusal(text: str | bytes) -> str:
    result = parse(text.encode() if isinstance(text, str) else text, "f")
    assert isinstance(result, BrokenYaml), result
    return str(result.problems[0])


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("", None),
        ("# only a comment\n", None),
        ("~", None),
        ("true", True),
        ("False", False),
        ("12", 12),
        ("-0o17", "-0o17"),
        ("0o17", 15),
        ("0xff", 255),
        ("1.5e3", 1500.0),
        (".5", 0.5),
        ("'12'", "12"),
        ('"true"', "true"),
        ("!!str 12", "12"),
        ("2024-01-01", "2024-01-01"),
        ("a: {b: [1, c]}", {"a": {"b": [1, "c"]}}),
        ("1: a\n1.0: b\ntrue: c\n", {"1": "a", "1.0": "b", "true": "c"}),
        ("a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}\n", {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}}),
        ("a: &x [1]\nb: [*x, *x]\n", {"a": [1], "b": [[1], [1]]}),
        ("a: |\n  one\n  two\n", {"a": "one\ntwo\n"}),
        ("\ufeffa: 1", {"a": 1}),
    ],
)
def test_the_core_schema(text: str, meaning: object) -> None:
    assert value(text) == meaning
    assert type(value(text)) is type(meaning)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\nb:\n  c: 2\n  c: 3\n", 'f:4:3: duplicate key "c" (first in line 3)'),
        ("a: &a [*a]", 'f:1:8: the alias "*a" is inside its own anchor: a cycle'),
        ("a: *b", 'f:1:4: a text that begins with * needs quotes: "*b" (there is no anchor &b)'),
        ("a: 1\n---\nb: 2\n", "f:2:1: a second document in one file (`---`): one file holds one document"),
        ("a: !!python/object:os.system x", "f:1:4: the tag tag:yaml.org,2002:python/object:os.system is not supported"),
        ("? [a]\n: b", "f:1:3: a list or mapping cannot be a key"),
        (": b", "f:1:1: an empty key"),
        ("a:\n\tb: 1", "f:2:1: YAML does not allow tabs for indentation: use spaces"),
        ("a: b: c", "f:1:5: a colon and a space inside a text: put the text in quotes"),
        ("a: 'x", "f:1:4: the quote that opens here is never closed"),
        (
            "a: {b: ${C}}",
            "f:1:9: unexpected brace: inside { } and [ ], a text such as ${NAME} needs quotes",
        ),
        ("a: [1, 2", "f:1:4: the [ that opens here is never closed"),
        ("a: 1\n b: 2\n", "f:2:3: unexpected `b:`: is this line indented"),
        ("a: @x", 'f:1:4: a text that begins with @ needs quotes: "@x"'),
        ("a: 1\nb: \x01", "f:2:4: a control character (U+0001) cannot be part of a YAML file"),
        (b"a: 1\nb: \xff", "f:2:4: this is not UTF-8 text: save the file as UTF-8"),
        (b"\x7fELF\x02\x01\x00", "f:1:1: a control character (U+007F)"),
        ("a: " + "[" * 20_000, "f:1:68: nested more than 64 deep"),
        ("a" * (MAX_BYTES + 1), "f:1:1: the file is larger than 1 MiB"),
        ("<<: 3", "f:1:1: `<<` takes a mapping"),
    ],
)
def test_refusals_are_reported_with_their_place(text: str | bytes, told: str) -> None:
    began = time.monotonic()
    assert refusal(text).startswith(told)
    assert time.monotonic() - began < 10  # protects against hanging; not a measurement


def test_an_alias_bomb_is_refused_before_it_is_expanded() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    assert "values once its anchors are expanded" in refusal("\n".join(lines))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no", '`no` is false to some YAML readers and text to others: write false, or "no"'),
        ("Yes", '`Yes` is true to some YAML readers and text to others: write true, or "Yes"'),
        ("off", "`off` is false"),
        ("12:30", '`12:30` is a base-60 number to some YAML readers and text to others: write "12:30" in quotes'),
        ("12:30:45", "`12:30:45` is a base-60 number"),
        ("010", "`010` is an octal number to some YAML readers and a decimal to others: write 10 for the number"),
    ],
)
def test_an_ambiguous_scalar_is_a_trap(text: str, words: str) -> None:
    node = parse(f"a: [{text}]".encode(), "f")
    assert isinstance(node, Node)
    [(path, found)] = node.traps()
    assert path == ("a", 0)
    assert found.trap is not None
    assert found.trap.words.startswith(words)
    quoted = parse(f"a: ['{text}']".encode(), "f")
    assert isinstance(quoted, Node)
    assert list(quoted.traps()) == []


@pytest.mark.parametrize("text", ["http://a:80", "8080:8080", "0", "0.5", "a:b", "none", "01x", "-1"])
def test_an_unambiguous_scalar_is_no_trap(text: str) -> None:
    node = parse(f"a: {text}".encode(), "f")
    assert isinstance(node, Node)
    assert list(node.traps()) == []


def test_every_key_and_value_knows_its_place() -> None:
    node = parse(b"a:\n  - x\n  - {y: 1,\n     z: two}\n", "f")
    assert isinstance(node, Node)
    assert node.find(("a", 1, "z")) == (4, 9)
    assert node.find(("a", 1, "z"), key=True) == (4, 6)
    assert node.find(("a", 0)) == (2, 5)
    assert node.find(("a", 1, "nothing", "here")) == (3, 5)  # the place of the nearest existing parent
    assert node.find(()) == (1, 1)


YAMLISH = st.lists(
    st.one_of(
        st.sampled_from(list("[]{}:,-?&*!|>'\"%@`# \n\t")),
        st.sampled_from(
            ["a", "b: ", "- ", "\n  ", "&x ", "*x", "<<: ", "---\n", "...", "!!str ", "%YAML 1.1\n", "1", "~"]
        ),
        st.characters(),
    ),
    max_size=60,
).map("".join)


@given(st.one_of(st.binary(max_size=80), YAMLISH.map(lambda text: text.encode("utf-8", "surrogatepass"))))
@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_bytes_raise_an_exception(data: bytes) -> None:
    result = parse(data, "f")
    assert isinstance(result, Node | BrokenYaml)
    for problem in result.problems if isinstance(result, BrokenYaml) else ():
        lines = data.decode("utf-8", "replace").replace("\r", "\n").replace("\x85", "\n")
        lines = lines.replace("\u2028", "\n").replace("\u2029", "\n")
        assert 1 <= problem.line <= lines.count("\n") + 2
        assert problem.column >= 1
        assert "\n" not in problem.message
