"""The commands by which a model is played: each imports what it needs inside, so that ``--help`` loads no torch."""

from typing import Annotated

import typer

from chesslm.options import Device, Model, NotationName


def play(
    model: Model = None,
    color: Annotated[str, typer.Option(help="Your colour: white, black or random.")] = "white",
    temperature: Annotated[float, typer.Option(help="0 plays the likeliest move; 1 as often as in its games.")] = 0.0,
    policy: Annotated[str, typer.Option(help="When its choice is illegal: mask or retry.")] = "mask",
    elo: Annotated[int | None, typer.Option(help="Rating of both sides, for a model told ratings in training.")] = None,
    white_elo: Annotated[int | None, typer.Option(help="Rating of White alone.")] = None,
    black_elo: Annotated[int | None, typer.Option(help="Rating of Black alone.")] = None,
    notation: NotationName = None,
    seed: Annotated[
        int | None, typer.Option(help="Of a random colour and of draws; by default another each time.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Play against a model in the terminal."""
    from chesslm.play.terminal import play

    white, black = (elo if of_side is None else of_side for of_side in (white_elo, black_elo))
    play(
        model, color=color, temperature=temperature, policy=policy, white_elo=white, black_elo=black, notation=notation,
        seed=seed, device=device,
    )  # fmt: skip


def uci(model: Model = None, notation: NotationName = None, device: Device = "auto") -> None:
    """Be a UCI engine, for chess GUIs, tournaments and lichess-bot."""
    from chesslm.play.uci import uci

    uci(model, notation=notation, device=device)
