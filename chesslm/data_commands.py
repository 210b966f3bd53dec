"""The commands that make data: each imports what it needs inside, so that ``--help`` loads no torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from chesslm.errors import InputError
from chesslm.options import Cluster, Quiet, Seed, Workers, who


def prepare(
    context: typer.Context,
    pgn: Annotated[list[str], typer.Argument(help="Files or URLs, also .zst, .gz, .bz2; - is standard input.")],
    out: Annotated[Path, typer.Option(help="The dataset folder to make.")],
    text: Annotated[
        bool, typer.Option("--text", help="The files are prose: plain text, JSONL, or folders of them.")
    ] = False,
    pairs: Annotated[bool, typer.Option("--pairs", help="The files are pairs, of chesslm generate --pairs.")] = False,
    notation: Annotated[
        str,
        typer.Option(help="How games are written: uci-move, uci-square, san, pgn-char, pgn-char-spaced, bpe or text."),
    ] = "uci-move",
    vocabulary: Annotated[
        int, typer.Option(help="Tokens to learn; 0: 4096 for san, --text and --pairs, 1024 for bpe.")
    ] = 0,
    tokenizer: Annotated[
        str | None, typer.Option(help="A text model whose tokens to take, for text, --text and --pairs.")
    ] = None,
    condition: Annotated[
        str | None, typer.Option(help="Put in front of each game what is known of it: elo,result,time.")
    ] = None,
    hints: Annotated[
        bool, typer.Option("--hints", help="Name the moved piece before each move (uci-square); see train.hints.")
    ] = False,
    min_elo: Annotated[int | None, typer.Option(help="Both players have at least this.")] = None,
    max_elo: Annotated[int | None, typer.Option(help="Both players have at most this.")] = None,
    result: Annotated[str | None, typer.Option(help="Only games that ended so, e.g. 1-0,0-1.")] = None,
    min_plies: Annotated[int, typer.Option(help="Games have at least so many plies.")] = 1,
    max_plies: Annotated[int | None, typer.Option(help="Games have at most so many plies.")] = None,
    max_games: Annotated[int | None, typer.Option(help="Stop after so many games kept.")] = None,
    since: Annotated[str | None, typer.Option(help="Games of this day or later, YYYY.MM.DD or YYYY.")] = None,
    until: Annotated[str | None, typer.Option(help="Games of this day or earlier.")] = None,
    eco: Annotated[str | None, typer.Option(help="Openings, e.g. B or C42 or C60-C99, several by commas.")] = None,
    val: Annotated[float, typer.Option(help="Share of games for validation; at least one game.")] = 0.02,
    test: Annotated[float, typer.Option(help="Share of games for the test; at least one game.")] = 0.02,
    exclude: Annotated[
        list[str] | None,
        typer.Option(help="Drop games that share their first 40 plies with one in this PGN."),
    ] = None,
    shard: Annotated[
        str | None, typer.Option(help="Only one share of the files, e.g. 2/8; --merge joins them.")
    ] = None,
    merge: Annotated[bool, typer.Option("--merge", help="Join the dataset folders that are given as files.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what an interrupted run kept.")] = False,
    seed: Seed = 1,
    workers: Workers = 0,
    executor: Cluster = None,
    quiet: Quiet = False,
) -> None:
    """Turn PGN games, prose, or pairs into a dataset of token shards; or join such datasets."""
    if merge:
        from chesslm.merge import merge as join

        _only(context, ("pgn", "out", "merge", "quiet"), "was for the datasets; leave it out with --merge")
        join([Path(folder) for folder in pgn], out, quiet)
        return
    if text or pairs:
        from chesslm.pair_rows import prepare_pairs
        from chesslm.text import prepare_text

        what = "text" if text else "pairs"
        taken = ("pgn", "out", what, "vocabulary", "tokenizer", "val", "test", "seed", "quiet")
        _only(context, taken, f"is for games; leave it out with --{what}")
        (prepare_text if text else prepare_pairs)(
            pgn, out, vocabulary=vocabulary, tokenizer_of=tokenizer, val=val, test=test, seed=seed, quiet=quiet
        )
        return
    from chesslm.pgn import Share
    from chesslm.prepare import Filters, prepare

    filters = Filters(
        min_elo=min_elo, max_elo=max_elo, result=result, min_plies=min_plies, max_plies=max_plies, since=since,
        until=until, eco=eco,
    )  # fmt: skip
    prepare(
        pgn, out, notation=notation, vocabulary=vocabulary, tokenizer_of=tokenizer,
        conditions=condition.split(",") if condition else (), hints=hints, filters=filters, max_games=max_games,
        val=val, test=test, exclude=exclude or [], seed=seed, share=Share.read(shard) if shard else None,
        resume=resume, workers=who(workers, executor), quiet=quiet,
    )  # fmt: skip


def _only(context: typer.Context, taken: Sequence[str], why: str) -> None:
    """Refuse any option but some."""
    if others := [name for name in context.params if name not in taken and _given(context, name)]:
        raise InputError(f"--{others[0].replace('_', '-')} {why}")


def _given(context: typer.Context, name: str) -> bool:
    """Whether an option stands on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def generate(
    context: typer.Context,
    out: Annotated[Path, typer.Argument(help="The PGN (or JSONL) to write; .zst, .gz and .bz2 are compressed.")],
    games: Annotated[int, typer.Option(help="How many games.")],
    by: Annotated[str, typer.Option(help="random, or uci:COMMAND for an engine, e.g. uci:stockfish.")] = "random",
    pairs: Annotated[
        str | None,
        typer.Option(
            help="Write pairs instead: uci-san, san-uci, moves-fen, fen-legal, move-english, english-move; or the same "
            "games for next-move prediction: uci, san."
        ),
    ] = None,
    origins: Annotated[
        list[str] | None, typer.Option("--from", help="PGN whose games make pairs, not random ones.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(help="Pairs trained on: none with a source or a game of theirs is written.")
    ] = None,
    seed: Seed = 1,
    workers: Workers = 0,
    executor: Cluster = None,
    quiet: Quiet = False,
) -> None:
    """Write games of uniformly random legal moves, or of a UCI engine at varied strength; or pairs for translation."""
    if pairs:
        from chesslm.pairs import generate_pairs

        if _given(context, "by"):
            raise InputError("--by is for games; pairs come from random ones, or from those of --from PGN")
        made = generate_pairs(
            out, kind=pairs, games=games, inputs=origins or [], exclude=exclude or [], seed=seed,
            workers=who(workers, executor), quiet=quiet,
        )  # fmt: skip
        print(f"{out}: {made:,} pairs" + (f"; there were no more games for {games:,}" if made < games else ""))
        return
    for option, given in (("--from", origins), ("--exclude", exclude)):
        if given:
            raise InputError(f"{option} is for pairs; say which with --pairs")
    from chesslm.generate import generate

    generate(out, games=games, by=by, seed=seed, workers=who(workers, executor), quiet=quiet)
    print(f"{out}: {games} games")
