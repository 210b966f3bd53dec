"""Speed of the suite legality beside the usual loop: python benchmarks/evaluate.py GAMES.pgn

The usual loop asks the model about one prefix at a time, without a cache, in fp32, and python-chess whether the
likeliest move is legal. The suite does all it does: legal moves of every position, all metrics, intervals. Both are
measured in turn in one run on the same games; medians are printed. Random weights, which are taken where no model is
named, are the hard case for the suite: every illegal move is told what is wrong with it.

Time nothing while something else runs.
"""

import argparse
import math
import statistics
import time

from chesslm import parallel
from chesslm.config import SIZES
from chesslm.eval.games import from_pgn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("games", help="a PGN, compressed or not")
    parser.add_argument("--limit", type=int, default=500, help="games that the suite measures")
    parser.add_argument("--loop", type=int, default=200, help="positions that the loop measures")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--model", help="a checkpoint folder; by default random weights of --size in --notation")
    parser.add_argument("--size", default="small", choices=list(SIZES))
    parser.add_argument("--notation", default="uci-move")
    arguments = parser.parse_args()

    import chess
    import numpy as np
    import torch

    from chesslm import boards
    from chesslm.eval.legality import HeldOut, legality
    from chesslm.eval.positions import find_positions
    from chesslm.eval.scorers import ModelScorer
    from chesslm.model import LoadedModel, load_model, new_gpt2, resolve_precision, tune_memory
    from chesslm.tokenizer import get_tokenizer

    tune_memory()  # as load_model does; both sides gain
    if arguments.model:
        loaded = load_model(arguments.model, device="cpu")
    else:
        tokenizer = get_tokenizer(arguments.notation)
        model = new_gpt2(SIZES[arguments.size], tokenizer, seed=1).eval()
        loaded = LoadedModel(model, tokenizer, "random", "random", {}, resolve_precision("auto", torch.device("cpu")))
    model, tokenizer, precision = loaded.model, loaded.tokenizer, loaded.precision
    scorer = ModelScorer(loaded)

    with parallel.pool() as pool:
        games = from_pgn(arguments.games, arguments.limit, 1, pool)
        codes = games.codes
        special = torch.from_numpy(tokenizer.is_special)
        plies = [(game, ply) for game, each in enumerate(codes) for ply in range(len(each))]
        drawn = np.random.default_rng(1).permutation(len(plies))[: arguments.loop]

        def suite() -> float:
            held = HeldOut(games.games, find_positions(codes, pool))
            result = legality(scorer, held, pool)
            return result.metrics["legal_argmax"].value

        @torch.inference_mode()
        def loop() -> float:
            legal = 0
            for game, ply in (plies[i] for i in drawn):
                prefix = codes[game][:ply]
                board = chess.Board()
                for move in boards.to_moves(prefix):
                    board.push(move)
                lead = np.array(tokenizer.lead(ply), dtype=np.int64)
                ids = torch.from_numpy(np.concatenate([tokenizer.encode(prefix).ids, lead]).astype(np.int64))[None]
                begun: tuple[str, ...] = ()
                while not begun or tokenizer.notation.extensions(begun):
                    scores = model(input_ids=ids, use_cache=False).logits[0, -1]
                    likeliest = int(scores.masked_fill(special, -math.inf).argmax())
                    token = tokenizer.tokens[likeliest]
                    if begun and token not in tokenizer.notation.extensions(begun):
                        break
                    begun = (*begun, token)
                    ids = torch.cat([ids, torch.tensor([[likeliest]])], dim=1)
                move = tokenizer.notation.parse(begun, board)
                legal += boards.illegal_kind(board, move) is None
            return legal / len(drawn)

        suite()
        seconds: dict[str, list[float]] = {"suite": [], "loop": []}
        for _ in range(arguments.repeats):
            for name, run in (("suite", suite), ("loop", loop)):
                began = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - began)

    rates = {}
    for name, positions in (("suite", len(plies)), ("loop", len(drawn))):
        middle = statistics.median(seconds[name])
        rates[name] = positions / middle
        print(f"{name:6} {positions:7,} positions in {middle:6.2f} s: {rates[name]:9,.0f} a second")
    print(f"the suite is {rates['suite'] / rates['loop']:.0f} times as fast, on {len(codes)} games, {precision}")


if __name__ == "__main__":
    main()
