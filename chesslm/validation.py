"""The quick look at held-out games during training: bits a move, and how often the greedy move is legal.

The suite ``legality`` (chesslm.eval) is the measurement; this is a few seconds of it, on the same definitions.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import chess
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from chesslm import boards
from chesslm.config import TrainConfig
from chesslm.forks import Forks
from chesslm.loader import NOT_ASKED, cut_batches, cut_game, pad_rows, targets_of, without
from chesslm.shards import Dataset, Split
from chesslm.text_tokenizer import TextTokenizer
from chesslm.tokenizer import GameTokenizer, Role, TokenIds, TokenizedGame

TEXT_BATCH = 4096
"""Tokens: the logits of a text model's vocabulary take 16 KB each."""
CONTINUED_PLIES = 200
"""Plies at which a move of several tokens is written out, each of whose tokens costs a forward pass of its prefix."""

Logits = Callable[[torch.Tensor], torch.Tensor]
"""Token ids (B, T) -> logits (B, T, V)."""
Measure = Callable[[Logits, int], dict[str, float]]
"""Logits of a model and its context -> figures by name."""


def measure_of(dataset: Dataset, settings: TrainConfig) -> Measure:
    """What is measured on the validation split while training."""
    split, rows = dataset.splits["val"], settings.val_games
    if dataset.is_pairs:
        return lambda logits_of, context: validate_pairs(logits_of, split, rows, context)
    tokenizer = dataset.any_tokenizer
    if isinstance(tokenizer, TextTokenizer):
        return lambda logits_of, context: validate_prose(logits_of, tokenizer, split, rows, context)
    return lambda logits_of, context: validate(logits_of, tokenizer, split, rows, context)


def validate(
    logits_of: Logits, tokenizer: GameTokenizer, split: Split, games: int, context: int, seed: int = 0
) -> dict[str, float]:
    """Measure on some games of a split, at even distances: its sources stand one behind the other.

    Returns:
        ``val_bits_per_move`` over the tokens of all moves within the context, ``val_legal_argmax``: the share of
        plies (for moves of several tokens: of a seeded sample of them) whose greedy move is legal, and
        ``val_plies``, the number it was measured on.
    """
    held = [cut_game(bare(split[i]), context) for i in spread(len(split), games)]
    forks = Forks(tokenizer)
    order = sorted(range(len(held)), key=lambda i: len(held[i]))
    held = [held[i] for i in order]
    nats, moves = 0.0, 0
    choices: list[list[int]] = []
    for batch in cut_batches(np.array([len(game) for game in held]), 8192):
        rows = torch.from_numpy(pad_rows([game.ids for game in held[batch]]))
        logits_BTV = logits_of(rows)[:, :-1].float()
        of_move_BT = torch.from_numpy(pad_rows([_is_move(game) for game in held[batch]])).bool()[:, 1:]
        # In the whole vocabulary, specials included: bits a move as a text model would count them.
        losses_BT = F.cross_entropy(logits_BTV.transpose(1, 2), rows[:, 1:], reduction="none")
        nats += float(losses_BT[of_move_BT].sum())
        for game, logits_TV in zip(held[batch], logits_BTV, strict=True):
            logits_PV = logits_TV[np.flatnonzero(game.role & Role.MOVE_BEGINS) - 1].numpy()
            moves += len(logits_PV)
            # The last one is that before the ply that would follow.
            before = forks.moves_before(game)[:-1]
            may_follow = (forks.may_follow(each, (), move) for each, move in zip(logits_PV, before, strict=True))
            choices.append([int(scores.argmax()) for scores in may_follow])
    legal, plies = _legal(logits_of, forks, held, choices, seed)
    return {
        "val_bits_per_move": nats / math.log(2) / max(moves, 1),
        "val_legal_argmax": legal / max(plies, 1),
        "val_plies": plies,
    }


def spread(total: int, wanted: int) -> list[int]:
    """So many places out of all, at even distances; all of them if there are no more."""
    wanted = min(wanted, total)
    return [i * total // wanted for i in range(wanted)]


def validate_prose(
    logits_of: Logits, tokenizer: TextTokenizer, split: Split, rows: int, context: int
) -> dict[str, float]:
    """Measure on some rows of a split of text, at even distances: its books stand one behind the other.

    Returns:
        ``val_bits_per_byte``: of the text, so that tokenizers compare, as far as the context goes.
    """
    chosen = spread(len(split), rows)
    held = [cut_game(split[i], context) for i in chosen]
    sizes = split.table()["bytes"].to_numpy()[chosen]
    nats, read = 0.0, 0
    for size, row, i in zip(sizes, held, chosen, strict=True):
        whole = len(row) == split.lengths[i]
        read += int(size) if whole else len(tokenizer.plain.decode(row.ids.tolist()).encode())
    for batch in cut_batches(np.array(list(map(len, held))), TEXT_BATCH):
        games = held[batch]
        ids_BT = torch.from_numpy(pad_rows([game.ids for game in games]))
        targets_BT = torch.from_numpy(pad_rows([targets_of(game) for game in games], NOT_ASKED))
        logits_BTV = logits_of(ids_BT)[:, :-1].float()
        loss = F.cross_entropy(logits_BTV.transpose(1, 2), targets_BT[:, 1:], ignore_index=NOT_ASKED, reduction="sum")
        nats += float(loss)
    return {"val_bits_per_byte": nats / math.log(2) / max(read, 1)}


@dataclass(frozen=True)
class Targets:
    """How well a model expects targets; arrays of shape (pairs,).

    Attributes:
        bits: -log2 of each target's probability, <eos> included.
        tokens: of each target, <eos> included.
        exact: whether each of them is the likeliest, so that greedy writing gives this target.
    """

    bits: NDArray[np.float64]
    tokens: NDArray[np.int64]
    exact: NDArray[np.bool_]

    def figures(self, prefix: str = "") -> dict[str, float]:
        """Bits a target, bits a token of it, and the share that is exact."""
        bits = float(self.bits.sum())
        return {
            f"{prefix}bits_per_target": bits / max(len(self.bits), 1),
            f"{prefix}bits_per_target_token": bits / max(int(self.tokens.sum()), 1),
            f"{prefix}exact": float(self.exact.mean()) if len(self.exact) else 0.0,
        }


def score_targets(logits_of: Logits, pairs: Sequence[TokenizedGame]) -> Targets:
    """Measure rows of pairs: a forward pass of each, nothing is written."""
    found = Targets(np.zeros(len(pairs)), np.zeros(len(pairs), np.int64), np.zeros(len(pairs), bool))
    lengths = np.array([len(pair) for pair in pairs])
    order = np.argsort(lengths, kind="stable")
    for batch in cut_batches(lengths[order], TEXT_BATCH):
        rows = [pairs[i] for i in order[batch]]
        ids_BT = torch.from_numpy(pad_rows([row.ids for row in rows]))
        asked = [np.where(row.role & Role.TARGET, row.ids.astype(np.int64), NOT_ASKED) for row in rows]
        targets_BT = torch.from_numpy(pad_rows(asked, NOT_ASKED))[:, 1:]
        logits_BTV = logits_of(ids_BT)[:, :-1].float()
        nats_BT = F.cross_entropy(logits_BTV.transpose(1, 2), targets_BT, ignore_index=NOT_ASKED, reduction="none")
        right_BT = (logits_BTV.argmax(-1) == targets_BT) | (targets_BT == NOT_ASKED)
        found.bits[order[batch]] = (nats_BT.double().sum(1) / math.log(2)).numpy()
        found.tokens[order[batch]] = (targets_BT != NOT_ASKED).sum(1).numpy()
        found.exact[order[batch]] = right_BT.all(1).numpy()
    return found


def some_pairs(split: Split, rows: int, context: int) -> list[TokenizedGame]:
    """Pairs of a split that fit into the context, spread over it: a dataset may hold one kind after the other."""
    taken = np.linspace(0, len(split) - 1, min(rows, len(split))).round().astype(int)
    return [split[int(i)] for i in taken if split.lengths[i] <= context]


def validate_pairs(logits_of: Logits, split: Split, rows: int, context: int) -> dict[str, float]:
    """Measure on some pairs of a split.

    Returns:
        ``val_bits_per_target``, ``val_bits_per_target_token``, and ``val_exact``: the share of pairs whose target is
        what the model writes greedily.
    """
    return score_targets(logits_of, some_pairs(split, rows, context)).figures("val_")


def bare(game: TokenizedGame) -> TokenizedGame:
    """A game without its hints, for which no model is asked at test."""
    return without(game, (game.role & Role.HINT) > 0)


def _is_move(game: TokenizedGame) -> NDArray[np.uint16]:
    """The tokens of moves, without their numbers."""
    return (game.role & ~(Role.MOVE_BEGINS | Role.MOVE_ENDS) == 0).astype(np.uint16)


def _legal(
    logits_of: Logits, forks: Forks, games: Sequence[TokenizedGame], choices: Sequence[Sequence[int]], seed: int
) -> tuple[int, int]:
    """Plies whose greedy move is legal, and plies looked at; the first token of each greedy move is given."""
    tokenizer = forks.tokenizer
    sample = [(g, ply) for g, chosen in enumerate(choices) for ply in range(len(chosen))]
    if not tokenizer.is_one_token:
        sample = [sample[i] for i in np.random.default_rng(seed).permutation(len(sample))[:CONTINUED_PLIES]]
    wanted = frozenset(sample)
    legal = 0
    for g, game in enumerate(games):
        begins = np.flatnonzero(game.role & Role.MOVE_BEGINS)
        for ply, board in enumerate(boards.replay(tokenizer.decode_moves(game.ids))):
            if (g, ply) in wanted:
                move = _finish(logits_of, forks, game.ids[: begins[ply]], choices[g][ply], board)
                legal += boards.illegal_kind(board, move) is None
    return legal, len(wanted)


def _finish(logits_of: Logits, forks: Forks, prefix: TokenIds, first: int, board: chess.Board) -> chess.Move | None:
    """The greedy move that begins with a token."""
    begun, over = forks.step((), first)
    while not over:
        rows = torch.from_numpy(np.concatenate([prefix.astype(np.int64), begun])[None])
        scores = forks.may_follow(logits_of(rows)[0, -1].float().numpy(), begun)
        begun, over = forks.step(begun, int(scores.argmax()))
    return forks.tokenizer.notation.parse(forks.tokens(begun), board)
