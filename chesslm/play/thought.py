"""From a model's tokens to its distribution of moves in one position.

The tokens of a game go in; what the model would write next comes out: moves with probabilities, the illegal ones
with the reason. Moves are written, and their probabilities defined, as for every legality figure (``forks``,
docs/metrics.md): that of a move's canonical tokens up to and including its end, however else it could be written.

What was read stays read (``reader``), so a move costs one forward pass over the new tokens, and in notations of several
tokens a move one more for each length that the beginnings of moves have.
"""

from collections.abc import Iterable, Iterator

import chess
import numpy as np
from numpy.typing import NDArray

from chesslm import boards
from chesslm.boards import Illegal
from chesslm.forks import Begun, Floats, Forks, choose, log_softmax, logsumexp
from chesslm.notation import legal_spellings
from chesslm.play.choice import Candidate
from chesslm.play.reader import Logits, Reader

SHOWN = 10
"""Candidates of any kind that a player always names, beside the legal ones."""
FLOOR = 0.01
"""In notations of several tokens, a begun move less likely than this is not followed unless it can become legal."""


class Thought:
    """What a model would write next in one position: its token distributions after the beginnings of moves.

    Beginnings of legal moves are followed to their ends, and so is every other one that is likely enough; drawing asks
    for more as it needs.

    Args:
        reader: the model.
        forks: of its notation.
        board: the position.
        game: the game's tokens up to where the move begins.
        before: the move before, as in ``Forks.moves_before``.
        room: tokens that still fit into the context after those of the game.
    """

    def __init__(
        self, reader: Reader, forks: Forks, board: chess.Board, game: list[int], before: Begun, room: int
    ) -> None:
        self._reader, self._forks, self._board, self.game = reader, forks, board, game
        self._before, self._room = before, room
        self._notation, ids = forks.tokenizer.notation, forks.tokenizer.ids
        legal = legal_spellings(self._notation, board)
        self._legal = {tuple(ids[token] for token in tokens): move for tokens, move in legal.items()}
        self._beginnings = {each for spelled in self._legal for each in self._open(spelled)}
        self._scores: dict[Begun, Floats] = {}
        self._known: dict[tuple[Begun, float], Floats] = {}
        self._followed = False

    @property
    def fits(self) -> bool:
        """Whether every legal move fits into the context (what follows its last token, a model is not taught)."""
        return max(map(len, self._legal), default=0) <= self._room

    def write(self, temperature: float, random: np.random.Generator, top_p: float = 1.0) -> Begun:
        """A raw choice: the tokens that the model writes until the move is over, or cannot become one."""
        begun, over = (), False
        while not over and len(begun) <= self._room:
            self._ask([begun])
            begun, over = self._forks.step(begun, choose(self._scores[begun], temperature, random, top_p))
        return begun

    def legal_move(self, temperature: float, random: np.random.Generator, top_p: float = 1.0) -> chess.Move:
        """The likeliest legal move, or one drawn with the illegal ones taken out and the rest renormalised."""
        self._follow()
        scores = np.array([self._log_probability(spelled, temperature or 1.0) for spelled in self._legal])
        # The probabilities are tempered already, token by token.
        return list(self._legal.values())[choose(scores, 1.0 if temperature else 0.0, random, top_p)]

    def candidates(self) -> tuple[Candidate, ...]:
        """Every legal move and the ``SHOWN`` likeliest of all, likeliest first, each once."""
        self._follow()
        likeliest, named = set[Begun](), set[chess.Move | None]()
        for written in self._by_probability({*self._written(), *self._legal}):
            if len(likeliest) == SHOWN:
                break
            canonical = self._canonical(written)
            move = self._notation.parse(self._forks.tokens(canonical), self._board)
            if len(canonical) <= self._room + 1 and (move is None or move not in named):
                likeliest.add(canonical)
                named.add(move)
        moves = likeliest | self._legal.keys()
        self._ask(begun for move in moves for begun in self._open(move) if len(begun) <= self._room)
        return tuple(self.candidate(move) for move in self._by_probability(moves))

    def candidate(self, written: Begun) -> Candidate:
        """What is written, move or junk, as a candidate."""
        tokens = self._forks.tokens(written)
        move = self._notation.parse(tokens, self._board)
        illegal = boards.illegal_kind(self._board, move)
        # Junk may hold anything that a text model can say, such as the end of a line.
        text = (
            self._notation.join(tokens) if self._notation.ends(tokens) else ascii(self._forks.tokenizer.text(written))
        )
        shown = None if illegal == Illegal.NO_PIECE and self._notation.reads_board else move
        return Candidate(text, shown, float(np.exp(self._log_probability(written))), illegal)

    def _canonical(self, written: Begun) -> Begun:
        """How the notation spells what is written: in the tokens that it has for it, and a legal move by its own name.

        What is illegal has no such name: how SAN marks a move depends on the board after it.
        """
        tokenizer, tokens = self._forks.tokenizer, self._forks.tokens(written)
        move = self._notation.parse(tokens, self._board)
        if move and (not self._notation.reads_board or boards.illegal_kind(self._board, move) is None):
            spelled = tokenizer.spell(move, self._board)
            if self._notation.parse(self._forks.tokens(spelled), self._board) == move:
                return spelled
        return tokenizer.spell_word(self._notation.join(tokens)) if self._notation.ends(tokens) else written

    def _by_probability(self, written: Iterable[Begun]) -> list[Begun]:
        """Moves and junk, likeliest first; equal ones by their tokens."""
        return sorted(written, key=lambda each: (-self._log_probability(each), each))

    def _open(self, written: Begun) -> list[Begun]:
        """The beginnings of a move, with all of it, by which the notation can go on."""
        beginnings = [written[:n] for n in range(len(written) + 1)]
        return [begun for begun in beginnings if self._forks[begun].goes_on.any()]

    def _follow(self) -> None:
        """Ask for what follows the beginnings of legal moves and likely ones, a length at a time."""
        if self._followed:
            return
        self._followed = True
        begun: list[Begun] = [()]
        while begun:
            self._ask(begun)
            begun = [
                longer
                for each in begun
                for longer in ((*each, token) for token in self._tokens(self._forks[each].stays_open))
                if longer in self._beginnings
                or (len(longer) <= self._room and self._log_probability(longer, ended=False) >= np.log(FLOOR))
            ]

    def _ask(self, begun: Iterable[Begun]) -> None:
        """Have the scores of what may follow moves begun."""
        new = [each for each in dict.fromkeys(begun) if each not in self._scores]
        if new:
            (answers,) = self._reader.after([(self.game, new)])
            for each, logits in zip(new, answers, strict=True):
                self.hear(each, logits)

    def hear(self, begun: Begun, logits: Logits) -> None:
        """Take up the logits of what may follow a move begun."""
        scores = logits[: len(self._forks.tokenizer)].astype(np.float64)
        self._scores[begun] = self._forks.may_follow(scores, begun, self._before)

    def _written(self) -> Iterator[Begun]:
        """Whole moves, and junk: the likeliest ``SHOWN`` after each beginning that was asked about."""
        for begun in self._scores:
            fork = self._forks[begun]
            if fork.ends:
                yield begun
            # A token may make a whole move of it, or junk.
            ending = ~self._forks.tokenizer.is_special & (not fork.ends)
            ending[self._forks.of_moves] = np.where(fork.goes_on, ~fork.stays_open, not fork.ends)
            tokens = np.flatnonzero(ending)
            likeliest = tokens[np.argsort(-self._scores[begun][tokens])][:SHOWN]
            yield from ((*begun, token) for token in likeliest.tolist())

    def _tokens(self, of_moves: NDArray[np.bool_]) -> list[int]:
        """Ids of some of the tokens that moves are made of."""
        return self._forks.of_moves[of_moves].tolist()

    def _log_probabilities(self, begun: Begun, temperature: float) -> Floats:
        """Of the next token after a beginning, (V,)."""
        known = self._known.get((begun, temperature))
        if known is None:
            known = self._known[begun, temperature] = log_softmax(self._scores[begun] / temperature)
        return known

    def _log_probability(self, written: Begun, temperature: float = 1.0, ended: bool = True) -> float:
        """Of a move's tokens and, unless it is only begun, that the move ends there."""
        total = sum(self._log_probabilities(written[:n], temperature)[token] for n, token in enumerate(written))
        if ended and written in self._scores:
            over = self._log_probabilities(written, temperature).copy()
            over[self._tokens(self._forks[written].goes_on)] = -np.inf
            total += logsumexp(over)[0]
        return float(total)
