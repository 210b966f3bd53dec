"""The commands by which a model is played: each imports what it needs inside, so that ``--help`` loads no torch."""

from pathlib import Path
from typing import Annotated

import typer

from chesslm.errors import InputError
from chesslm.options import Device, Model, NotationName, Quiet, Seed


def play(
    model: Model = None,
    color: Annotated[str, typer.Option(help="Your colour: white, black or random.")] = "white",
    temperature: Annotated[float, typer.Option(help="0 plays the likeliest move; 1 as often as in its games.")] = 0.0,
    policy: Annotated[str, typer.Option(help="If its choice is illegal: mask, or retry (temperature > 0).")] = "mask",
    elo: Annotated[int | None, typer.Option(help="Rating of both sides, for a model told ratings in training.")] = None,
    white_elo: Annotated[int | None, typer.Option(help="Rating of White alone.")] = None,
    black_elo: Annotated[int | None, typer.Option(help="Rating of Black alone.")] = None,
    opening: Annotated[str, typer.Option(help="Moves to begin with, as in 'e4 c5'; random: a bundled opening.")] = "",
    resume: Annotated[str, typer.Option(help="Go on with the game in this PGN.")] = "",
    clock: Annotated[str, typer.Option(help="Minutes and seconds a move, as in 5+3; by default none.")] = "",
    blindfold: Annotated[bool, typer.Option("--blindfold", help="Hide the pieces.")] = False,
    notation: NotationName = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Of a random colour or opening and of draws; by default another each time."),
    ] = None,
    device: Device = "auto",
) -> None:
    """Play against a model in the terminal."""
    from chesslm.conditions import Headers
    from chesslm.play.choice import Style
    from chesslm.play.terminal import play

    white, black = (elo if of_side is None else of_side for of_side in (white_elo, black_elo))
    play(
        model, color=color, style=Style(policy, temperature), opening=opening, resume=resume, clock=clock,
        blindfold=blindfold, headers=Headers(white, black), notation=notation, seed=seed, device=device,
    )  # fmt: skip


def uci(model: Model = None, notation: NotationName = None, device: Device = "auto") -> None:
    """Be a UCI engine, for chess GUIs, tournaments and lichess-bot."""
    from chesslm.play.uci import uci

    uci(model, notation=notation, device=device)


def match(
    model: Annotated[str, typer.Argument(help="A model; or random, or an engine, as for --against.")],
    against: Annotated[
        list[str],
        typer.Option(help="random, a model, or a UCI engine with limits and options: stockfish:skill=0,nodes=1000."),
    ],
    out: Annotated[Path, typer.Option(help="The PGN; a match that was stopped goes on.")],
    games: Annotated[int, typer.Option(help="Against each opponent, two from each opening.")] = 100,
    policy: Annotated[
        str, typer.Option(help="If a model's choice is illegal: mask, retry (temperature > 0), or strict, which loses.")
    ] = "mask",
    temperature: Annotated[float, typer.Option(help="Of models; 0 plays the likeliest move.")] = 0.0,
    openings: Annotated[
        str | None, typer.Option(help="PGN whose first 8 plies are played from.  [default: bundled ones]")
    ] = None,
    at_once: Annotated[int, typer.Option(min=1, help="Games side by side.")] = 8,
    seed: Seed = 1,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Play a match, and say by how much the model is stronger."""
    from chesslm.play.match import match

    lines = match(
        model, against, out, games=games, policy=policy, temperature=temperature, openings=openings, at_once=at_once,
        seed=seed, device=device, quiet=quiet,
    )  # fmt: skip
    print("\n".join(lines))


def ladder(
    pgn: Annotated[list[Path], typer.Argument(help="PGNs of chesslm match.")],
    anchor: Annotated[str, typer.Option(help="The player at 0.")] = "random",
) -> None:
    """Place all players of some matches on one ladder, in Elo."""
    from chesslm.play.record import ladder_table

    print("\n".join(ladder_table(pgn, anchor)))


def serve(
    model: Model = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at; the default is reached from this machine alone.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    notation: NotationName = None,
    device: Device = "auto",
) -> None:
    """Play in the browser, and watch the board that the model believes in."""
    try:
        from chesslm.play.web import serve
    except ImportError as error:
        raise InputError(f"{error.name} is missing: pip install 'chesslm-testbed[web]'") from error
    serve(model, host=host, port=port, notation=notation, device=device)
