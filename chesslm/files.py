"""Files: written whole or not at all (a temporary name, then a rename), hashed, and read in one place.

A model's folder may come from anybody: what is read of it goes by ``child`` or ``within``, and JSON by ``read_json``.
"""

import fcntl
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from chesslm.errors import FailureError, InputError

JSON_BYTES = 16 << 20
"""Of a JSON file at most: full of brackets, these become 400 MB of lists. Ours have some kilobytes."""
LOCK_SECONDS = 2.0
"""How long a lock is asked for again."""
TOKENIZER_BYTES = 64 << 20
"""Of a tokenizer.json at most: one of 262,000 tokens has 33 MB."""


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; rename it on success, delete it on any error.

    Raises:
        InputError: the folder is missing or cannot be written, or what is there is no file, such as ``/dev/stdout``.
        FailureError: the disk is full.
    """
    check_file(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        # So that the new name never stands for blocks that a power cut took.
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        # Under the name that the user gave, not the temporary one.
        own = error.filename == str(temporary)
        raise explain(OSError(error.errno, error.strerror) if own else error, path) from error
    finally:
        temporary.unlink(missing_ok=True)


def check_file(path: Path) -> None:
    """See that nothing else than a file would be replaced.

    Raises:
        InputError: a folder is there, or a device such as ``/dev/stdout``.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the name of a file")
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: no regular file; give the name of a file")


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
    """Make sure that an output folder does not exist yet (an empty one will do, or one with what a kill left there
    under a temporary name).

    Raises:
        InputError: it does.
    """
    if path.exists() and (not path.is_dir() or any(not each.match(".*.tmp") for each in path.iterdir())):
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
    target = path.resolve()
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    missing = [parent for parent in target.parents if not parent.exists()]
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        temporary.replace(target)
    except OSError as error:
        check_new(path)  # another process may have made it meanwhile
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
    with alone_in(partial, path):
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
def alone_in(folder: Path, named: Path | None = None) -> Iterator[None]:
    """Have a folder, made if missing, for one process alone; a lock goes with its process, however that ends.

    Args:
        folder: to have.
        named: what the user called it, for errors.

    Raises:
        InputError: another process has it, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise explain(OSError(error.errno, error.strerror), named or folder) from error
    try:
        _lock(lock, folder)
        yield
    finally:
        os.close(lock)


@contextmanager
def alone_at(file: Path) -> Iterator[None]:
    """Have a file, there or not, for one process alone: ``.NAME.lock`` beside it is locked, and gone at the end.

    Raises:
        InputError: another process has it, or nothing can be written there.
    """
    place = file.with_name(f".{file.name}.lock")
    if not file.parent.is_dir():
        raise InputError(f"{file.parent}: no such folder")
    while True:
        try:
            lock = os.open(place, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise explain(OSError(error.errno, error.strerror), file) from error
        try:
            _lock(lock, file)
            # Unless whoever had it took it away in between.
            if place.exists() and os.path.samestat(os.fstat(lock), place.stat()):
                try:
                    yield
                finally:
                    place.unlink(missing_ok=True)
                return
        finally:
            os.close(lock)


def _lock(descriptor: int, what: Path) -> None:
    """Lock an open file; a process that is about to end is waited for."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                why = "another process is writing there; let it end or choose another --out"
                raise InputError(f"{what}: {why}") from None
        time.sleep(LOCK_SECONDS / 20)


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def child(folder: Path, name: str) -> Path:
    """A file of a folder by a name that stands in another file, whether it is there or not.

    Raises:
        InputError: the name leads out of the folder, or is that of a folder, a pipe or a device.
    """
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name:
        raise InputError(f"{folder}: {name!r} is no name of a file in it")
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: not a file")
    return path


def within(folder: Path, name: str) -> Path:
    """A file of a folder that anybody may have made, whether it is there or not.

    A link out of it could have a file of this machine copied into a checkpoint that is published, or written to. The
    hub's cache is let be: a snapshot's files are links into the blobs beside it.

    Raises:
        InputError: as ``child``; or a link leads out of the folder.
    """
    path, home = child(folder, name), folder.resolve()
    homes = [home, home.parents[1] / "blobs"] if home.parent.name == "snapshots" else [home]
    try:
        target = path.resolve()
    except (OSError, RuntimeError) as error:  # a link to itself
        raise InputError(f"{path}: not readable ({error})") from error
    if not any(target.is_relative_to(each) for each in homes):
        raise InputError(f"{path}: a link out of its folder; put the file itself there")
    return path


def read_json(path: Path, limit: int = JSON_BYTES) -> dict[str, Any]:
    """The content of a JSON file that holds an object.

    Args:
        path: of the file.
        limit: bytes that it may have.

    Raises:
        InputError: it cannot be read, is too large, or holds something else.
    """
    try:
        if (size := path.stat().st_size) > limit:
            raise InputError(f"{path}: {size / 1e6:.0f} MB are too much for what it should be")
        content = json.loads(path.read_text())
    except RecursionError as error:
        raise InputError(f"{path}: not readable (nested too deeply)") from error
    except InputError:
        raise
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: not readable ({error})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a JSON object")
    return content
