"""`openai-proxy serve`: run the daemon."""

import click


@click.command("serve")
def command() -> int:
    """Run the daemon."""
    from openai_proxy.daemon import serve

    return serve()
