"""Other gateways from PyPI, each in its own environment below `.bench/`: only with `--peers`.

Their defaults are kept except for what would leave this machine (telemetry, price lists) or write per request.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import ClassVar

from tests.bench.lab import ROOT
from tests.bench.subjects import KEY, Subject

INSTALL_TIMEOUT = 600.0  # seconds for one peer


class Peer(Subject):
    """A gateway that is installed for the bench."""

    package: ClassVar[str]
    script: ClassVar[str]
    conf: ClassVar[str]
    conf_name: ClassVar[str]
    flags: ClassVar[tuple[str, ...]] = ()
    env: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def missing(cls) -> str | None:
        """Install it unless that was already done."""
        venv = ROOT / ".bench" / "peers" / cls.name
        if (venv / "bin" / cls.script).exists():
            return None
        print(f"installing {cls.package} for the bench …", flush=True)
        try:
            subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True, timeout=120, capture_output=True)
            pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--retries", "5", cls.package]
            subprocess.run(pip, check=True, timeout=INSTALL_TIMEOUT, capture_output=True)
        except (subprocess.SubprocessError, OSError) as error:
            return f"{cls.package} could not be installed ({type(error).__name__})"
        return None

    def launch(self) -> subprocess.Popen[bytes]:
        folder = self.lab.folder / f"{self.name}-{self.port}"
        folder.mkdir()
        conf = folder / self.conf_name
        conf.write_text(self.conf.format(port=self.port, upstream=self.lab.upstream_port, key=KEY))
        command = [str(ROOT / ".bench" / "peers" / self.name / "bin" / self.script), "--config", str(conf)]
        command += [flag.format(port=self.port) for flag in self.flags]
        known = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return self.lab.start(command, known | dict(self.env), cwd=folder)


class LiteLLM(Peer):
    """LiteLLM's proxy, one worker, no database."""

    name = "litellm"
    package = "litellm[proxy]"
    script = "litellm"
    conf_name = "config.yaml"
    conf = """
model_list:
  - model_name: "*"
    litellm_params: {{model: "openai/*", api_base: "http://127.0.0.1:{upstream}/v1", api_key: sk-bench-upstream-0000}}
general_settings: {{master_key: {key}}}
litellm_settings: {{telemetry: false}}
"""
    flags = ("--host", "127.0.0.1", "--port", "{port}", "--num_workers", "1", "--telemetry", "False")
    env: ClassVar[Mapping[str, str]] = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}


class LmProxy(Peer):
    """lm-proxy, without its optional loggers."""

    name = "lm-proxy"
    package = "lm-proxy"
    script = "lm-proxy"
    conf_name = "config.toml"
    conf = """
host = "127.0.0.1"
port = {port}
[connections]
[connections.provider]
api_type = "openai"
api_base = "http://127.0.0.1:{upstream}/v1/"
api_key = "sk-bench-upstream-0000"
[routing]
"*" = "provider.*"
[groups.family]
api_keys = ["{key}"]
"""


PEERS: tuple[type[Subject], ...] = (LiteLLM, LmProxy)
