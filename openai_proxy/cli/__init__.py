"""The commands of `openai-proxy`, one file each, imported only when called."""

from openai_proxy.cli.lean import without_translations

without_translations()  # before click is imported
