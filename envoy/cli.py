"""The command ``fed envoy``."""

from __future__ import annotations

import click

from federation.help import Group


@click.group(cls=Group)
def envoy() -> None:
    """Run an envoy, which holds a shard of the data and trains on it."""


@envoy.command()
@click.option(
    "-c", "--config", "path", default="envoy_config.yaml", show_default=True, help="The envoy's config."
)
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a setting of the config."
)
@click.option("--insecure", is_flag=True, help="Without certificates; on the loopback address only.")
def start(path: str, overrides: tuple[str, ...], insecure: bool) -> None:
    """Start an envoy and keep it running until SIGTERM or Ctrl-C."""
    from concurrent.futures import ThreadPoolExecutor

    from envoy.agent import Agent
    from envoy.config import EnvoyConfig
    from envoy.devices import find_devices
    from envoy.room import require_writable
    from federation import logs, schema
    from federation.identity import Credentials
    from federation.signals import StopSignals
    from federation.templates import say_earlier_names

    config = schema.load(path, EnvoyConfig, overrides)
    logs.configure(config.log_level, file=config.state / config.name / "envoy.log")
    say_earlier_names()
    # Before torch is asked for devices, and before data is opened.
    require_writable(config.state / config.name)
    if not insecure:
        Credentials(config.certificates, config.name).identity()
    agent = Agent(config, find_devices(config.devices), insecure)
    with ThreadPoolExecutor(1, "agent") as thread, StopSignals() as signals:
        running = thread.submit(agent.run)
        running.add_done_callback(lambda _: signals.wake())
        signals.wait()
        agent.stop()
        running.result()
