import pytest

from openai_proxy.config.model_file import ModelConfig
from openai_proxy.config.skills import SkillFile
from openai_proxy.prompt.prompt import Prompt
from openai_proxy.tools.builtin import BUILTIN
from openai_proxy.tools.skills import skill_tools
from openai_proxy.tools.toolbox import build_toolset
from openai_proxy.tools.workers import Workers

SKILLS = [
    SkillFile("global", "global", "For all.", "GLOBAL"),
    SkillFile("own", "own", "For one.", "OWN", model="augmented/a"),
]
USER = {"role": "user", "content": "hi"}


def model(**members):
    return ModelConfig.model_validate({"name": "augmented/a", **members})


@pytest.fixture
def box():
    return build_toolset(BUILTIN, Workers()).toolbox()


async def test_prompt_template_skills_and_client_make_one_system_message(box):
    prompt = Prompt.of(model(system_prompt="6*7={{calculator(expression='6*7')}} {{nobody()}}"), SKILLS)
    client = [{"role": "system", "content": "CLIENT"}, USER]
    system, user = (await prompt.messages(client, box.run, known=box.__contains__)).messages
    assert user == USER
    assert system["content"] == (
        "6*7=42 {{nobody()}}\n\n"
        '<skill_content name="global">\nGLOBAL\n</skill_content>\n\n'
        '<skill_content name="own">\nOWN\n</skill_content>\n\n'
        "CLIENT"
    )
    assert prompt.loadable == ()


async def test_a_failing_template_never_fails_the_request(box):
    prompt = Prompt.of(model(system_prompt="{{calculator(expression='1/0')}} {{calculator()}}", skills=[]), [])
    (system, _) = (await prompt.messages([USER], box.run, known=box.__contains__)).messages
    assert system["content"].startswith("[calculator is not available now: Division by zero] [calculator is not")


async def test_on_demand_skills_are_a_catalogue_in_the_prompt_and_tools(box):
    prompt = Prompt.of(model(skills_mode="on_demand", include_global_skills=False), SKILLS)
    (system, _) = (await prompt.messages([USER], box.run, known=box.__contains__)).messages
    assert '<skill name="own">For one.</skill>' in system["content"]
    assert "OWN" not in system["content"]
    assert [t.name for t in skill_tools(prompt.loadable, Workers())] == ["load_skill"]


async def test_a_probe_waits_for_no_template():
    async def call(name, arguments):
        raise AssertionError("a tool was run")

    prompt = Prompt.of(model(system_prompt="{{calculator(expression='1')}}"), [])
    (system, _) = (await prompt.messages([USER], call, known=lambda name: True, probe=True)).messages
    assert system["content"] == "[calculator]"


async def test_a_model_without_prompt_and_skills_changes_nothing(box):
    assembled = await Prompt.of(model(), []).messages([USER], box.run, known=box.__contains__)
    assert (assembled.messages, assembled.tail, assembled.device) == ([USER], "", "")


async def test_values_that_may_change_follow_the_newest_message(box):
    text = "You help. Time: {{get_current_time(timezone='UTC')}}. One and one is {{calculator(expression='1+1')}}."
    assembled = await Prompt.of(model(system_prompt=text, include_global_skills=False), []).messages(
        [USER], box.run, known=box.__contains__
    )
    system, newest = assembled.messages
    assert system["content"] == "You help. One and one is 2."
    assert newest["content"] == f"hi\n\n{assembled.tail}"
    assert assembled.tail.startswith("Time: 2")
