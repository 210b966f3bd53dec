"""The ``chesslm`` command, and ``python -m chesslm``: imports nothing heavy, since worker processes read it too."""

import os
import signal
from typing import Any


def main() -> None:
    """Run the command line; until it is loaded, Ctrl-C has nothing to clean up and ends at once."""
    usual = signal.getsignal(signal.SIGINT)
    if usual is signal.default_int_handler:
        signal.signal(signal.SIGINT, _stopped)
    from chesslm.cli import main

    signal.signal(signal.SIGINT, usual)
    main()


def _stopped(signum: int, frame: Any) -> None:
    os.write(2, b"chesslm: stopped\n")
    os._exit(130)


if __name__ == "__main__":
    main()
