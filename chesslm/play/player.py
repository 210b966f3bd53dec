"""Players: a board with its game goes in, a chosen move comes out, with what the player thought of first.

A model writes a move token by token, special tokens taken out. Its *raw choice* is what it writes: the likeliest
token each time (temperature 0) or one drawn. Where that is legal it is played. Where not, the policy decides:

- ``mask``: the likeliest legal move, or one drawn from the legal moves renormalised;
- ``retry``: up to three draws in all, then mask. At temperature 0 a draw never changes, so this is mask.

Drawing and then masking gives each legal move the same chance as masking at once, so the policy changes nothing
but what is left to say about the raw choice, unless ``top_p`` keeps other moves of the legal ones than of all. (Where
a model writes a legal move otherwise than it should, such as ``Qh5`` for ``Qh5+``, the move is played, as SAN is read
elsewhere; among the legal moves such spellings count for nothing.)

A model can look back at so many tokens and no further; dropping the oldest moves would leave it a game that was
never played. Past its context it therefore plays uniformly random legal moves, and the choice says so
(``policy == "context"``): with 512 tokens that is from the 512th ply on in uci-move. Likewise where the moves that it
reads do not begin at the standard position (``policy == "history"``).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import chess
import numpy as np

from chesslm import boards
from chesslm.conditions import Headers
from chesslm.errors import InputError
from chesslm.forks import Forks
from chesslm.play.choice import DRAWS, Candidate, Choice, Style
from chesslm.play.reader import Reader
from chesslm.play.thought import Thought

if TYPE_CHECKING:
    from chesslm.model import LoadedModel


class RandomPlayer:
    """Plays uniformly random legal moves.

    Args:
        seed: of its draws; None for others each time.
    """

    name = "random"

    def __init__(self, seed: int | None = None) -> None:
        self._random = np.random.default_rng(seed)

    def candidates(self, board: chess.Board) -> tuple[Candidate, ...]:
        """All legal moves, equally likely."""
        legal = list(board.generate_legal_moves())
        return tuple(Candidate(move.uci(), move, 1 / len(legal), None) for move in legal)

    def choose(self, board: chess.Board) -> Choice:
        """One of the legal moves."""
        return self._choice(board, self._random)

    def choose_all(self, given: Sequence[chess.Board], draws: Sequence[np.random.Generator]) -> list[Choice]:
        """One of them in each of several games, each drawn from a generator of its own."""
        return [self._choice(board, random) for board, random in zip(given, draws, strict=True)]

    def _choice(self, board: chess.Board, random: np.random.Generator) -> Choice:
        candidates = self.candidates(board)
        drawn = candidates[random.integers(len(candidates))]
        assert drawn.move
        return Choice(drawn.move, (drawn,), None, candidates)


class ModelPlayer:
    """Plays what a model writes.

    Keys and values of the game so far are kept, so that a move costs one forward pass of the tokens that are new
    (and one of all beginnings of a move together, where moves have several tokens); taking moves back costs no
    more. With 7 M parameters on one Zen 4 core at ply 100: 9 ms in uci-move (34 without what is kept), 39 ms in
    uci-square (75), fp32; in bf16 9 and 32 ms.

    Args:
        loaded: the model.
        style: how it chooses; by default the likeliest move. May be changed between moves.
        seed: of the draws; None for others each time.
        headers: what a model that takes conditions is told of the game.

    Raises:
        InputError: no such rating, or one for a model that takes none.
    """

    def __init__(
        self,
        loaded: "LoadedModel",
        style: Style | None = None,
        seed: int | None = None,
        headers: Headers | None = None,
    ) -> None:
        self._loaded = loaded
        self.tell(headers or Headers())
        self.name, self.style = loaded.name, style or Style()
        self.context = loaded.context
        self._forks = Forks(loaded.tokenizer)
        self._reader = Reader(loaded)
        self._random = np.random.default_rng(seed)

    def tell(self, headers: Headers) -> None:
        """Tell the model something else of the game from now on.

        Raises:
            InputError: no such rating, or a model that takes none.
        """
        elos = [elo for elo in (headers.white_elo, headers.black_elo) if elo is not None]
        if elos and "elo" not in self._loaded.tokenizer.conditions:
            raise InputError(f"{self._loaded.name} was told no ratings in training, so it can be told none")
        if any(elo < 0 for elo in elos):
            raise InputError(f"a rating is 0 or more, not {min(elos)}")
        self.headers = headers

    def candidates(self, board: chess.Board) -> tuple[Candidate, ...]:
        """Every legal move and the likeliest others, each once, likeliest first; empty where it cannot read the game.

        In notations of several tokens an illegal move is found if it is as likely as ``FLOOR``, and may be if less.
        """
        thought = self._think(board)
        return thought.candidates() if thought else ()

    def choose(self, board: chess.Board) -> Choice:
        """Its move by its style."""
        return self.choose_all([board], [self._random])[0]

    def choose_all(self, given: Sequence[chess.Board], draws: Sequence[np.random.Generator]) -> list[Choice]:
        """A move in each of several games, which are read in one pass, each drawn from a generator of its own."""
        thoughts = [self._think(board) for board in given]
        asked = [thought for thought in thoughts if thought]
        for thought, (logits,) in zip(asked, self._reader.after([(each.game, [()]) for each in asked]), strict=True):
            thought.hear((), logits)
        return [self._choice(*each) for each in zip(given, thoughts, draws, strict=True)]

    def _choice(self, board: chess.Board, thought: Thought | None, random: np.random.Generator) -> Choice:
        if thought is None:
            legal = list(board.generate_legal_moves())
            policy = "context" if _from_the_start(board) else "history"
            return Choice(legal[random.integers(len(legal))], (), policy, ())
        raw: list[Candidate] = []
        how = (self.style.temperature, random, self.style.top_p)
        tries = DRAWS if self.style.policy == "retry" and self.style.temperature > 0 else 1
        for _ in range(tries):
            drawn = thought.candidate(thought.write(*how))
            raw.append(drawn)
            if drawn.move and not drawn.illegal:
                return Choice(drawn.move, tuple(raw), "retry" if len(raw) > 1 else None, thought.candidates())
        return Choice(thought.legal_move(*how), tuple(raw), "mask", thought.candidates())

    def _think(self, board: chess.Board) -> Thought | None:
        """What the model would write here; None where it cannot read the game."""
        if not _from_the_start(board):
            return None
        tokenizer = self._forks.tokenizer
        game = tokenizer.encode(boards.to_codes(board.move_stack), headers=self.headers)
        ids = [*game.ids.tolist(), *tokenizer.lead(len(board.move_stack))]
        before = self._forks.moves_before(game)[-1]
        thought = Thought(self._reader, self._forks, board, ids, before, room=self.context - len(ids))
        return thought if thought.fits else None


def _from_the_start(board: chess.Board) -> bool:
    return board.root() == chess.Board()
