"""The table of mistakes: for each what is typed, the exit code, and words of the one line that says what to do."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest

from federation import errors, logs
from federation.certificates import make_authority, make_member
from federation.identity import Credentials
from federation.main import fed, main
from tests.checkout import ROOT
from tests.deployment import write_yaml
from tests.federation.fake_director import FakeDirector, free_address, serving
from tests.federation.in_a_process import in_a_process
from tests.full_disk import full
from tests.sentiment_data import make_sentences, shard_entry, small_plan

VERBOSITY = "GRPC_VERBOSITY"
CORE = re.compile(r"^[EIW]\d{4} |absl::")
USAGE, INPUT, UNREACHABLE, REFUSED, MACHINE = 2, 3, 4, 5, 7


@dataclass(frozen=True)
class Mistake:
    """What is typed in a folder like that of `place`; ``{braces}`` are addresses there."""

    typed: str
    code: int
    says: str


MISTAKES = [
    # A director that cannot start.
    Mistake("director start -c none.yaml", INPUT, "none.yaml: there is no such file"),
    Mistake("director start -c director.yaml --set lissen=localhost:1", INPUT, "did you mean listen?"),
    Mistake("director start -c director.yaml --set listen={taken}", INPUT, "is in use already"),
    Mistake("director start -c director.yaml --set listen=192.0.2.1:0", INPUT, "is no address of this machine"),
    Mistake("director start -c director.yaml --set listen=localhost", INPUT, "must be host:port, such as"),
    Mistake("director start -c director.yaml --set listen=localhost:99999", INPUT, "write it as host:port"),
    Mistake("director start -c director.yaml --set state=used", INPUT, "another director is using"),
    Mistake("director start -c director.yaml --set state=plan.yaml", INPUT, "plan.yaml: something else is there"),
    Mistake("director start -c director.yaml --set state=plan.yaml/x", INPUT, "a file stands where a folder must be"),
    Mistake("director start -c director.yaml --set certificates=none", INPUT, "none: there is no such folder"),
    Mistake("director start -c director.yaml --set name=other", INPUT, "other.crt: there is no such file; make it with"),
    Mistake("director start -c director.yaml --set name=north", INPUT, "only a director's can serve"),
    Mistake("director start -c director.yaml --insecure --set listen=0.0.0.0:0", INPUT, "leave --insecure out"),
    Mistake("director check -c director.yaml", INPUT, "holds no state of a director"),
    Mistake("director repair -c director.yaml", INPUT, "holds no state of a director"),
    Mistake("director backup -c director.yaml copy", INPUT, "holds no state of a director"),
    # An envoy that cannot start.
    Mistake("envoy start -c none.yaml", INPUT, "none.yaml: there is no such file"),
    Mistake("envoy start -c envoy.yaml --set director=localhost", INPUT, "must be host:port, such as"),
    Mistake("envoy start -c envoy.yaml --set devices=gpu", INPUT, "cpu or cuda:N, such as cuda:0"),
    Mistake("envoy start -c envoy.yaml --set certificates=none", INPUT, "none: there is no such folder"),
    Mistake("envoy start -c envoy.yaml --set name=south", INPUT, "south.crt: there is no such file"),
    Mistake("envoy start -c envoy.yaml --set state=plan.yaml", INPUT, "plan.yaml/north: a file stands where a folder must be"),
    Mistake("envoy start -c envoy.yaml --set shard_descriptor.settings.root=none", INPUT, "none: "),
    Mistake("envoy start -c envoy.yaml --set shard_descriptor.template=Shard", INPUT, "none of the known ones"),
    # A director that is not there, or not the one that was meant.
    Mistake("list -c alice.yaml --director localhost", INPUT, "'localhost': is no address; write it as host:port"),
    Mistake("list -c stranger.yaml --director {secure}", UNREACHABLE, "is not signed by our authority"),
    Mistake("list -c alice.yaml --director {open}", UNREACHABLE, "it does not speak TLS (was it started with --insecure?)"),
    Mistake("list", INPUT, "there is no workspace_config.yaml in this folder; there is one in workspace/: cd workspace"),
    Mistake("envoys -c none.yaml", INPUT, "none.yaml: there is no such file"),
    Mistake("envoys -c alice.yaml --certificates none", INPUT, "none: there is no such folder"),
    Mistake("envoys -c alice.yaml --name bob", INPUT, "bob.crt: there is no such file"),
    Mistake("list -c alice.yaml --director 192.0.2.1:1 --insecure", INPUT, "leave --insecure out"),
    Mistake("submit -c alice.yaml --director {secure} none.yaml", INPUT, "none.yaml: there is no such file"),
    Mistake("submit -c alice.yaml plan.yaml --set federation.settings.envoy=3", INPUT, "did you mean envoys?"),
    Mistake("submit -c alice.yaml plan.yaml --as My/Plan", INPUT, "'My/Plan' cannot name an experiment"),
    Mistake("watch -c alice.yaml --director {secure} nothing", INPUT, "no experiment 'nothing' at"),
    Mistake("logs -c alice.yaml --director {secure} nothing", INPUT, "no experiment 'nothing' at"),
    Mistake("stop -c alice.yaml --director {secure} nothing", INPUT, "no experiment 'nothing' at"),
    Mistake("resume -c alice.yaml --director {secure} nothing --set rounds", USAGE, "write it as KEY=VALUE"),
    Mistake("exclude -c alice.yaml --director {secure} nothing north", INPUT, "no experiment 'nothing' at"),
    Mistake("rm -c alice.yaml --director {secure} nothing", INPUT, "no experiment 'nothing' at"),
    Mistake("model -c alice.yaml --director {secure} nothing -o m", INPUT, "no experiment 'nothing' at"),
    Mistake("revoke -c alice.yaml --director {secure}", USAGE, "give a NAME, or --list"),
    Mistake("audit -c alice.yaml --director {secure} --since yesterday", USAGE, "90m, 24h or 7d ago"),
    Mistake("audit -c alice.yaml --director {secure}", REFUSED, "is of an earlier version"),
    # Plans and what is run on one machine.
    Mistake("plan check none.yaml", INPUT, "none.yaml: there is no such file"),
    Mistake("plan check folder", INPUT, "folder: is a folder, not a file"),
    Mistake("plan show plan.yaml --set seed", INPUT, "write it as key.key=value"),
    Mistake(
        "plan check plan.yaml --set task_runner.settings.checkpoint=/m/bert",
        INPUT,
        "must be the id of a checkpoint, such as",
    ),
    Mistake(
        "plan check plan.yaml --set data_loader.template=Loader --set data_loader.settings.a=1",
        INPUT,
        "data_loader.settings.a: unknown key",
    ),
    Mistake("simulate plan.yaml --federation none.yaml -o out", INPUT, "none.yaml: there is no such file"),
    Mistake(
        "simulate plan.yaml --federation federation.yaml -o out --set task_runner.settings.batchsize=3",
        INPUT,
        "did you mean batch_size?",
    ),
    Mistake("simulate plan.yaml --federation federation.yaml -o plan.yaml", INPUT, "plan.yaml: something else is there"),
    Mistake("simulate plan.yaml --federation federation.yaml -o out --device gpu", USAGE, "write it as auto, cpu or cuda:N"),
    Mistake("simulate plan.yaml --federation federation.yaml -o out --device cuda:99", INPUT, "--device: cuda:99 is not here"),
    Mistake("central plan.yaml --federation federation.yaml -o plan.yaml/x", INPUT, "a file stands where a folder must be"),
    Mistake("local plan.yaml --federation federation.yaml -o out --envoy norht", INPUT, "did you mean north?"),
    Mistake("predict none text", INPUT, "none: there is no such folder; MODEL is a folder that"),
    Mistake("evaluate folder --on federation.yaml", INPUT, "folder: holds no config.json"),
    Mistake("simulate director.yaml --federation federation.yaml -o out", INPUT, "is a director's config, where a plan is"),
    Mistake("simulate plan.yaml --federation plan.yaml -o out", INPUT, "is a plan, where a federation file is wanted"),
    Mistake("envoy start -c federation.yaml", INPUT, "is a federation file, where an envoy's config is wanted"),
    Mistake("director start -c envoy.yaml", INPUT, "is an envoy's config, where a director's config is wanted"),
    Mistake("list -c plan.yaml", INPUT, "is a plan, where a workspace's config is wanted"),
    Mistake("data describe --federation none.yaml", INPUT, "none.yaml: there is no such file"),
    Mistake("data words --federation federation.yaml -o words.json", INPUT, "--envoy: name one of north, south"),
    Mistake("data words --federation federation.yaml --envoy north -o folder", INPUT, "folder: is a folder, not a file"),
    Mistake("data vocabulary none.json -o words.txt", INPUT, "none.json"),
    Mistake("data synthesise -o plan.yaml", INPUT, "plan.yaml"),
    Mistake("data sample images -o plan.yaml", INPUT, "plan.yaml"),
    # Certificates.
    Mistake("certify -o plan.yaml authority", INPUT, "plan.yaml: something else is there"),
    Mistake("certify -o new director director", INPUT, "make it with: fed certify authority"),
    Mistake("certify -o certificates director director --host .", INPUT, "."),
    Mistake("certify -o certificates envoy North", INPUT, "must begin with a small letter"),
    Mistake("certify -o certificates workspace aggregator", INPUT, "choose another"),
    Mistake("certify -o certificates operator alice", INPUT, "--force"),
    Mistake("certify -o certificates request carol --role boss", INPUT, "boss"),
    Mistake("certify -o certificates sign none.csr --name carol --role envoy", INPUT, "none.csr"),
    Mistake("certify -o certificates renew carol", INPUT, "carol.crt"),
]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with configs, certificates, a plan, data, and the state folder of a director that runs."""
    folder = tmp_path_factory.mktemp("place")
    for certificates in ("certificates", "strange"):
        make_authority(folder / certificates)
        make_member(folder / certificates, "director", "director", ["localhost", "127.0.0.1"])
        make_member(folder / certificates, "alice", "workspace")
        make_member(folder / certificates, "north", "envoy")
    for name in ("used", "folder", "workspace"):
        (folder / name).mkdir()
    data = make_sentences(folder / "data")
    shards = {name: shard_entry(data, rank, 2) for rank, name in enumerate(("north", "south"))}
    write_yaml(
        folder / "director.yaml", {"certificates": "certificates", "state": "state", "listen": "127.0.0.1:0"}
    )
    write_yaml(
        folder / "envoy.yaml",
        {
            "name": "north",
            "director": "localhost:1",
            "certificates": "certificates",
            "devices": "cpu",
            "state": "envoys",
            "shard_descriptor": shards["north"],
        },
    )
    write_yaml(folder / "workspace/workspace_config.yaml", {"name": "alice"})
    for name, certificates in (("alice", "certificates"), ("stranger", "strange")):
        write_yaml(folder / f"{name}.yaml", {"name": "alice", "certificates": certificates})
    write_yaml(folder / "plan.yaml", small_plan())
    write_yaml(
        folder / "federation.yaml", {"envoys": {n: {"shard_descriptor": s} for n, s in shards.items()}}
    )
    return folder


@pytest.fixture(scope="module")
def addresses(place: Path) -> Iterator[dict[str, str]]:
    """Of a director with certificates, of one without, and one at which nothing but a director could not listen."""
    with ExitStack() as stack:
        lock = stack.enter_context((place / "used/lock").open("a"))
        fcntl.flock(lock, fcntl.LOCK_EX)
        taken = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        credentials = Credentials(place / "certificates", "director")
        yield {
            "secure": stack.enter_context(serving(FakeDirector(), credentials=credentials)),
            "open": stack.enter_context(serving(FakeDirector())),
            "taken": f"127.0.0.1:{taken.getsockname()[1]}",
        }


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Give a command a state folder of its own, and take back what it has changed in this process."""
    monkeypatch.setenv("FED_STATE", str(tmp_path / "fed"))
    for name in ("FED_DIRECTOR", "FED_CERTIFICATES", "FED_NAME", "FED_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)
    umask, verbosity = os.umask(0o022), os.environ.pop(VERBOSITY, None)
    yield
    os.umask(umask)
    # A director that was started here wants to hear of refusals, which a command that comes after it must not.
    os.environ.pop(VERBOSITY, None)
    if verbosity is not None:
        os.environ[VERBOSITY] = verbosity
    logs.configure(quiet=True)


def said_by(arguments: list[str], capfd: pytest.CaptureFixture[str], code: int) -> str:
    """Run a command in this process; return what it said, of which nothing may be a traceback or a library's."""
    capfd.readouterr()
    assert main(arguments) == code, capfd.readouterr().err
    said = capfd.readouterr().err
    assert "Traceback" not in said
    assert '  File "' not in said
    assert "fault in the program" not in said
    # Where another test has begun with gRPC, its core has its verbosity already.
    return "".join(line for line in said.splitlines(keepends=True) if not CORE.search(line))


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.typed)
def test_a_mistake_is_one_line_that_helps_and_its_exit_code(
    mistake: Mistake,
    place: Path,
    addresses: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(place)
    said = said_by(mistake.typed.format(**addresses).split(), capfd, mistake.code)
    assert mistake.says in said
    if mistake.code != USAGE and not mistake.typed.startswith("plan check"):
        assert all(line.startswith("fed: error: ") for line in said.splitlines()), said
        assert len(said.splitlines()) == 1, said


def test_the_traceback_of_a_service_that_cannot_start_is_in_its_log(
    place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(place)
    for service, log in (("director", "director.log"), ("envoy", "north/envoy.log")):
        said_by(
            [
                service,
                "start",
                "-c",
                f"{service}.yaml",
                "--set",
                f"state={tmp_path}",
                "--set",
                "certificates=none",
            ],
            capfd,
            INPUT,
        )
        written = (tmp_path / log).read_text()
        assert f"fed {service} start" in written
        assert "Traceback" in written
        assert "there is no such folder" in written


# Every command, by the table of docs/exit_codes.md.


def commands(
    group: click.Group = fed, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """All that the parser knows, groups apart."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(commands())
DOCUMENTED = {
    int(found[1]): found[2]
    for found in re.finditer(
        r"^\| (\d+) \| (?:`(\w+)`)? ?\|", (ROOT / "docs/exit_codes.md").read_text(), re.MULTILINE
    )
}


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_a_mistake_in_the_table(path: tuple[str, ...]) -> None:
    typed = [
        tuple(word for word in re.sub(r"^certify -o \S+", "certify", mistake.typed).split())
        for mistake in MISTAKES
    ]
    assert any(words[: len(path)] == path for words in typed)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_ends_as_the_table_of_exit_codes_says(
    path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    command = COMMANDS[path]
    assert said_by([*path, "--help"], capfd, 0) == ""
    assert "No such option" in said_by([*path, "--no-such-option"], capfd, USAGE)
    monkeypatch.setattr(command, "params", [])
    for error, code in ENDS:

        def fail(error: BaseException = error, **_: Any) -> None:
            raise error

        monkeypatch.setattr(command, "callback", fail)
        arguments = ["certify", path[1]] if path[0] == "certify" else [*path]
        assert code in DOCUMENTED
        said = said_by(arguments, capfd, code)
        # After an interrupt the cursor is put below what the terminal has made of Ctrl-C.
        lines = said.strip("\n").splitlines()
        assert len(lines) == (0 if code in (130, 141) else 1), said
        assert all(line.startswith("fed: error: ") for line in lines)


ENDS: list[tuple[BaseException, int]] = [
    (errors.InputError("what"), 3),
    (errors.Unreachable("what"), 4),
    (errors.Refused("what"), 5),
    (errors.ExperimentFailed("what"), 6),
    (errors.Diverged("what"), 6),
    (errors.MachineFault("what"), 7),
    (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), 7),
    (OSError(errno.EMFILE, os.strerror(errno.EMFILE), "clip.wav"), 7),
    (OSError(errno.EACCES, os.strerror(errno.EACCES), "out"), 3),
    (OSError(errno.EROFS, os.strerror(errno.EROFS), "out"), 3),
    (MemoryError(), 7),
    (KeyboardInterrupt(), 130),
    (BrokenPipeError(errno.EPIPE, "Broken pipe"), 141),
]


def test_a_full_disk_is_said_whatever_is_written(
    small_disk: Path, place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    (small_disk / "new").mkdir()
    with full(small_disk):
        for typed in (
            f"certify -o {small_disk}/new authority",
            f"data words --federation federation.yaml --envoy north -o {small_disk}/new/words.json",
        ):
            said = said_by(typed.split(), capfd, MACHINE)
            assert "the disk is full; make room" in said
            assert str(small_disk) in said or "words" in typed


def test_the_director_that_is_away_is_named_at_once_and_how_long_it_is_tried(
    place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("workspace.client.PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr("workspace.client.Federation.experiments.__defaults__", (0.2,))
    address = free_address()
    assert main(["list", "-c", str(place / "alice.yaml"), "--director", address]) == UNREACHABLE
    first, *_, last = capfd.readouterr().err.splitlines()
    assert (
        first
        == f"fed: the director at {address} does not answer (unavailable): nothing listens there; trying again for 0 s"
    )
    assert (
        last == f"fed: error: the director at {address} does not answer (unavailable): nothing listens there"
    )


def test_a_director_of_another_authority_is_said_in_one_line_and_not_waited_for(
    place: Path, addresses: dict[str, str]
) -> None:
    done = in_a_process("list", "-c", "stranger.yaml", "--director", addresses["secure"], cwd=place)
    assert done.returncode == UNREACHABLE
    *before, last = done.stderr.decode().splitlines()
    assert last == (
        f"fed: error: the director at {addresses['secure']} cannot be trusted: its certificate is not signed by our authority, "
        "or expired"
    )
    # Where the machine is slow, it is said in between to whom it connects.
    assert [line for line in before if "connecting to" not in line] == []


# Where a command is run.


@contextmanager
def nobody_at_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def unknown(uid: int) -> Any:
        raise KeyError(uid)

    with monkeypatch.context() as here:
        here.delenv("HOME", raising=False)
        here.setattr("pwd.getpwuid", unknown)
        yield


def test_without_a_home_folder_commands_work_and_a_path_in_it_is_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.delenv("FED_STATE")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with nobody_at_home(monkeypatch):
        assert main(["plan", "show", "plan.yaml"]) == 0
        said = said_by(["plan", "show", "none.yaml"], capfd, INPUT)
        assert said == "fed: error: none.yaml: there is no such file\n"
        assert "Traceback" in (tmp_path / f"fed-{os.getuid()}" / "fed.log").read_text()
        said = said_by(["director", "start", "-c", "director.yaml", "--set", "state=~/state"], capfd, INPUT)
        assert "~/state: there is no home folder; set HOME" in said
