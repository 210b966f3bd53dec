"""A UCI engine as a process: chess programs play a model through standard input and output.

Nothing but the protocol (``engine``) goes to standard output. ``uci`` is answered before torch is there: that is loaded
in a thread of its own, and ``readyok`` and moves wait for it.
"""

import os
import sys
from collections import deque
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING

import chess

from chesslm.checkpoint import conditions_of, find_model
from chesslm.conditions import Headers
from chesslm.play.engine import WAIT, Engine, Settings, words_of

if TYPE_CHECKING:
    from chesslm.model import LoadedModel
    from chesslm.play.player import ModelPlayer

LINE = 2**20
"""Bytes that are one line at most."""


def uci(model: str | None, notation: str | None = None, device: str = "auto") -> None:
    """Be an engine on standard input and output until ``quit`` or the end of the input.

    Args:
        model: folder or hub id; None is the released model.
        notation: how the model writes moves, if it does not say.
        device: auto, cpu, cuda or mps.

    Raises:
        InputError: no such model.
    """
    path = find_model(model)
    folder = Path(path)
    events = SimpleQueue["str | None | LoadedModel | Exception"]()
    greeted = Event()

    def read() -> None:
        for line in lines_of(sys.stdin.fileno()):
            events.put(line.decode("utf-8", "replace"))
        events.put(None)

    def load() -> None:
        # torch keeps the interpreter busy while it is loaded: whoever begins with uci is answered first.
        greeted.wait(0.2)
        try:
            from chesslm.model import load_model
            from chesslm.play.player import ModelPlayer

            # One move at a time bf16 is no quicker, and its coarse logits make ties of the likeliest moves.
            loaded = load_model(path, notation, device, precision="fp32")
            ModelPlayer(loaded).choose(chess.Board())
            events.put(loaded)
        except Exception as error:
            events.put(error)

    loading = Thread(target=load, daemon=True)
    for thread in (Thread(target=read, daemon=True), loading):
        thread.start()
    engine = Engine(_say, folder.resolve().name if folder.exists() else path, "elo" in conditions_of(folder))
    # Lines wait behind one that needs the model, until that is loaded.
    waiting, ended = deque[str](), False
    while waiting or not ended:
        match event := events.get():
            case None:
                ended = True
            case str():
                command = words_of(event)[:1]
                if command == ["quit"]:
                    break
                if waiting or (not engine.player_of and command and command[0] in WAIT):
                    waiting.append(event)
                else:
                    engine.obey(event)
                greeted.set()
            case Exception():
                raise event
            case _:
                engine.player_of = partial(player_of, event)
                while waiting:
                    engine.obey(waiting.popleft())
    if loading.is_alive():
        # Python cannot end while another thread is in the middle of loading torch.
        os._exit(0)


def lines_of(file: int) -> Iterator[bytes]:
    """The lines that come from a file descriptor; the rest of one that is too long is another.

    Not from ``sys.stdin``: a thread that waits there holds a lock that Python wants when it ends.
    """
    rest = b""
    while block := os.read(file, LINE):
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
        if len(rest) >= LINE:
            yield rest
            rest = b""
    if rest:
        yield rest


def player_of(loaded: "LoadedModel", settings: Settings) -> "ModelPlayer":
    """A player with these settings."""
    from chesslm.play.player import ModelPlayer

    told = Headers(settings.elo, settings.elo) if settings.elo else None
    return ModelPlayer(loaded, settings.style, settings.seed or None, told)


def _say(line: str) -> None:
    print(line, flush=True)
