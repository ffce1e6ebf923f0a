"""The command ``fed director``."""

from __future__ import annotations

import click


@click.group()
def director() -> None:
    """Run the director, which coordinates the envoys."""


@director.command()
@click.option(
    "-c", "--config", "path", default="director_config.yaml", show_default=True, help="The director's config."
)
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a setting of the config."
)
@click.option("--insecure", is_flag=True, help="Without certificates; on the loopback address only.")
def start(path: str, overrides: tuple[str, ...], insecure: bool) -> None:
    """Start a director and keep it running until SIGTERM or Ctrl-C."""
    from director.config import DirectorConfig
    from director.server import Director
    from federation import logs, schema
    from federation.core_log import refusals_in_words
    from federation.signals import StopSignals

    config = schema.load(path, DirectorConfig, overrides)
    logs.configure(config.log_level, file=config.state / "director.log")
    with refusals_in_words():
        running = Director(config, insecure)
        with StopSignals() as signals:
            running.start()
            signals.wait()
            running.stop()
            running.wait()
