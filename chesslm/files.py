"""Files: written whole or not at all (a temporary name, then a rename), hashed, and read in one place."""

import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from chesslm.errors import FailureError, InputError


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; rename it on success, delete it on any error.

    Raises:
        InputError: the folder is missing or cannot be written.
        FailureError: the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        # So that the new name never stands for blocks that a power cut took.
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise explain(error, path) from error
    finally:
        temporary.unlink(missing_ok=True)


def explain(error: OSError, path: Path) -> Exception:
    """An operating system's error as one line that says what to do."""
    import errno

    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return FailureError(f"{path}: the disk is full; free some space and run again")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return InputError(f"{path}: no permission to write there; choose another place")
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return InputError(f"{error.filename or path}: no such file or folder")
    return FailureError(f"{path}: {error.strerror or error}")


def new_folder(path: Path) -> None:
    """Create an output folder that must not exist yet (an empty one will do).

    Raises:
        InputError: it exists with something in it, or cannot be created.
    """
    check_new(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain(error, path) from error


def check_new(path: Path) -> None:
    """Make sure that an output folder does not exist yet (an empty one will do).

    Raises:
        InputError: it does.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path} exists already; choose another --out or remove it first")


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside ``path``, which must not exist yet (an empty folder will do).

    It is renamed on success, and deleted on any error or Ctrl-C, together with the parents made for it.

    Raises:
        InputError: ``path`` exists with something in it, or cannot be created.
        FailureError: the disk is full.
    """
    check_new(path)
    target = path.absolute()
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    missing = [parent for parent in target.parents if not parent.exists()]
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        temporary.replace(target)
    except OSError as error:
        # Under the name that the user gave, not the temporary one.
        raise explain(OSError(error.errno, error.strerror), path) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        with suppress(OSError):
            # Only what is still empty goes: on success nothing is.
            for parent in missing:
                parent.rmdir()


@contextmanager
def resumable_folder(path: Path, resume: bool, worth_keeping: Callable[[Path], bool]) -> Iterator[Path]:
    """Give the folder ``path.partial``, which becomes ``path`` on success; ``path`` must not exist yet.

    On any error or Ctrl-C it is kept if it is worth that, with a line on stderr that says so, and deleted otherwise. It
    is locked: two processes never write there.

    Args:
        path: an empty folder will do.
        resume: go on in the folder that an earlier run kept, if there is one.
        worth_keeping: whether something in it can be gone on with.

    Raises:
        InputError: ``path`` exists with something in it or cannot be created, another process is writing, or there is
            something to go on with and that is not asked for.
        FailureError: the disk is full.
    """
    check_new(path)
    target = path.absolute()
    partial = target.with_name(f"{target.name}.partial")
    missing = [parent for parent in target.parents if not parent.exists()]
    with _locked(partial, path):
        check_new(path)
        if worth_keeping(partial) and not resume:
            raise InputError(f"{partial} is what an interrupted run kept; go on with --resume, or remove it")
        if not worth_keeping(partial):
            for left in partial.iterdir():
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        try:
            yield partial
            partial.replace(target)
        except OSError as error:
            # Under the name that the user gave, not the temporary one.
            raise explain(OSError(error.errno, error.strerror), path) from error
        finally:
            if worth_keeping(partial):
                print(f"chesslm: {partial} keeps what is done; go on with --resume", file=sys.stderr)
            elif partial.exists():
                shutil.rmtree(partial)
                with suppress(OSError):
                    # Only what is still empty goes.
                    for parent in missing:
                        parent.rmdir()


@contextmanager
def _locked(folder: Path, path: Path) -> Iterator[None]:
    """Make a folder for one process alone; errors speak of ``path``."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise explain(OSError(error.errno, error.strerror), path) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise InputError(f"{folder}: another process is writing there; let it end or choose another --out") from None
    finally:
        os.close(lock)


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file that holds an object.

    Raises:
        InputError: it cannot be read, or holds something else.
    """
    try:
        content = json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: not readable ({error})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a JSON object")
    return content
