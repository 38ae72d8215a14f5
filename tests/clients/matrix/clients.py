"""The clients: where each is found, how it is installed, and how it is asked one question non-interactively."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

PROGRAMS: Final = Path(__file__).parent / "programs"
CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "openai-proxy-clients"
_NPM: Final = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"]
_SDKS: Final = ["node@22", "openai", "@anthropic-ai/sdk", "ollama", "ai", "@ai-sdk/openai", "@ai-sdk/openai-compatible",
                "@google/genai", "zod"]  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """One question: the daemon's root address, the model, the text, and the client's own home directory."""

    root: str
    model: str
    question: str
    home: Path

    def write(self, name: str, content: Any) -> Path:
        """A file of the client's configuration."""
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1))
        return path


@dataclass(frozen=True)
class Run:
    """How a client is started: its command, and its environment besides the common variables."""

    command: list[str]
    environ: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Client:
    """One client. `find` returns its program or interpreter, None if it is not installed."""

    name: str
    find: Callable[[], str | None]
    start: Callable[[str, Asked], Run]
    packages: list[str]  # from npm, or from PyPI for a Python program
    folder: str  # below the cache, where they are installed
    tools: bool = True  # it brings its own tools


def _python(module: str, folder: str) -> Callable[[], str | None]:
    def find() -> str | None:
        for python in (sys.executable, str(CACHE / folder / "bin" / "python")):
            if Path(python).exists():
                done = subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False)
                if done.returncode == 0:
                    return python
        return None

    return find


def _library(name: str, module: str, program: str, packages: list[str], folder: str = "py") -> Client:
    def start(python: str, asked: Asked) -> Run:
        return Run([python, str(PROGRAMS / program), asked.root, asked.model, asked.question])

    return Client(name, _python(module, folder), start, packages, folder)


def _home_assistant(domain: str, library: str) -> Client:
    def start(python: str, asked: Asked) -> Run:
        program = str(PROGRAMS / "home_assistant.py")
        return Run([python, program, asked.root, asked.model, asked.question, domain])

    packages = [
        "homeassistant==2025.4.4",
        "pydantic==2.10.6",
        "ollama==0.4.7",
        "anthropic==0.47.2",
        "openai==1.68.2",
        "pycares<5",
        "mcp==1.5.0",
        "aiohttp_sse==2.2.0",
    ]
    return Client(f"Home Assistant, {library}", _python("homeassistant", "py-ha"), start, packages, "py-ha")


def home_assistant() -> str | None:
    """A Python with Home Assistant."""
    return _python("homeassistant", "py-ha")()


def node() -> str | None:
    """A Node that is new enough for every client: from the cache, else the system's."""
    own = CACHE / "npm" / "node_modules" / ".bin" / "node"
    return str(own) if own.exists() else shutil.which("node")


def _node_library(name: str, package: str, program: str) -> Client:
    def find() -> str | None:
        return node() if (CACHE / "npm" / "node_modules" / package).is_dir() else None

    def start(program_of_node: str, asked: Asked) -> Run:
        # Node searches modules beside the program, so it is copied to them.
        copied = shutil.copy(PROGRAMS / program, CACHE / "npm" / program)
        return Run([program_of_node, str(copied), asked.root, asked.model, asked.question])

    return Client(name, find, start, _SDKS, "npm")


def _cli(name: str, package: str, binary: str, start: Callable[[str, Asked], Run], *, tools: bool = True) -> Client:
    folder = "cli/" + package.replace("@", "_").replace("/", "_")

    def find() -> str | None:
        own = CACHE / folder / "node_modules" / ".bin" / binary
        return str(own) if own.exists() else shutil.which(binary)

    return Client(name, find, start, [package], folder, tools)


def _codex(program: str, asked: Asked) -> Run:
    asked.write(
        ".codex/config.toml",
        f'model = "{asked.model}"\nmodel_provider = "proxy"\napproval_policy = "never"\n'
        'sandbox_mode = "danger-full-access"\n[model_providers.proxy]\nname = "proxy"\n'
        f'base_url = "{asked.root}/v1"\nenv_key = "PROXY_KEY"\nwire_api = "responses"\n'
        "request_max_retries = 0\nstream_max_retries = 0\n",
    )
    command = [program, "exec", "--skip-git-repo-check", asked.question]
    return Run(command, {"CODEX_HOME": str(asked.home / ".codex"), "PROXY_KEY": "any"})


def _claude(program: str, asked: Asked) -> Run:
    environ = {"ANTHROPIC_BASE_URL": asked.root, "ANTHROPIC_AUTH_TOKEN": "any", "DISABLE_TELEMETRY": "1",
               "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "ANTHROPIC_SMALL_FAST_MODEL": asked.model,
               "CLAUDE_CODE_MAX_RETRIES": "0"}  # fmt: skip
    return Run([program, "-p", asked.question, "--model", asked.model, "--allowedTools", "Bash"], environ)


def _claude_sub_agent(program: str, asked: Asked) -> Run:
    run = _claude(program, replace(asked, question=f"SUBAGENT {asked.question}"))
    return Run([*run.command, "Task", "Agent"], {**run.environ, "CLAUDE_CODE_SUBAGENT_MODEL": asked.model})


def _claude_tool_search(program: str, asked: Asked) -> Run:
    run = _claude(program, replace(asked, question=f"TOOLSEARCH {asked.question}"))
    desk = {"type": "stdio", "command": sys.executable, "args": [str(PROGRAMS / "desk_server.py")]}
    servers = asked.write("desk.json", {"mcpServers": {"desk": desk}})
    allowed = ["ToolSearch", "mcp__desk__theirs", "--mcp-config", str(servers)]
    return Run([*run.command, *allowed], {**run.environ, "ENABLE_TOOL_SEARCH": "true"})


def _gemini(program: str, asked: Asked) -> Run:
    asked.write(".gemini/settings.json", {"security": {"auth": {"selectedType": "gemini-api-key"}},
                                          "privacy": {"usageStatisticsEnabled": False}})  # fmt: skip
    environ = {"GEMINI_API_KEY": "any", "GOOGLE_GEMINI_BASE_URL": asked.root, "GEMINI_CLI_TRUST_WORKSPACE": "true"}
    return Run([program, "-p", asked.question, "-m", asked.model, "--yolo"], environ)


def _qwen(program: str, asked: Asked) -> Run:
    asked.write(".qwen/settings.json", {"security": {"auth": {"selectedType": "openai"}},
                                        "privacy": {"usageStatisticsEnabled": False}})  # fmt: skip
    environ = {"OPENAI_API_KEY": "any", "OPENAI_BASE_URL": asked.root + "/v1", "OPENAI_MODEL": asked.model,
               **dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "https_proxy"), "")}  # fmt: skip  # it knows no NO_PROXY
    return Run([program, "-p", asked.question, "--yolo"], environ)


def _opencode(program: str, asked: Asked) -> Run:
    options = {"baseURL": asked.root + "/v1", "apiKey": "any"}
    provider = {"npm": "@ai-sdk/openai-compatible", "options": options, "models": {asked.model: {}}}
    asked.write("opencode.json", {"provider": {"proxy": provider}, "autoupdate": False, "share": "disabled",
                                  "small_model": f"proxy/{asked.model}"})  # fmt: skip
    return Run([program, "run", "-m", f"proxy/{asked.model}", asked.question])


def _pi(program: str, asked: Asked) -> Run:
    model = {"id": asked.model, "contextWindow": 100000, "maxTokens": 4000}
    provider = {"baseUrl": asked.root + "/v1", "api": "openai-completions", "apiKey": "any", "models": [model]}
    asked.write(".pi/agent/models.json", {"providers": {"proxy": provider}})
    command = [program, "-p", "--offline", "--provider", "proxy", "--model", asked.model, asked.question]
    return Run(command)


def _copilot(program: str, asked: Asked) -> Run:
    environ = {"COPILOT_PROVIDER_BASE_URL": asked.root + "/v1", "COPILOT_PROVIDER_API_KEY": "any",
               "COPILOT_MODEL": asked.model, "COPILOT_AUTO_UPDATE": "false", "COPILOT_OFFLINE": "true"}  # fmt: skip
    return Run([program, "-p", asked.question, "--allow-all-tools"], environ)


def _cline(program: str, asked: Asked) -> Run:
    data = str(asked.home / "cline")
    auth = [program, "auth", "--provider", "openai", "--apikey", "any", "--modelid", asked.model, "--baseurl",
            asked.root + "/v1", "--data-dir", data]  # fmt: skip
    ask = [program, "--data-dir", data, "-P", "openai", "-m", asked.model, "--json", asked.question]
    return Run(["sh", "-c", '"$@" >&2 && shift $# && exec ' + _quoted(ask), "sh", *auth])


def _continue(program: str, asked: Asked) -> Run:
    model = {"name": "proxy", "provider": "openai", "model": asked.model, "apiBase": asked.root + "/v1",
             "apiKey": "any", "roles": ["chat"], "capabilities": ["tool_use"]}  # fmt: skip
    path = asked.write("continue.yaml", {"name": "c", "version": "1.0.0", "schema": "v1", "models": [model]})
    return Run([program, "-p", "--auto", "--config", str(path), asked.question], {"CONTINUE_TELEMETRY_ENABLED": "0"})


def _aider(python: str, asked: Asked) -> Run:
    flags = ["--no-git", "--yes-always", "--no-check-update", "--no-show-model-warnings", "--analytics-disable",
             "--no-pretty", "--no-show-release-notes", "--no-detect-urls"]  # fmt: skip
    where = ["--openai-api-base", asked.root + "/v1", "--openai-api-key", "any", "--model", "openai/" + asked.model]
    return Run([python, "-m", "aider", *flags, *where, "--message", asked.question])


def _quoted(command: list[str]) -> str:
    return " ".join("'" + word.replace("'", "'\\''") + "'" for word in command)


CLIENTS: Final = (
    _library("openai py, chat", "openai", "openai_chat.py", ["openai"]),
    _library("openai py, responses", "openai", "openai_responses.py", ["openai"]),
    _library("anthropic py", "anthropic", "anthropic_stream.py", ["anthropic"]),
    _library("anthropic py, tool_runner", "anthropic", "anthropic_tool_runner.py", ["anthropic"]),
    _library("anthropic py, thread", "anthropic", "anthropic_thread.py", ["anthropic"]),
    _library("ollama py", "ollama", "ollama_chat.py", ["ollama"]),
    _library("google-genai py", "google.genai", "google_genai.py", ["google-genai"]),
    _library("OpenAI Agents SDK", "agents", "agents_sdk.py", ["openai-agents"]),
    _library("LangChain", "langchain_openai", "langchain_chat.py", ["langchain-openai"]),
    _library("pydantic-ai", "pydantic_ai.models.openai", "pydantic_ai_chat.py", ["pydantic-ai-slim[openai]"]),
    _library("litellm", "litellm", "litellm_chat.py", ["litellm"]),
    _library("LlamaIndex", "llama_index.llms.openai_like", "llama_index_chat.py", ["llama-index-llms-openai-like"],
             "py-llama"),
    _home_assistant("ollama", "ollama"),
    _home_assistant("openai_conversation", "openai"),
    _home_assistant("anthropic", "anthropic"),
    _node_library("openai node", "openai", "openai_chat.mjs"),
    _node_library("anthropic node, tool_runner", "@anthropic-ai/sdk", "anthropic_tool_runner.mjs"),
    _node_library("anthropic node, thread", "@anthropic-ai/sdk", "anthropic_thread.mjs"),
    _node_library("ollama node", "ollama", "ollama_chat.mjs"),
    _node_library("google-genai node", "@google/genai", "google_genai.mjs"),
    _node_library("Vercel ai, responses", "@ai-sdk/openai", "vercel_ai.mjs"),
    _node_library("Vercel ai, compatible", "@ai-sdk/openai-compatible", "vercel_ai_compatible.mjs"),
    _cli("Codex", "@openai/codex", "codex", _codex),
    _cli("Claude Code", "@anthropic-ai/claude-code", "claude", _claude),
    _cli("Claude Code, sub-agents", "@anthropic-ai/claude-code", "claude", _claude_sub_agent),
    _cli("Claude Code, ToolSearch", "@anthropic-ai/claude-code", "claude", _claude_tool_search),
    _cli("Gemini CLI", "@google/gemini-cli", "gemini", _gemini),
    _cli("Qwen Code", "@qwen-code/qwen-code", "qwen", _qwen),
    _cli("OpenCode", "opencode-ai", "opencode", _opencode),
    _cli("pi", "@mariozechner/pi-coding-agent", "pi", _pi),
    _cli("Copilot CLI", "@github/copilot", "copilot", _copilot),
    _cli("Cline", "cline", "cline", _cline),
    _cli("Continue", "@continuedev/cli", "cn", _continue),
    Client("aider", _python("aider", "py-aider"), _aider, ["aider-chat"], "py-aider", tools=False),
)  # fmt: skip


def install(client: Client) -> None:
    """Install a client into the cache. Raises CalledProcessError, and TimeoutExpired after ten minutes."""
    folder = CACHE / client.folder
    if client.folder.startswith("py"):
        if not (folder / "bin" / "python").exists():
            newer = shutil.which("python3.13") if client.folder == "py-ha" else None  # Home Assistant needs it
            subprocess.run([newer or sys.executable, "-m", "venv", str(folder)], check=True, timeout=600)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--prefer-binary"]
        subprocess.run([*pip, *client.packages], check=True, timeout=600)
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text('{"name": "clients", "private": true}')
    subprocess.run([*_NPM, *client.packages], cwd=folder, check=True, timeout=600)
