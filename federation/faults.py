"""What the machine keeps a program from doing, as the error that a person meets: a path of no use, or means at an end.

Libraries say it in many ways; what they say is known again by its error number, its type, or its words.
"""

from __future__ import annotations

import errno
import os
import re

from federation.errors import FederationError, InputError, MachineFault

# Paths: another one, or another right to it, is up to the person. What stands for the path comes before.
_PATHS = {
    errno.ENOENT: "there is no such file or folder",
    errno.ENOTDIR: "a file stands where a folder must be",
    errno.EISDIR: "is a folder, not a file",
    errno.EEXIST: "something else is there already",
    errno.ENOTEMPTY: "is there already, and is not empty",
    errno.ENAMETOOLONG: "is longer than a name may be",
    errno.ELOOP: "is a link that leads in a circle",
    errno.EACCES: "this user may not read or write it; change its permissions, or name another place",
    errno.EPERM: "this user may not do that here; name another place",
    errno.EROFS: "its file system is read-only; name another place",
}
_MEANS = {
    errno.ENOSPC: "the disk is full; make room, and do it again",
    errno.EDQUOT: "the disk quota is used up; make room, and do it again",
    errno.EFBIG: "the file may not become so large; raise the limit (ulimit -f), or name another disk",
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine; end other programs",
    errno.ENOMEM: "the memory is at an end; end other programs, or ask for less (a smaller batch, fewer processes)",
    errno.EAGAIN: "no more processes or threads may be started; raise the limit (ulimit -u), or end other programs",
    errno.EIO: "the disk or device fails; look at the system's log",
    errno.ENODEV: "there is no such device",
    errno.ENXIO: "there is no such device",
}
_NO_MEMORY, _NO_THREAD = _MEANS[errno.ENOMEM], _MEANS[errno.EAGAIN]
_GPU_MEMORY = (
    "the GPU's memory is at an end; ask for less (a smaller batch, fewer processes), or take another device"
)
_NO_GPU = "there is no GPU that torch can use here; choose the device cpu, or look at the driver (nvidia-smi)"
_GPU_FAILS = "the GPU fails; look at the driver (nvidia-smi), or choose the device cpu"
# What libraries raise as a RuntimeError or an exception of their own.
_WORDS = (
    (re.compile(r"CUDA out of memory|CUBLAS_STATUS_ALLOC_FAILED|CUDA error: out of memory"), _GPU_MEMORY),
    (
        re.compile(
            r"No CUDA GPUs are available|Found no NVIDIA driver|CUDA driver initialization failed|NVIDIA driver on "
            r"your system is too old|not compiled with CUDA|CUDA error: (invalid device ordinal|no CUDA-capable)"
        ),
        _NO_GPU,
    ),
    (re.compile(r"CUDA error|CUDNN_STATUS|CUBLAS_STATUS"), _GPU_FAILS),
    (
        re.compile(r"can't allocate memory|Cannot allocate memory|std::bad_alloc|failed to map segment"),
        _NO_MEMORY,
    ),
    (re.compile(r"can't start new thread"), _NO_THREAD),
)
# Rust's libraries (safetensors, tokenizers) write the number into their text.
_RUST = re.compile(r"\(os error (\d{1,3})\)")


def fault_of(error: BaseException) -> FederationError | None:
    """Return what an error means to a person: `InputError` or `MachineFault`; None if it is no fault of path or machine.

    Parameters
    ----------
    error
        What was raised. Those that it came from are looked at, too: libraries wrap what the system says.
    """
    at: BaseException | None = error
    while at is not None:
        if (found := _fault(at)) is not None:
            return found
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
    return None


def path_fault(path: str | os.PathLike[str], error: OSError) -> FederationError:
    """Return the error that names a path which could not be read or written, of whatever file in it the system speaks."""
    return _of_number(error.errno, os.fspath(path)) or InputError(
        f"{os.fspath(path)}: cannot be used: {error.strerror or error}"
    )


def _fault(error: BaseException) -> FederationError | None:
    if isinstance(error, MemoryError):
        return MachineFault(f"{_NO_MEMORY}{_in_brackets(str(error))}")
    if isinstance(error, OSError):
        # Errors of a network are OSErrors, too; they name no file.
        return _of_number(error.errno, _name(error.filename)) if _is_of_the_system(error) else None
    text = str(error)
    if (number := _RUST.search(text)) is not None:
        return _of_number(int(number[1]), "")
    if isinstance(error, RuntimeError | AssertionError) or type(error).__module__.startswith("torch"):
        return next((MachineFault(words) for pattern, words in _WORDS if pattern.search(text)), None)
    return None


def _is_of_the_system(error: OSError) -> bool:
    return not isinstance(error, ConnectionError | TimeoutError) and type(error).__module__ == "builtins"


def _of_number(number: int | None, path: str) -> FederationError | None:
    where = f"{path}: " if path else ""
    if number in _MEANS:
        return MachineFault(f"{where}{_MEANS[number]}{_in_brackets(os.strerror(number))}")
    if number in _PATHS and path:
        return InputError(f"{where}{_PATHS[number]}{_in_brackets(os.strerror(number))}")
    return None


def _name(filename: object) -> str:
    return os.fsdecode(filename) if isinstance(filename, str | bytes | os.PathLike) else ""


def _in_brackets(text: str) -> str:
    line = " ".join(text.split())
    return f" ({line[:200]})" if line else ""
