"""What a page of the browser asks, answered: positions and what the model thinks of them, its moves, what was typed.

JSON objects go in and come out; ``web`` is the server around it. Nothing is kept of a game but what the model has read,
up to a bound (``reader``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import chess

from chesslm import boards
from chesslm.errors import InputError
from chesslm.inside.activations import capture
from chesslm.inside.counterfactual import keep_rights
from chesslm.inside.edits import Editor, erased
from chesslm.inside.probe import BoardProbe
from chesslm.inside.truths import letters
from chesslm.play.choice import Candidate, Style
from chesslm.play.engine import legal_move
from chesslm.play.game import ENDINGS, is_standard, read_main_line
from chesslm.play.player import ModelPlayer
from chesslm.play.screen import read_move

if TYPE_CHECKING:
    from chesslm.model import LoadedModel

LOOKS = 16
"""Positions that are looked at in one go, at most: the page asks again for more, so that nobody waits long."""
SHOWN = 6
"""Moves that are shown of what the model thinks of."""
TYPED = 100
"""Characters of a typed move, or of what is wrong with a pasted one, at most."""
HOT = 1e9
"""No temperature is."""

Asked = dict[str, Any]
"""A request, from anyone."""


@dataclass(frozen=True)
class Mind:
    """What answers: a model, with a probe of the board that it believes in and a way to edit it if there are such.

    Attributes:
        loaded: the model.
        player: that plays with it.
        probe, editor: None if the model has none.
    """

    loaded: "LoadedModel"
    player: ModelPlayer
    probe: BoardProbe | None
    editor: Editor | None

    @property
    def plies(self) -> int:
        """Moves of a game at most: one token each, and <bos>."""
        return self.loaded.context - 1

    def about(self, _: Asked) -> dict[str, Any]:
        """What the model is."""
        notation = self.loaded.tokenizer.notation.name
        can = {"probe": self.probe is not None, "edits": bool(self.probe and self.editor)}
        return {"name": self.player.name, "notation": notation, "plies": self.plies, **can}

    def look(self, asked: Asked) -> dict[str, Any]:
        """Positions after ``from`` of the ``moves`` up to before ``to``, with what the model thinks of there.

        Raises:
            InputError: moves that are not legal, or a number that is none.
        """
        moves = _board(asked, self.plies).move_stack
        start, stop = (_whole(asked, name, len(moves) + 1) for name in ("from", "to"))
        stop = min(stop, start + LOOKS)
        believed = self._believed(moves[: max(stop - 1, 0)])
        replayed = enumerate(boards.replay(moves))
        found = [self._position(board.copy(), ply) for ply, board in replayed if start <= ply < stop]
        return {"positions": [{**position, **believed.get(position["ply"], {})} for position in found]}

    def erase(self, asked: Asked) -> dict[str, Any]:
        """What the model thinks of after ``moves`` once the piece on a ``square`` is gone from the board inside it.

        Moves are legal or illegal on the board without that piece.

        Raises:
            InputError: moves that are not legal, no such square, nothing or a king on it in its belief, no edits.
        """
        board, name = _board(asked, self.plies), asked.get("square")
        if name not in chess.SQUARE_NAMES:
            raise InputError("square is one from a1 to h8")
        if not (self.probe and self.editor):
            raise InputError(f"{self.player.name} cannot be edited; chesslm probe --edit finds out how")
        if not board.move_stack:
            raise InputError("before the first move there is nothing to erase")
        square = chess.parse_square(name)
        codes = boards.to_codes(board.move_stack)
        ideas = erased(self.loaded, self.probe, self.editor, codes, square, SHOWN)
        true, board = board, board.copy(stack=False)
        board.remove_piece_at(square)
        keep_rights(board, true)
        moves = [chess.Move.from_uci(idea.move) if idea.move else None for idea in ideas]
        candidates = [
            Candidate(idea.text, move, idea.probability, boards.illegal_kind(board, move))
            for idea, move in zip(ideas, moves, strict=True)
        ]
        return {"square": name, "candidates": [_shown(board, each) for each in candidates]}

    def reply(self, asked: Asked) -> dict[str, Any]:
        """The model's move after ``moves`` at a ``temperature``, and its raw choices before.

        Raises:
            InputError: moves that are not legal, the game is over, or there is no such temperature.
        """
        board = _board(asked, self.plies)
        temperature = asked.get("temperature", 0)
        if boards.outcome(board):
            raise InputError("the game is over")
        # JSON has whole numbers of any length, and they need not fit into a float.
        if not isinstance(temperature, int | float) or abs(temperature) > HOT:
            raise InputError("temperature is a number")
        self.player.style = Style(temperature=float(temperature))
        choice = self.player.choose(board)
        raw = [_shown(board, each) for each in choice.raw]
        return {"move": choice.move.uci(), "policy": choice.policy, "raw": raw}

    def read(self, asked: Asked) -> dict[str, Any]:
        """A move that was typed as ``text`` after ``moves``, or the moves of a ``pgn`` that was pasted.

        Raises:
            InputError: it is none.
        """
        if "pgn" in asked:
            return {"moves": [move.uci() for move in _pasted(asked["pgn"], self.plies)]}
        text = asked.get("text")
        if not isinstance(text, str):
            raise InputError("text is what was typed")
        return {"move": read_move(text[:TYPED], _board(asked, self.plies)).uci()}

    def _position(self, board: chess.Board, ply: int) -> dict[str, Any]:
        outcome, king = boards.outcome(board), board.king(board.turn)
        candidates = () if outcome else self.player.candidates(board)
        legal = sum(each.probability for each in candidates if not each.illegal)
        before = board.copy()
        last = before.pop() if board.move_stack else None
        return {
            "ply": ply,
            "board": _letters(board),
            "white": board.turn,
            "check": chess.square_name(king) if king is not None and board.is_check() else None,
            "last": {"uci": last.uci(), "san": before.san(last)} if last else None,
            "legal": [move.uci() for move in board.generate_legal_moves()],
            "ending": {"words": ENDINGS[outcome.termination], "result": outcome.result()} if outcome else None,
            "candidates": [_shown(board, each) for each in candidates[:SHOWN]],
            "illegal": max(0.0, 1 - legal) if candidates else None,
        }

    def _believed(self, moves: Sequence[chess.Move]) -> dict[int, dict[str, Any]]:
        """The board that the model believes in after each move, with how sure it is."""
        if not (self.probe and moves):
            return {}
        (positions,) = capture(self.loaded, [boards.to_codes(moves)], [self.probe.layer])
        pieces, sure = self.probe.believed(positions.hidden[0], positions.white)
        return {
            int(ply): {"believed": letters(row), "sure": [round(float(p), 3) for p in chances]}
            for ply, row, chances in zip(positions.ply, pieces, sure, strict=True)
        }


def _letters(board: chess.Board) -> str:
    """What stands on each square, a1 first."""
    return "".join(piece.symbol() if (piece := board.piece_at(square)) else "." for square in chess.SQUARES)


def _shown(board: chess.Board, candidate: Candidate) -> dict[str, Any]:
    return {
        "text": board.san(candidate.move) if candidate.move and not candidate.illegal else candidate.text,
        "uci": candidate.move.uci() if candidate.move else None,
        "probability": round(candidate.probability, 5),
        "illegal": candidate.illegal,
    }


def _board(asked: Asked, most: int) -> chess.Board:
    """The board after the moves of a request, all legal."""
    words = asked.get("moves")
    if not (isinstance(words, list) and all(isinstance(word, str) for word in words)):
        raise InputError("moves is a list of moves in UCI")
    if len(words) > most:
        raise InputError(f"the model can look back {most} moves, and this game has {len(words)}")
    board = chess.Board()
    for number, word in enumerate(words, start=1):
        move = legal_move(board, word)
        if move is None:
            raise InputError(f"move {number}, {word[:20]!a}, is not legal")
        board.push(move)
    return board


def _pasted(text: Any, most: int) -> list[chess.Move]:
    """The moves of the first game of a PGN."""
    game = read_main_line(text) if isinstance(text, str) else None
    if game is None or not (moves := list(game.mainline_moves())):
        raise InputError("there is no game in this text")
    if game.errors:
        raise InputError(f"move {game.end().ply() + 1} of this game cannot be read: {str(game.errors[0])[:TYPED]}")
    if not is_standard(game):
        raise InputError("this game is of a variant, or does not begin at the standard position")
    if not all(moves):
        raise InputError(f"move {moves.index(chess.Move.null()) + 1} of this game is none: a side passes")
    if len(moves) > most:
        raise InputError(f"the model can look back {most} moves, and this game has {len(moves)}")
    return moves


def _whole(asked: Asked, name: str, most: int) -> int:
    value = asked.get(name, 0)
    if not isinstance(value, int) or not 0 <= value <= most:
        raise InputError(f"{name} is a whole number from 0 to {most}")
    return value
