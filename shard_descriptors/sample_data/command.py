"""The command ``fed data sample``: data to try a plan with, where none is at hand."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("kind", type=click.Choice(["images", "speech", "text", "translation"]))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="The folder to write, new or empty.",
)
@click.option("--quiet", is_flag=True, help="Print nothing.")
def sample(kind: str, output: Path, quiet: bool) -> None:
    """Make a little data to try a plan with, and a federation file that divides it among three envoys.

    It is made here, without a network, and is the same each time: drawn digits, words that synthetic voices say, sentences
    that praise or blame, English sentences with their French. The tiny plan of each family learns it in a minute or two.
    """
    from rich.console import Console
    from rich.progress import Progress

    from shard_descriptors.sample_data.kinds import FEDERATION_FILE, KINDS, make

    chosen = KINDS[kind]
    console = Console(stderr=True)
    with Progress(console=console, disable=quiet or not console.is_terminal, transient=True) as bar:
        task = bar.add_task("making", total=None)
        made = make(chosen, output, lambda done, total: bar.update(task, completed=done, total=total))
    if not quiet:
        click.echo(f"{output / chosen.name}: {made}")
        click.echo(
            f"{output / FEDERATION_FILE}: three envoys that divide it, and a test that none of them holds"
        )
        click.echo(
            f"next: fed simulate plans/{chosen.plan}.yaml --federation {output / FEDERATION_FILE} -o runs/{kind}"
        )
