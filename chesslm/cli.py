"""The command line: one verb a function, each importing what it needs inside, so that ``--help`` loads no torch.

Exit codes: 0; 1 it failed; 2 bad usage or bad input; 130 after Ctrl-C; 143 after SIGTERM. Errors are one line on
stderr.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from chesslm import __version__
from chesslm.errors import FailureError, InputError

app = typer.Typer(
    name="chesslm",
    help="Train chess-move language models on PGN, measure what they know, play them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress, only results and errors.")]
Workers = Annotated[int, typer.Option(help="Processes; 0: one a core.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Precision = Annotated[str, typer.Option(help="auto, fp32 or bf16; auto: bf16 where the processor has it.")]
Model = Annotated[str | None, typer.Argument(help="Folder or hub id.  [default: checkpoints/chesslm-small]")]
NotationName = Annotated[str | None, typer.Option("--notation", help="How MODEL writes moves, if it does not say.")]


def _version(wanted: bool) -> None:
    if wanted:
        print(f"chesslm {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None: ...


def main() -> None:
    """Run the command line and turn every ending into its exit code."""
    signal.signal(signal.SIGTERM, _terminated)
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line.

    Returns:
        The exit code.
    """
    try:
        result = app(arguments, prog_name="chesslm", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except InputError as error:
        return _fail(error, 2)
    except FailureError as error:
        return _fail(error, 1)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("stopped", 130)
    except BrokenPipeError:
        # The reader of our output is gone (``chesslm ... | head``): nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        from chesslm.files import explain

        explained = explain(error, Path(str(error.filename or "output")))
        return _fail(explained, 2 if isinstance(explained, InputError) else 1)
    except Exception as error:
        # typer's usage errors, whichever click they come from
        if hasattr(error, "format_message"):
            return _fail(error.format_message(), 2)  # pyright: ignore[reportAttributeAccessIssue]
        raise


def _fail(why: Any, code: int) -> int:
    print("chesslm: " + " ".join(str(why).split()), file=sys.stderr)
    return code


def _terminated(signum: int, frame: Any) -> None:
    raise SystemExit(128 + signum)
