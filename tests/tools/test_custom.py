import gc
import subprocess
import sys
import textwrap

import pytest

import openai_proxy
from openai_proxy.config.files import PythonFile
from openai_proxy.secrets import vault
from openai_proxy.tools.base import CallContext
from openai_proxy.tools.custom import load
from openai_proxy.tools.handler import handler_tool
from openai_proxy.tools.toolbox import build_toolset
from openai_proxy.tools.workers import Workers


@pytest.fixture
def folder(tmp_path):
    class Folder:
        def write(self, name, text):
            (tmp_path / name).write_text(textwrap.dedent(text))
            return tmp_path / name

        def load(self, previous=None, **options):
            return load(tmp_path.glob("*.py"), previous, label=lambda p: f"tools/{p.name}", **options)

    return Folder()


async def call(loaded, name, **arguments):
    return await handler_tool(loaded.handlers[name], Workers()).call(arguments, CallContext())


def parameters(loaded, name):
    return loaded.handlers[name].definition["function"]["parameters"]


CLASS = """
    from openai_proxy import ToolHandler, register_handler

    class Greeter(ToolHandler):
        '''Greets somebody.'''
        parameters = {"type": "object", "properties": {"who": {"type": "string"}}, "required": ["who"]}

        @property
        def name(self):
            return "greet"

        async def execute(self, arguments):
            return f"Hello {arguments['who']}"

    register_handler(Greeter())
"""


async def test_a_handler_class(folder):
    folder.write("greet.py", CLASS)
    loaded = folder.load()
    assert loaded.problems == ()
    assert loaded.handlers["greet"].definition["function"]["description"] == "Greets somebody."
    assert (await call(loaded, "greet", who="Ada")).text == "Hello Ada"


@pytest.mark.parametrize(
    "register",
    ["register_handler(Greeter)", "register_handler('greet', Greeter())", "register_handler(Greeter(), 'greet')"],
)
async def test_other_ways_to_register_a_handler(folder, register):
    folder.write("greet.py", CLASS.replace("register_handler(Greeter())", register))
    assert (await call(folder.load(), "greet", who="Ada")).text == "Hello Ada"


FUNCTION = '''
    from __future__ import annotations
    import dataclasses, enum
    from typing import Annotated, Literal, Optional
    from openai_proxy import tool

    class Level(enum.Enum):
        LOW = "low"
        HIGH = "high"

    @dataclasses.dataclass
    class Place:
        room: str
        floor: int = 0

    @tool
    def light(
        place: Place,
        on: bool,
        colour: Annotated[str, "As a word."] = "white",
        mode: Literal["day", "night"] = "day",
        level: Level = Level.LOW,
        tags: Optional[list[str]] = None,
    ) -> str:
        """Switches a light.

        Works in every room.

        Args:
            place: Where it is,
                with its floor.
            on (bool): On or off.
            mode: Day or night.

        Returns:
            What was done.
        """
        return f"{place.room}/{place.floor} {on} {colour} {mode} {level.name} {tags}"

    @tool(name="later", description="Waits.")
    async def wait(seconds: float = 0):
        return seconds
'''


async def test_a_function_with_its_schema_from_signature_and_docstring(folder):
    folder.write("light.py", FUNCTION)
    loaded = folder.load()
    assert loaded.problems == ()
    function = loaded.handlers["light"].definition["function"]
    assert function["description"] == "Switches a light.\n\nWorks in every room."
    schema = function["parameters"]
    assert schema["required"] == ["place", "on"]
    assert schema["additionalProperties"] is False
    properties = schema["properties"]
    assert properties["place"]["properties"] == {"room": {"type": "string"}, "floor": {"type": "integer", "default": 0}}
    assert properties["place"]["description"] == "Where it is, with its floor."
    assert properties["on"] == {"type": "boolean", "description": "On or off."}
    assert properties["colour"] == {"type": "string", "default": "white", "description": "As a word."}
    assert properties["mode"]["enum"] == ["day", "night"]
    assert properties["level"]["enum"] == ["low", "high"]
    assert "title" not in str(schema)
    result = await call(loaded, "light", place={"room": "hall"}, on=True, level="high", tags=["a"])
    assert result.text == "hall/0 True white day HIGH ['a']"
    assert (await call(loaded, "later", seconds=2)).text == "2.0"
    assert (await call(loaded, "light", place={}, on=True)).is_error


MODULE = """
    TOOLS = [
        {"type": "function", "function": {"name": "a", "description": "A", "parameters": {"type": "object"}}},
        {"name": "b"},
    ]

    def execute_tool(name, arguments):
        return {"ran": name, "with": arguments}
"""


async def test_a_module_function_with_a_list_of_tools(folder):
    folder.write("both.py", MODULE)
    loaded = folder.load()
    assert (await call(loaded, "a", x=1)).text == '{"ran":"a","with":{"x":1}}'
    folder.write("both.py", MODULE.replace("def execute_tool", "async def execute_tool"))
    assert (await call(folder.load(loaded), "b")).text == '{"ran":"b","with":{}}'


BROKEN = [
    ("def f(:\n    pass", 1, "this is not valid Python"),
    ("x = 1\nimport does_not_exist_anywhere", 2, "does_not_exist_anywhere"),
    ("def f():\n    return 1 / 0\nf()", 2, "division by zero"),
    ("import sys\nsys.exit(3)", 2, "end the process"),
    ("raise KeyboardInterrupt", 1, "KeyboardInterrupt"),
    ("x = 1\nTOOLS = [{'name': 'a'}]", 1, "execute_tool"),
    ("def execute_tool(name, arguments): ...", 1, "TOOLS"),
    ("TOOLS = [{'name': 'a b'}]\ndef execute_tool(name, arguments): ...", 1, "'a b'"),
    ("from openai_proxy import tool\n@tool\ndef f(*args): ...", 2, "positional"),
    ("from openai_proxy import tool\nclass X: ...\n@tool\ndef f(x: X): ...", 3, "JSON Schema"),
    ("from openai_proxy import register_handler\nregister_handler(3)", 2, "execute"),
    ("from openai_proxy import nothing_there", 1, "nothing_there"),
    ("x = '\\0'\n\0", 1, "null"),
]


@pytest.mark.parametrize(("source", "line", "said"), BROKEN)
def test_a_failing_file_is_a_problem_with_its_place(folder, source, line, said):
    folder.write("good.py", CLASS)
    folder.write("bad.py", source)
    loaded = folder.load()
    (problem,) = loaded.problems
    assert (problem.file, problem.line) == ("tools/bad.py", line)
    assert said in problem.message
    assert "greet" in loaded.handlers


def test_an_import_that_hangs_is_a_problem(folder):
    folder.write("slow.py", "import threading\nthreading.Event().wait(3)")
    (problem,) = folder.load(seconds=0.05).problems
    assert "longer than" in problem.message


async def test_a_broken_file_keeps_its_last_working_version_until_it_is_fixed(folder):
    folder.write("greet.py", CLASS)
    good = folder.load()
    folder.write("greet.py", CLASS + "    raise ValueError('half an edit')")
    for _ in range(2):
        broken = folder.load(good)
        assert len(broken.problems) == 1
        assert (await call(broken, "greet", who="Ada")).text == "Hello Ada"
    folder.write("greet.py", CLASS.replace("Hello", "Goodbye"))
    mended = folder.load(broken)
    assert mended.problems == ()
    assert (await call(mended, "greet", who="Ada")).text == "Goodbye Ada"
    assert (await call(good, "greet", who="Ada")).text == "Hello Ada"


def test_only_changed_files_are_run_again(folder):
    folder.write("a.py", MODULE)
    folder.write("greet.py", CLASS)
    first = folder.load()
    folder.write("greet.py", CLASS + "\n")
    second = folder.load(first)
    assert second.handlers["a"] is first.handlers["a"]
    assert second.handlers["greet"] is not first.handlers["greet"]


def test_the_contents_in_the_snapshot_run(folder):
    source = textwrap.dedent(CLASS).encode()
    path = folder.write("greet.py", "raise ValueError('a later edit')")
    assert "greet" in load([PythonFile(path, "digest", source)]).handlers


def test_a_deleted_file_removes_its_handlers(folder):
    path = folder.write("greet.py", CLASS)
    first = folder.load()
    path.unlink()
    assert "greet" not in folder.load(first).handlers


def test_two_handlers_of_one_name_are_a_problem_and_the_first_stays(folder):
    folder.write("a.py", CLASS)
    folder.write("b.py", CLASS.replace("greet", "calculator"))
    folder.write("c.py", CLASS)
    loaded = folder.load()
    assert [(p.file, "built in" in p.message, "a.py" in p.message) for p in loaded.problems] == [
        ("tools/b.py", True, False),
        ("tools/c.py", False, True),
    ]
    assert loaded.handlers["calculator"].origin == "built in"


async def test_a_sibling_can_be_imported_and_its_edit_reloads_its_users(folder):
    folder.write("words.py", "from openai_proxy import tool\nWORD = 'one'\n@tool\ndef word():\n    return WORD\n")
    folder.write("say.py", "from openai_proxy import tool\nimport words\n@tool\ndef say():\n    return words.WORD\n")
    path, modules, finders = list(sys.path), set(sys.modules), list(sys.meta_path)
    first = folder.load()
    assert first.problems == ()
    assert sys.path == path
    assert sys.meta_path == finders
    assert "words" not in sys.modules
    assert {m for m in set(sys.modules) - modules if "words" in m or "say" in m} == {
        m for m in sys.modules if m.startswith("_openai_proxy_tools_") and m not in modules
    }
    assert (await call(first, "say")).text == "one"
    folder.write("words.py", "WORD = 'two'\n")
    second = folder.load(first)
    assert (await call(second, "say")).text == "two"
    assert "word" not in second.handlers


def test_a_module_is_forgotten_with_its_last_generation(folder):
    folder.write("greet.py", CLASS)
    before = set(sys.modules)
    loaded = folder.load()
    added = {m for m in set(sys.modules) - before if m.endswith("_greet")}
    assert len(added) == 1
    del loaded
    gc.collect()
    assert not added & set(sys.modules)


def test_no_secret_in_a_problem(folder):
    vault.learn(["sk-custom-secret-1"])
    folder.write("bad.py", "raise ValueError('sk-custom-secret-1')")
    assert "secret-1" not in str(folder.load().problems[0])


async def test_a_handler_may_raise_a_message_for_the_model(folder):
    folder.write(
        "f.py",
        "from openai_proxy import tool, ToolFailure\n@tool\ndef f(n: int):\n    raise ToolFailure('No such lamp.')\n",
    )
    loaded = folder.load()
    result = await build_toolset(loaded.handlers, Workers()).toolbox().run("f", '{"n": 1}')
    assert (result.text, result.is_error) == ("No such lamp.", True)
    wrong = await build_toolset(loaded.handlers, Workers()).toolbox().run("f", '{"n": 1, "x": 2}')
    assert "x" in wrong.text


def test_registering_outside_loading_does_nothing():
    @openai_proxy.tool
    def f(n: int) -> int:
        return n + 1

    assert f(1) == 2
    assert openai_proxy.ToolHandler.__name__ == "ToolHandler"
    with pytest.raises(AttributeError):
        _ = openai_proxy.nothing


def test_importing_only_the_package_stays_cheap():
    code = "import openai_proxy, sys; print([m for m in sys.modules if m.startswith('openai_proxy.tools')])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert out.stdout.strip() == "[]"
