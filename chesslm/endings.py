"""How a command ends: whatever it raises becomes an exit code, and one line on stderr (``cli`` lists the codes)."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from chesslm.errors import FailureError, InputError


def exit_code(command: Callable[[], Any]) -> int:
    """Run a command line.

    Args:
        command: typer's, not in standalone mode.

    Returns:
        The exit code.
    """
    try:
        result = command()
        sys.stdout.flush()
        # typer turns a Ctrl-C into this code without a word.
        return _fail("stopped", 130) if result == 130 else result if isinstance(result, int) else 0
    except InputError as error:
        return _fail(error, 2)
    except FailureError as error:
        return _fail(error, 1)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("stopped", 130)
    except BrokenPipeError:
        return _unread()
    except SystemExit as ended:
        # typer's way with a broken pipe; SIGTERM comes here as well.
        if isinstance(ended.__context__, BrokenPipeError):
            return _unread()
        raise
    except OSError as error:
        from chesslm.files import explain

        explained = explain(error, Path(str(error.filename or "output")))
        return _fail(explained, 2 if isinstance(explained, InputError) else 1)
    except Exception as error:
        # typer's usage errors, whichever click they come from
        if hasattr(error, "format_message"):
            return _fail(error.format_message(), 2)  # pyright: ignore[reportAttributeAccessIssue]
        raise


def terminated(signum: int, frame: Any) -> None:
    """Handle SIGTERM: clean up as for any exception, then end with its exit code."""
    raise SystemExit(128 + signum)


def _fail(why: Any, code: int) -> int:
    # What a folder of anybody's says of itself does not get to steer the terminal.
    line = "".join(each for each in " ".join(str(why).split()) if each.isprintable())
    print(f"chesslm: {line}", file=sys.stderr)
    return code


def _unread() -> int:
    """The reader of our output is gone (``chesslm ... | head``): nothing is wrong, and nothing more is written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 0
