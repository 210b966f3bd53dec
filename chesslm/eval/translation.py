"""Suite ``translation``: a model reads the source of each pair and writes its target; every target can be checked.

Pairs go in (``pairs``), a ``Result`` comes out, by kind. Bits of the targets take one forward pass of each pair.
Targets are written greedily up to <eos>, many at once: rows sorted by length hold equally many tokens, and while one
still reads its source, another already writes. Cost: a forward pass of one token a row for each token of the longest
target, and of the difference in length of the sources, in each batch.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from chesslm.errors import InputError
from chesslm.eval.intervals import Bootstrap, of_trials
from chesslm.eval.results import Metric, Metrics, Result
from chesslm.eval.scorers import Scorer, chain
from chesslm.eval.steppers import Stepper, write_together
from chesslm.pair_rows import encode_pair
from chesslm.pairs import ONE_SIDED, Pair, check, floor_bits
from chesslm.text_tokenizer import CONTEXT, TextTokenizer
from chesslm.tokenizer import Role, TokenizedGame
from chesslm.validation import score_targets

AT_ONCE = 100
"""Rows of a batch."""
SPARE = 16
"""Writing stops at twice the tokens of the target and so many more: no other wording is longer than that."""
MOVES = ("uci-san", "san-uci")


@dataclass
class Answer:
    """A pair with what a model made of it.

    Attributes:
        pair: source and target.
        row: its tokens.
        bits, tokens: of the target, <eos> included; None and 0 where the row is longer than the context.
        moves: of the target, as far as it is in the row; 0 where it is none.
        said: the target that was written; None for a game without a source, and where the context is too short.
        ended: whether it was written to its end, and not broken off.
    """

    pair: Pair
    row: TokenizedGame
    bits: float | None = None
    tokens: int = 0
    moves: int = 0
    said: str | None = None
    ended: bool = False

    @property
    def right(self) -> float:
        """1 where what was said is right."""
        return float(self.said is not None and self.ended and check(self.pair.kind, self.pair.source, self.said))

    @property
    def moves_right(self) -> tuple[float, float]:
        """Moves of the target that were said in their place, and all."""
        target, said = self.pair.target.split(" "), (self.said or "").split(" ")
        return float(sum(a == b for a, b in zip(target, said, strict=False))), float(len(target))

    @property
    def of_set(self) -> tuple[float, float, float]:
        """Precision, recall and F1 of the words said, as a set."""
        target, said = set(self.pair.target.split(" ")), set((self.said or "").split())
        both = len(target & said)
        return both / max(len(said), 1), both / len(target), 2 * both / (len(said) + len(target))


def translation(
    scorer: Scorer,
    stepper: Stepper,
    pairs: Sequence[Pair],
    seed: int = 1,
    advance: Callable[[int], None] = lambda _: None,
) -> Result:
    """Measure a model on pairs.

    Args:
        scorer, stepper: the model, to be asked for bits and to write.
        pairs: of one kind or several.
        seed: of the intervals.
        advance: told of pairs done.

    Raises:
        InputError: the model does not write text.
    """
    text = _text_tokenizer(scorer)
    answers = [Answer(pair, encode_pair(text, pair, min(CONTEXT, scorer.context))) for pair in pairs]
    held = [answer for answer in answers if len(answer.row) <= scorer.context]
    found = score_targets(lambda ids_BT: _logits(scorer, ids_BT), [answer.row for answer in held])
    for answer, bits, tokens in zip(held, found.bits.tolist(), found.tokens.tolist(), strict=True):
        answer.bits, answer.tokens = bits, tokens
        if answer.pair.kind in (*MOVES, *ONE_SIDED):
            target = answer.row.ids[answer.row.role == Role.TARGET].tolist()
            answer.moves = len(str(text.plain.decode(target)).split())
    asked = [answer for answer in held if answer.pair.kind not in ONE_SIDED]
    advance(len(answers) - len(asked))
    _write(stepper, text, asked, advance)
    numbers = {name: i for i, name in enumerate(dict.fromkeys(pair.game for pair in pairs))}
    summary = _Summary(np.array([numbers[pair.game] for pair in pairs]), Bootstrap(len(numbers), seed))
    kinds = dict.fromkeys(pair.kind for pair in pairs)
    by = {kind: summary.metrics(answers, [answer.pair.kind == kind for answer in answers]) for kind in kinds}
    whole = next(iter(by.values())) if len(by) == 1 else summary.metrics(answers, [True] * len(answers))
    return Result(whole, {"kind": by})


def _text_tokenizer(scorer: Scorer) -> TextTokenizer:
    foreign = scorer.tokenizer.foreign
    if foreign is None:
        raise InputError(
            f"the suite translation is for models of text; {scorer.tokenizer.notation.name} has tokens of its own"
        )
    return foreign.text


def _logits(scorer: Scorer, ids_BT: torch.Tensor) -> torch.Tensor:
    return scorer.logits([chain(row) for row in ids_BT.numpy()]).cpu()


# Writing


@dataclass
class _Row:
    """A target being written.

    Attributes:
        answer: whose.
        waiting: tokens that are not read yet.
        most: tokens that the target may have.
        written: its tokens.
        is_over: whether it is written.
    """

    answer: Answer
    waiting: list[int]
    most: int
    written: list[int] = field(default_factory=list)
    is_over: bool = False


def _write(stepper: Stepper, text: TextTokenizer, answers: list[Answer], advance: Callable[[int], None]) -> None:
    """Have the target of each pair written."""
    rows = sorted((_start(answer, stepper.context) for answer in answers), key=lambda row: len(row.waiting))

    def write(row: _Row, scores: NDArray[np.float32]) -> None:
        token = int(scores.argmax())
        if token == text.eos or len(row.written) == row.most:
            row.is_over, row.answer.ended = True, token == text.eos
            return
        row.written.append(token)
        row.waiting.append(token)

    for first in range(0, len(rows), AT_ONCE):
        batch = rows[first : first + AT_ONCE]
        write_together(stepper, batch, write)
        for row in batch:
            row.answer.said = str(text.plain.decode(row.written, skip_special_tokens=False)).strip()
        advance(len(batch))


def _start(answer: Answer, context: int) -> _Row:
    source = answer.row.ids[(answer.row.role & Role.TARGET) == 0].tolist()
    return _Row(answer, source, min(2 * answer.tokens + SPARE, context - len(source)))


# Figures


@dataclass(frozen=True)
class _Summary:
    """Metrics of answers with their intervals.

    Attributes:
        game: number of each answer's game.
        bootstrap: over those games.
    """

    game: np.ndarray
    bootstrap: Bootstrap

    def metrics(self, answers: Sequence[Answer], chosen: Sequence[bool]) -> Metrics:
        """Of some of the answers; a figure that none of them has is left out."""
        return dict(self._metrics([(a, int(g)) for a, g, c in zip(answers, self.game, chosen, strict=True) if c]))

    def _metrics(self, answers: list[tuple[Answer, int]]) -> Iterator[tuple[str, Metric]]:
        translated = [(a, g) for a, g in answers if a.pair.kind not in ONE_SIDED]
        if translated:
            yield "exact", self._rate([(a.right, g) for a, g in translated])
        if moves := [(*a.moves_right, g) for a, g in translated if a.pair.kind in MOVES]:
            yield "moves_right", self._ratio(moves, rate=True)
        if sets := [(a.of_set, g) for a, g in translated if a.pair.kind == "fen-legal"]:
            for i, name in enumerate(("set_precision", "set_recall", "set_f1")):
                yield name, self._ratio([(each[i], 1.0, g) for each, g in sets], rate=True)
        if scored := [(a.bits, a, g) for a, g in answers if a.bits is not None]:
            yield "bits_per_target", self._ratio([(bits, 1.0, g) for bits, _, g in scored])
            if with_moves := [(bits, float(a.moves), g) for bits, a, g in scored if a.moves]:
                yield "bits_per_move", self._ratio(with_moves)
            yield "bits_per_target_token", self._ratio([(bits, float(a.tokens), g) for bits, a, g in scored])
        floors = [(bits, 1.0, g) for _, a, g in scored if (bits := floor_bits(a.pair)) is not None]
        if any(bits for bits, *_ in floors):
            yield "floor_bits", self._ratio(floors)
        if beyond := len(answers) - len(scored):
            yield "pairs_beyond_context", Metric(float(beyond), None, None, len(answers))

    def _ratio(self, rows: list[tuple[float, float, int]], rate: bool = False) -> Metric:
        """A ratio of sums over rows of (numerator, denominator, game)."""
        above, below, game = (np.array(column) for column in zip(*rows, strict=True))
        n = len(rows) if below.max() == 1 else int(below.sum())
        return self.bootstrap.ratio(game, above, below, n=n, games=len(set(game)), rate=rate)

    def _rate(self, rows: list[tuple[float, int]]) -> Metric:
        """A rate of rows of (0 or 1, game); each a trial of its own where no two are of one game."""
        metric = self._ratio([(value, 1.0, game) for value, game in rows], rate=True)
        if len({game for _, game in rows}) < len(rows):
            return metric
        trials = of_trials(round(sum(value for value, _ in rows)), len(rows))
        return replace(trials, resampled=metric.resampled, games=metric.games)
