"""Home Assistant, headless and in this process, with Assist and a lamp: one of its own agents is asked one question.

    home_assistant.py ROOT MODEL QUESTION [ollama|openai_conversation|anthropic]

The agent comes from the integration's own config flow, and may switch the lamp (`HassTurnOn`). Written for 2025.4, the
newest for Python 3.13.0; its requirements are installed beforehand, nothing is installed here.
"""

import asyncio
import os
import socket
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

root, model, question = sys.argv[1:4]
domain = sys.argv[4] if len(sys.argv) > 4 else "ollama"
os.environ |= {"OPENAI_BASE_URL": root + "/v1", "ANTHROPIC_BASE_URL": root}  # their forms have no field for it

from homeassistant import bootstrap, loader  # noqa: E402
from homeassistant.components.homeassistant.exposed_entities import async_expose_entity  # noqa: E402
from homeassistant.config_entries import ConfigEntries  # noqa: E402
from homeassistant.core import Context, HomeAssistant  # noqa: E402
from homeassistant.helpers import entity_registry  # noqa: E402
from homeassistant.setup import async_setup_component  # noqa: E402

ANSWERS = {"url": root, "model": model, "api_key": "any"}  # of the forms
AGENT = {"llm_hass_api": "assist", "prompt": "You are a voice assistant."}
OPTIONS: dict[str, dict[str, Any]] = {
    "ollama": {**AGENT, "num_ctx": 8192, "max_history": 20, "keep_alive": -1},
    "openai_conversation": {**AGENT, "recommended": False, "chat_model": model},
    "anthropic": {**AGENT, "recommended": False, "chat_model": model, "max_tokens": 500},
}


def free_port() -> int:
    """A port of this machine."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


async def start_hass(folder: str, lamps: Sequence[str] = ("lamp",)) -> HomeAssistant:
    """Home Assistant with Assist and exposed lamps."""
    hass = HomeAssistant(folder)
    hass.config.skip_pip = True
    loader.async_setup(hass)
    conf = {
        "homeassistant": {"auth_providers": [{"type": "homeassistant"}]},
        "http": {"server_host": "127.0.0.1", "server_port": free_port()},
        "input_boolean": {lamp: {"name": lamp.replace("_", " ").title()} for lamp in lamps},
        "conversation": {}, "intent": {},
    }  # fmt: skip
    hass.config_entries = ConfigEntries(hass, conf)
    if await bootstrap.async_from_config_dict(conf, hass) is None:
        sys.exit("Home Assistant does not start.")
    for name in ("input_boolean", "conversation", "intent"):
        if not await async_setup_component(hass, name, conf):
            sys.exit(f"{name} does not start.")
    for lamp in lamps:
        async_expose_entity(hass, "conversation", f"input_boolean.{lamp}", True)
    await hass.async_start()
    await hass.async_block_till_done()
    return hass


async def entry(hass: HomeAssistant, model: str = model, **options: Any) -> str:
    """The agent's entity, created by the integration's config flow, with our options; None removes one."""
    flow = await hass.config_entries.flow.async_init(domain, context={"source": "user"})
    for _ in range(3):
        if flow["type"] != "form" or flow.get("errors"):
            break
        fields = {str(key) for key in flow["data_schema"].schema}
        said = {key: value for key, value in {**ANSWERS, "model": model}.items() if key in fields}
        flow = await hass.config_entries.flow.async_configure(flow["flow_id"], said)
    if flow["type"] != "create_entry":
        sys.exit(f"The form of {domain}: {flow.get('errors') or flow.get('reason') or flow['type']}")
    made = flow["result"]
    await hass.async_block_till_done()
    chosen = {name: value for name, value in {**OPTIONS[domain], **options}.items() if value is not None}
    hass.config_entries.async_update_entry(made, options=chosen)
    await hass.config_entries.async_reload(made.entry_id)
    await hass.async_block_till_done()
    entities = entity_registry.async_entries_for_config_entry(entity_registry.async_get(hass), made.entry_id)
    return next(entity.entity_id for entity in entities if entity.domain == "conversation")


async def main() -> None:
    """Ask, print the answer, and print the state of the lamp."""
    with tempfile.TemporaryDirectory() as folder:
        hass = await start_hass(folder)
        try:
            asked = {"text": question, "agent_id": await entry(hass)}
            answer = await hass.services.async_call(
                "conversation", "process", asked, blocking=True, return_response=True, context=Context()
            )
            print(answer["response"]["speech"]["plain"]["speech"])
            print("The lamp is", hass.states.get("input_boolean.lamp").state)
        finally:
            await hass.async_stop(force=True)


if __name__ == "__main__":
    asyncio.run(asyncio.wait_for(main(), 60))
