"""Home Assistant with fifty lamps in ten rooms and its own MCP server: agents with and without control are asked.

    home_assistant_control.py ROOT MODEL QUESTION ollama SERVERS MODEL=on|off ...

Once it runs, `SERVERS` (conf/mcp/servers.yaml of the proxy at ROOT) is written, with the address of its MCP server and
a token for it. Each MODEL is then asked by an agent of its own, whose *Control Home Assistant* is on or off.
"""

import asyncio
import json
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

from home_assistant import entry, question, root, start_hass
from homeassistant.auth.models import TOKEN_TYPE_LONG_LIVED_ACCESS_TOKEN
from homeassistant.core import Context, HomeAssistant
from homeassistant.helpers import area_registry, entity_registry
from homeassistant.helpers.aiohttp_client import async_get_clientsession

ROOMS = ("kitchen", "living_room", "bedroom", "bathroom", "hall", "office", "attic", "cellar", "garage", "garden")
LAMPS = [f"{room}_{place}" for room in ROOMS for place in ("ceiling", "desk", "floor", "wall", "window")]


def furnish(hass: HomeAssistant) -> None:
    """Assign every lamp to its room."""
    areas, entities = area_registry.async_get(hass), entity_registry.async_get(hass)
    for room in ROOMS:
        area = areas.async_create(room.replace("_", " ").title())
        for lamp in LAMPS:
            if lamp.startswith(room):
                entities.async_update_entity(f"input_boolean.{lamp}", area_id=area.id)


async def mcp_server(hass: HomeAssistant) -> dict[str, object]:
    """Home Assistant's MCP server, as an entry of servers.yaml."""
    flow = await hass.config_entries.flow.async_init("mcp_server", context={"source": "user"})
    flow = await hass.config_entries.flow.async_configure(flow["flow_id"], {"llm_hass_api": "assist"})
    if flow["type"] != "create_entry":
        sys.exit(f"The form of mcp_server: {flow}")
    await hass.async_block_till_done()
    user = await hass.auth.async_create_user("proxy", group_ids=["system-admin"])
    kept = await hass.auth.async_create_refresh_token(
        user, client_name="proxy", token_type=TOKEN_TYPE_LONG_LIVED_ACCESS_TOKEN,
        access_token_expiration=timedelta(days=1),
    )  # fmt: skip
    token = hass.auth.async_create_access_token(kept)
    url = f"http://127.0.0.1:{hass.http.server_port}/mcp_server/sse"
    return {"type": "sse", "url": url, "headers": {"Authorization": f"Bearer {token}"}}


async def ready(hass: HomeAssistant) -> None:
    """Wait until the proxy has the server's tools."""
    session = async_get_clientsession(hass)
    async with asyncio.timeout(30):
        while True:
            async with session.get(f"{root}/admin/status") as answer:
                servers = (await answer.json())["mcp_servers"]
            if any(server["tools"] for server in servers):
                return
            await asyncio.sleep(0.2)


async def main() -> None:
    """Ask each agent, and print what it said."""
    servers, *asked = sys.argv[5:]
    with tempfile.TemporaryDirectory() as folder:
        hass = await start_hass(folder, LAMPS)
        try:
            furnish(hass)
            described = {"servers": {"homeassistant": await mcp_server(hass)}}
            Path(servers).write_text(json.dumps(described))
            await ready(hass)
            for one in asked:
                model, _, control = one.rpartition("=")
                agent = await entry(hass, model, llm_hass_api="assist" if control == "on" else None)
                data = {"text": question, "agent_id": agent}
                answer = await hass.services.async_call(
                    "conversation", "process", data, blocking=True, return_response=True, context=Context()
                )
                print(one, answer["response"]["speech"]["plain"]["speech"])
        finally:
            await hass.async_stop(force=True)


if __name__ == "__main__":
    asyncio.run(asyncio.wait_for(main(), 120))
