"""The commands ``fed data``: look at how data would be divided, and make some."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from federation.help import Group
from shard_descriptors.sample_data.command import sample


@click.group(cls=Group)
def data() -> None:
    """Look at shards, or make data to try things out."""


data.add_command(sample)


@data.command()
@click.option(
    "--federation", type=click.Path(path_type=Path), help="Describe the envoys of this file instead."
)
@click.option("--root", type=click.Path(path_type=Path), help="Where the data lies.")
@click.option("--source", type=click.Choice(["folder", "torchaudio", "huggingface"]), help="What reads it.")
@click.option("--hub", help="With --source huggingface and no --root: superb/ks or google/speech_commands.")
@click.option("--download", is_flag=True, default=None, help="Let torchaudio download what is missing.")
@click.option("--classes", help="superb, ten_words, all_words, or words with commas between them.")
@click.option(
    "--split", type=click.Choice(["published", "speaker"]), help="How train, validation, test are told."
)
@click.option("--validation-share", type=float, help="Share of the speakers, with --split speaker.")
@click.option("--test-share", type=float, help="Share of the speakers, with --split speaker.")
@click.option(
    "--partition", type=click.Choice(["stride", "speaker", "dirichlet"]), help="How shards are divided."
)
@click.option("--alpha", type=float, help="With --partition dirichlet: the smaller, the more unequal.")
@click.option("--worldsize", type=int, help="How many shards.")
@click.option("--seed", type=int, help="Of all that is drawn.")
@click.option(
    "--sampling-rate", type=click.Choice(["resample", "strict"]), help="What to do with other than 16 kHz."
)
@click.option("--max-unreadable", type=float, help="Share of the files that may be skipped.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def describe(federation: Path | None, as_json: bool, **options: Any) -> None:
    """Print what each shard would hold: samples of each class, speakers, totals; then what is left out, and what is too little.

    Speakers are those of the words; silence has none.
    """
    from federation.printing import printable
    from federation.tables import print_table
    from shard_descriptors.describe import as_rows, in_words
    from shard_descriptors.describe import describe as count

    settings = {name: value for name, value in options.items() if value is not None}
    if federation is not None and settings:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in settings)
        raise click.UsageError(f"--federation says it all; leave out {names}")
    description = count(_shards_of_file(federation) if federation is not None else _shards(settings))
    if as_json:
        click.echo(json.dumps(description, indent=1))
        return
    columns, rows = as_rows(description)
    print_table(columns, rows, "no shard", wraps=["class"], right=columns[2:])
    for line in in_words(description):
        click.echo(printable(line))


def _shards(settings: dict[str, Any]) -> dict[str, Any]:
    from shard_descriptors.speech.speech_commands import SpeechCommandsShard

    classes = settings.get("classes", "superb")
    if classes not in ("superb", "ten_words", "all_words"):
        settings["classes"] = classes.split(",")
    return {str(rank): shard for rank, shard in enumerate(SpeechCommandsShard.open_all(**settings))}


def _shards_of_file(file: Path) -> dict[str, Any]:
    from federation.federation_file import load_federation, open_shard

    federation = load_federation(file)
    return {name: open_shard(envoy.shard_descriptor) for name, envoy in federation.envoys.items()}


@data.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The folder to write.")
@click.option("--speakers", type=int, default=40, show_default=True, help="How many pseudo speakers.")
@click.option("--takes", type=int, default=2, show_default=True, help="How often each says each word.")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same bytes.")
@click.option("--words", help="Words with commas between them; by default ten commands and eight others.")
@click.option(
    "--background-seconds", type=int, default=60, show_default=True, help="Of each background recording."
)
@click.option("--force", is_flag=True, help="Replace a folder that was synthesised otherwise.")
@click.option("--quiet", is_flag=True, help="Print nothing.")
def synthesise(output: Path, words: str | None, quiet: bool, **request: Any) -> None:
    """Let espeak-ng voices speak a folder in Speech Commands layout."""
    from rich.console import Console
    from rich.progress import Progress

    from shard_descriptors.synthesis import synthesis

    chosen = synthesis.WORDS if words is None else words.split(",")
    with Progress(console=Console(stderr=True), disable=quiet or not Console(stderr=True).is_terminal) as bar:
        task = bar.add_task("speaking", total=None)
        written = synthesis.synthesise(
            output,
            words=chosen,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
            **request,
        )
    if not quiet:
        clips = len(chosen) * request["speakers"] * request["takes"]
        click.echo(
            f"{output}: {clips} clips of {request['speakers']} speakers{'' if written else ', there already'}"
        )


@data.command("words")
@click.option("--federation", required=True, type=click.Path(path_type=Path), help="The federation file.")
@click.option("--envoy", help="Whose training samples; may be left out where there is only one.")
@click.option(
    "--field", default="text", show_default=True, help="Which text of a sample: text, source or target."
)
@click.option(
    "--minimum", default=2, show_default=True, type=click.IntRange(1), help="Leave rarer words out."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="The file to write, JSON."
)
def count(federation: Path, envoy: str | None, field: str, minimum: int, output: Path) -> None:
    """Count the words of one site's training samples: words and counts are all that the site hands over."""
    from federation.errors import InputError
    from federation.federation_file import load_federation, open_shard
    from shard_descriptors.text.words import count_words

    envoys = load_federation(federation).envoys
    name = envoy or next(iter(envoys))
    if name not in envoys or (envoy is None and len(envoys) > 1):
        raise InputError(f"--envoy: name one of {', '.join(sorted(envoys))}")
    shard = open_shard(envoys[name].shard_descriptor)
    found = count_words(shard.split("train"), field, minimum)
    output.write_text(json.dumps(found, ensure_ascii=False, indent=0) + "\n", "utf-8")
    click.echo(f"{output}: {len(found)} words")


@data.command()
@click.argument("counts", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--size", default=4000, show_default=True, type=click.IntRange(1), help="How many words at most."
)
@click.option(
    "--minimum-sites", default=1, show_default=True, type=click.IntRange(1), help="That know a word."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="The file to write, a word a line."
)
def vocabulary(counts: tuple[Path, ...], size: int, minimum_sites: int, output: Path) -> None:
    """Make a vocabulary of the sites' counts; a plan names the file, and its words travel with the plan."""
    from shard_descriptors.text.words import merge_counts, read_counts

    merged = merge_counts([read_counts(file) for file in counts], size, minimum_sites)
    output.write_text("\n".join(merged) + "\n", "utf-8")
    click.echo(f"{output}: {len(merged)} words of {len(counts)} sites")
