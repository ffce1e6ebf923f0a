"""What the machine keeps a command from doing is said as that, in earnest: full outputs, limits, memory, terminals."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from federation.errors import InputError, MachineFault
from federation.faults import fault_of
from tests.federation.in_a_process import in_a_process
from tests.plan_files import PLAN

INPUT, MACHINE = InputError.exit_code, MachineFault.exit_code


def test_an_output_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(PLAN)
    redirected = "os.dup2(os.open('/dev/full', os.O_WRONLY), 1)"
    done = in_a_process("plan", "show", "plan.yaml", cwd=tmp_path, before=redirected)
    assert (done.returncode, done.stderr.decode().splitlines()) == (
        MACHINE,
        ["fed: error: the disk is full; make room, and do it again (No space left on device)"],
    )


def test_an_output_that_nobody_reads_ends_a_command_in_silence(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(PLAN)
    closed = "r, w = os.pipe(); os.close(r); os.dup2(w, 1)"
    for typed in (["plan", "show", "plan.yaml"], ["--help"]):
        done = in_a_process(*typed, cwd=tmp_path, before=closed)
        assert (done.returncode, done.stderr) == (141, b"")


def test_too_many_open_files_and_a_limit_of_size_are_said(tmp_path: Path) -> None:
    for kind, least, words in (
        ("NOFILE", 3, "too many files are open; raise the limit (ulimit -n)"),
        ("FSIZE", 10, "the file may not become so large"),
    ):
        limited = (
            "import federation.main, federation.cli, federation.certificates\n"
            "federation.main.fed.list_commands(None)\n"
            f"resource.setrlimit(resource.RLIMIT_{kind}, ({least}, {least}))"
        )
        done = in_a_process("certify", "authority", cwd=tmp_path, before=limited)
        assert done.returncode == MACHINE, done.stderr
        assert words in done.stderr.decode()
        assert b"Traceback" not in done.stderr


def test_memory_and_gpus_that_are_not_there_are_known_by_what_libraries_raise() -> None:
    import torch

    with pytest.raises(MemoryError) as of_numpy:
        np.empty(1 << 60, np.uint8)
    with pytest.raises(RuntimeError) as of_torch:
        torch.empty(1 << 60, dtype=torch.uint8)
    for raised in (of_numpy, of_torch):
        assert "the memory is at an end" in str(fault_of(raised.value))
    if not torch.cuda.is_available():
        with pytest.raises((RuntimeError, AssertionError)) as of_cuda:
            torch.zeros(1, device="cuda")
        assert "there is no GPU that torch can use here" in str(fault_of(of_cuda.value))
    assert "the GPU's memory is at an end" in str(
        fault_of(torch.OutOfMemoryError("CUDA out of memory. Tried to"))
    )


def test_what_a_library_wraps_is_found_and_what_is_no_fault_of_the_machine_stays_one_of_the_program() -> None:
    def wrapped(cause: BaseException) -> BaseException:
        try:
            raise ValueError("could not save") from cause
        except ValueError as error:
            return error

    assert "the disk is full" in str(fault_of(wrapped(OSError(errno.ENOSPC, "No space left on device"))))
    rust = Exception("Error while serializing: I/O error: No space left on device (os error 28)")
    assert "the disk is full" in str(fault_of(rust))
    for error in (
        ValueError("x"),
        KeyError("x"),
        ConnectionResetError(errno.ECONNRESET, "reset"),
        OSError("x"),
    ):
        assert fault_of(error) is None


def test_in_the_locale_c_all_is_utf_8_and_another_terminal_gets_what_it_can_show(tmp_path: Path) -> None:
    folder = tmp_path / "研究 größe"
    folder.mkdir()
    (folder / "plan.yaml").write_text(PLAN.replace("classes: [yes, no]", "classes: [größe, 研究]"), "utf-8")
    plain = in_a_process("plan", "show", "plan.yaml", cwd=folder, LC_ALL="C")
    assert (plain.returncode, plain.stderr) == (0, b"")
    assert "größe" in plain.stdout.decode()
    latin_only = in_a_process("plan", "show", "plan.yaml", cwd=folder, LC_ALL="C", PYTHONIOENCODING="latin-1")
    assert (latin_only.returncode, latin_only.stderr) == (0, b"")
    assert b"\\u7814\\u7a76" in latin_only.stdout
    assert in_a_process("plan", "check", "größe.yaml", cwd=folder, LC_ALL="C").returncode == INPUT
