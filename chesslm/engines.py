"""A UCI engine, opened for a while: real processes that are gone afterwards, however that comes about."""

import asyncio
import logging
import os
import shlex
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import chess.engine

from chesslm import parallel
from chesslm.errors import FailureError, InputError

ENGINE_SECONDS = 60.0
"""How long an engine may take to say ``uciok``, and for a move."""


def engine_command(line: str) -> list[str]:
    """The words of an engine's command line, its path first; InputError if there is no such command."""
    try:
        command = shlex.split(line)
    except ValueError as error:
        raise InputError(f"uci:{line}: {error}") from error
    # Debian keeps Stockfish in /usr/games, which is not on the path of root or of cron.
    path = os.environ.get("PATH", os.defpath) + os.pathsep + "/usr/games"
    found = shutil.which(command[0], path=path) if command else None
    if not found:
        raise InputError(
            f"uci:{line}: no such command; install the engine (Debian: apt install stockfish) or give its path"
        )
    return [found, *command[1:]]


@asynccontextmanager
async def open_engine(command: list[str]) -> AsyncIterator[chess.engine.UciProtocol]:
    """A UCI engine on one thread and with the least hash, gone at the end in whatever way it comes.

    Raises:
        InputError: the command is no UCI engine.
        FailureError: within it the engine died, broke a rule, or took longer than it was waited for.
    """
    name = shlex.join(command)
    # What an engine says besides UCI, on stdout or stderr, python-chess would print as warnings.
    logging.getLogger("chess.engine").setLevel(logging.CRITICAL)
    try:
        # Its own process group: a Ctrl-C in the terminal is ours to handle.
        transport, engine = await chess.engine.UciProtocol.popen(command, setpgrp=True)
    except OSError as error:
        raise InputError(f"{name}: cannot be run ({error.strerror}); give uci: the command of a UCI engine") from error
    parallel.at_worker_end.append(transport.kill)
    try:
        try:
            await asyncio.wait_for(engine.initialize(), ENGINE_SECONDS)
        except (chess.engine.EngineError, TimeoutError) as error:
            why = str(error) or f"no uciok within {ENGINE_SECONDS:.0f} s"
            raise InputError(f"{name} is no UCI engine ({why}); give uci: the command of one") from error
        least = {key: engine.options[key].min or 1 for key in ("Threads", "Hash") if key in engine.options}
        await engine.configure(least)
        yield engine
    except chess.engine.EngineTerminatedError as error:
        raise FailureError(f"{name}: the engine died in the middle of a game") from error
    except chess.engine.EngineError as error:
        raise FailureError(f"{name}: the engine broke the rules of chess or of UCI: {error}") from error
    except TimeoutError as error:
        raise FailureError(f"{name}: no move from the engine within {ENGINE_SECONDS:.0f} s") from error
    finally:
        transport.close()  # kills it if it still runs
        await engine.returncode
        parallel.at_worker_end.remove(transport.kill)
