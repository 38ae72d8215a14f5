"""What counts as a person's consent, and what does not."""

from typing import Any

from openai_proxy.agent.conversations import MAX_CONVERSATIONS, Conversation, ConversationMemories

ARGUMENTS = {"door": "front", "n": 1}


def conversation(
    memory: ConversationMemories, *said: str, name: str | None = None, caller: str = "c", model: str = "m"
) -> Conversation:
    messages: list[Any] = [{"role": "system", "content": "changes all the time"}]
    for words in said:
        messages += [{"role": "user", "content": words}, {"role": "assistant", "content": "…"}]
    return memory.of(caller, model, name, messages)


def test_a_call_waits_for_the_next_message_and_runs_once() -> None:
    memory = ConversationMemories()
    assert not conversation(memory, "unlock").given("t", ARGUMENTS)
    assert conversation(memory, "unlock", "yes").given("t", ARGUMENTS)
    assert not conversation(memory, "unlock", "yes").given("t", ARGUMENTS)
    assert conversation(memory, "unlock", "yes", "again").given("t", ARGUMENTS)


def test_a_repeat_and_another_round_of_the_same_request_are_no_consent() -> None:
    memory = ConversationMemories()
    first = conversation(memory, "unlock")
    assert not first.given("t", ARGUMENTS)
    assert not first.given("t", ARGUMENTS)
    assert not conversation(memory, "unlock").given("t", ARGUMENTS)
    answered = memory.of("c", "m", None, [{"role": "user", "content": "unlock"}, {"role": "tool", "content": "yes"}])
    assert not answered.given("t", ARGUMENTS)


def test_a_call_is_the_same_whatever_its_json_looks_like() -> None:
    memory = ConversationMemories()
    assert not conversation(memory, "unlock").given("t", {"n": 1.0, "door": "front"})
    later = conversation(memory, "unlock", "yes")
    assert not later.given("t", {"door": "back", "n": 1})
    assert not later.given("u", ARGUMENTS)
    assert later.given("t", ARGUMENTS)


def test_consent_is_bound_to_conversation_caller_and_model() -> None:
    memory = ConversationMemories()
    assert not conversation(memory, "unlock", name="one").given("t", ARGUMENTS)
    assert not conversation(memory, "unlock").given("t", ARGUMENTS)
    for other in (
        conversation(memory, "unlock", "yes", name="two"),
        conversation(memory, "hello", "unlock", "yes"),
        conversation(memory, "yes", name="one"),
        conversation(memory, "unlock", "yes", caller="d"),
        conversation(memory, "unlock", "yes", model="n"),
    ):
        assert not other.given("t", ARGUMENTS)
    assert conversation(memory, "unlock", "yes", name="one").given("t", ARGUMENTS)
    assert conversation(memory, "unlock", "yes").given("t", ARGUMENTS)


def test_a_named_conversation_may_drop_its_oldest_messages() -> None:
    memory = ConversationMemories()
    assert not conversation(memory, "hello", "unlock", name="x").given("t", ARGUMENTS)
    assert conversation(memory, "unlock", "yes", name="x").given("t", ARGUMENTS)


def test_found_tools_keep_their_order_in_the_conversation() -> None:
    memory = ConversationMemories()
    conversation(memory, "a").add_found(["z", "y"])
    conversation(memory, "a", "b").add_found(["x", "z"])
    assert conversation(memory, "a", "b", "c").found() == ("z", "y", "x")
    assert conversation(memory, "a").found() == ("z", "y")
    assert conversation(memory, "b").found() == ()


def test_the_memory_is_bounded_and_expires() -> None:
    now = [0.0]
    memory = ConversationMemories(clock=lambda: now[0], ttl=10)
    for number in range(MAX_CONVERSATIONS + 5):
        conversation(memory, f"{number}").given("t", {})
    assert len(memory) == MAX_CONVERSATIONS
    now[0] = 11
    assert not conversation(memory, f"{MAX_CONVERSATIONS}", "yes").given("t", {})
    assert len(memory) == 1
