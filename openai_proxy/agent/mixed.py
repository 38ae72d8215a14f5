"""Mixed turns: restores what the client never saw, so that the provider sees the full turn.

A client sees one assistant message per answer, with only its own calls. The rules, each with a test in
tests/agent/test_mixed.py:

| #  | the answer that was given                         | what is kept                                               |
|----|---------------------------------------------------|------------------------------------------------------------|
| K1 | ours and the client's calls in one message        | true message, our results, under each client call's id and |
|    |                                                   | under conversation + name + canonical arguments            |
| K2 | client calls only, hidden rounds before           | the same, with the hidden rounds                           |
| K3 | client calls only, nothing hidden                 | nothing                                                    |
| K4 | text, hidden rounds before                        | with `remember_tool_turns`: under question + text          |

| #  | the history that comes back                       | what the provider gets                                     |
|----|---------------------------------------------------|------------------------------------------------------------|
| R1 | the client's calls, ids as given                  | hidden rounds, true message, every result in call order    |
| R2 | ids dropped or replaced, same conversation        | the same: found by the fingerprint, ids put right          |
| R3 | arguments written anew (spaces, key order, 1.0)   | the same                                                   |
| R4 | results in another order, or without any id       | the same: by id, else in order                             |
| R5 | a client call left unanswered or left out         | the same, that call answered by a short note               |
| R6 | the calls spread over several assistant messages  | the same, as one message                                   |
| R7 | more messages after it, later turns               | the same: wherever it stands in the history                |
| R8 | another caller, same ids                          | unchanged                                                  |
| R9 | same id, other name or arguments (counted ids)    | unchanged                                                  |
| R10| same counted id, other question                   | unchanged                                                  |
| R11| entry gone (age, bound, restart without a dump)   | unchanged: a valid, shorter history                        |
| R12| final text of a turn with hidden rounds           | with `remember_tool_turns`: hidden rounds and that text    |
| R13| unrelated tool messages in between                | kept where they stand, after the results                   |
"""

import re
from collections.abc import Sequence
from typing import Any, Final

from openai_proxy.agent.fingerprint import ConversationFingerprint, key, named_calls, text
from openai_proxy.agent.store import HiddenRounds, TurnStore

UNANSWERED: Final = "(The client gave no result for this call.)"

_COUNTED: Final = re.compile(r"(?:^|[^0-9A-Za-z])\d{1,4}$")
_RANDOM_LENGTH: Final = 20  # "call_" and "toolu_" ids have 29 and 30 characters

Message = dict[str, Any]


def keep_calls(
    store: TurnStore,
    caller: str,
    seen: ConversationFingerprint,
    *,
    before: list[Message],
    turn: Message,
    results: list[Message],
    ids: Sequence[str],
) -> None:
    """Rules K1 to K3: store an answer whose calls `ids` are sent to the client."""
    if not before and not results:
        return
    calls = {call_id: (name, arguments) for call_id, name, arguments in named_calls(turn) if call_id in ids}
    keys = [key(caller, "id", call_id) for call_id in calls]
    keys += [key(caller, "call", seen.whole, name, arguments) for name, arguments in calls.values()]
    store.keep(keys, HiddenRounds(before, turn, results, calls, seen.question, seen.whole))


def keep_answer(
    store: TurnStore, caller: str, seen: ConversationFingerprint, *, before: list[Message], turn: Message, visible: str
) -> None:
    """Rule K4: store the hidden rounds before a final answer of which the client saw `visible`."""
    answer = text(visible)
    if before and answer:
        hidden = HiddenRounds(before, turn, [], {}, seen.question, seen.whole)
        store.keep([key(caller, "answer", seen.question, answer)], hidden)


def restore(store: TurnStore, caller: str, messages: Sequence[Any], *, remember: bool) -> list[Any]:
    """`messages` as the provider should see them: rules R1 to R13. The given messages are not changed."""
    if not len(store) or not any(_may_hide(message, remember) for message in messages):
        return list(messages)
    out: list[Any] = []
    seen = ConversationFingerprint()
    at = 0
    while at < len(messages):
        message = messages[at]
        hidden = None
        if isinstance(message, dict) and message.get("role") == "assistant":
            if message.get("tool_calls"):
                hidden = _find_calls(store, caller, seen, message)
            elif remember:
                hidden = _find_answer(store, caller, seen, message)
        end = at + 1
        if hidden is None:
            out.append(message)
        elif hidden.calls:
            end = _rebuild(hidden, messages, at, out)
        else:
            out += [*hidden.before, hidden.turn]
        for passed in messages[at:end]:
            seen.add(passed)
        at = end
    return out


def _may_hide(message: Any, remember: bool) -> bool:
    if not isinstance(message, dict) or message.get("role") != "assistant":
        return False
    return remember or bool(message.get("tool_calls"))


def _find_answer(store: TurnStore, caller: str, seen: ConversationFingerprint, message: Message) -> HiddenRounds | None:
    answer = text(message.get("content"))
    found = store.entries(key(caller, "answer", seen.question, answer)) if answer else []
    best = next((entry for entry in found if entry.conversation == seen.whole), found[0] if found else None)
    return best.hidden() if best is not None else None


def _find_calls(store: TurnStore, caller: str, seen: ConversationFingerprint, message: Message) -> HiddenRounds | None:
    conversation = seen.whole
    for call_id, name, arguments in named_calls(message):
        known = [e for e in store.entries(key(caller, "id", call_id)) if e.calls.get(call_id) == (name, arguments)]
        for entry in known:
            if entry.conversation == conversation:
                return entry.hidden()
        for entry in known:
            if entry.question == seen.question or _is_random(call_id):
                return entry.hidden()
        found = store.entries(key(caller, "call", conversation, name, arguments))
        if found:
            return found[0].hidden()
    return None


def _is_random(call_id: str) -> bool:
    """True for an id that no other conversation can have; "functions.get_weather:0" is not one."""
    return len(call_id) >= _RANDOM_LENGTH and not _COUNTED.search(call_id)


def _rebuild(hidden: HiddenRounds, messages: Sequence[Any], at: int, out: list[Any]) -> int:
    """Append the full turn for `messages[at]` to `out`; returns where the messages that it replaces end."""
    open_calls = dict(hidden.calls)  # the client's calls not seen in the history yet
    true_ids: dict[str, str] = {}  # the client's id for a call -> the true one
    order: list[str] = []  # true ids in the order of the client's calls, for results without an id
    answers: dict[str, Message] = {}
    others: list[Any] = []
    _match(messages[at], open_calls, true_ids, order)
    end = at + 1
    while end < len(messages) and isinstance(message := messages[end], dict):
        if message.get("role") in ("tool", "function"):
            true_id = true_ids.get(str(message.get("tool_call_id") or ""))
            if true_id is None and not message.get("tool_call_id"):
                true_id = next((i for i in order if i not in answers), None)
            if true_id is None or true_id in answers:
                others.append(message)
            else:
                answers[true_id] = message
        elif _is_rest(message, open_calls):
            _match(message, open_calls, true_ids, order)
        else:
            break
        end += 1
    results = {m["tool_call_id"]: m for m in hidden.results}
    out += hidden.before
    out.append(hidden.turn)
    for call_id, _, _ in named_calls(hidden.turn):
        if call_id in results:
            out.append(results[call_id])
        elif call_id in answers:
            out.append({**answers[call_id], "role": "tool", "tool_call_id": call_id})
        else:
            out.append({"role": "tool", "tool_call_id": call_id, "content": UNANSWERED})
    out += others
    return end


def _is_rest(message: Message, open_calls: dict[str, tuple[str, str]]) -> bool:
    """True if `message` has only further calls of the turn that is being rebuilt (R6)."""
    if message.get("role") != "assistant" or text(message.get("content")):
        return False
    calls = [(name, arguments) for _, name, arguments in named_calls(message)]
    return bool(calls) and all(call in open_calls.values() for call in calls)


def _match(
    message: Message, open_calls: dict[str, tuple[str, str]], true_ids: dict[str, str], order: list[str]
) -> None:
    """Remove the calls of `message` from `open_calls`, each by its id, else by its content."""
    for call_id, name, arguments in named_calls(message):
        true_id = call_id if open_calls.get(call_id) == (name, arguments) else None
        if true_id is None:
            true_id = next((i for i, call in open_calls.items() if call == (name, arguments)), None)
        if true_id is not None:
            del open_calls[true_id]
            order.append(true_id)
            if call_id:
                true_ids[call_id] = true_id
