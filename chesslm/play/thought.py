"""From a model's tokens to its distribution of moves in one position.

The tokens of a game go in; what the model would write next comes out: moves with probabilities, the illegal ones
with the reason. Special tokens are taken out and the rest renormalised, and the move before is over, as for every
legality figure (docs/metrics.md). A move's probability is that of its canonical tokens up to and including its end,
however else it could be written.

Keys and values of the game stay in a cache between positions, so a move costs one forward pass over the new
tokens, and in notations of several tokens a move one more over the beginnings of moves, all in one row.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import chess
import numpy as np
from numpy.typing import NDArray

from chesslm import boards
from chesslm.boards import Illegal
from chesslm.notation import legal_spellings
from chesslm.tokenizer import GameTokenizer

if TYPE_CHECKING:
    from chesslm.model import LoadedModel

SHOWN = 10
"""Candidates of any kind that a player always names, beside the legal ones."""
FLOOR = 0.01
"""In notations of several tokens, a begun move less likely than this is not followed unless it can become legal."""

Path = tuple[str, ...]
"""Tokens of a move, whole or begun."""


@dataclass(frozen=True)
class Candidate:
    """A move that a player thinks of.

    Attributes:
        text: the word of the move, in UCI or SAN as the notation has it, or the tokens if they spell none.
        move: None if the text is no move, or that of a piece that is not there and of which SAN names no square.
        probability: in [0, 1], of this text among all that could be written, illegal moves included.
        illegal: why it cannot be played; None if it can.
    """

    text: str
    move: chess.Move | None
    probability: float
    illegal: Illegal | None


class Thought:
    """What a model would write next in one position: its token distributions after the beginnings of moves.

    Legal moves are followed to their ends through ``Notation.extensions``, and so is every other beginning that is
    likely enough; drawing asks for more as it needs.

    Args:
        reader: the model.
        tokenizer: its notation.
        board: the position.
        ids: the game's tokens.
        before: tokens of the move before, which is over; none where the game begins, or where something stands
            between.
        room: tokens that still fit into the context after them.
    """

    def __init__(
        self, reader: "Reader", tokenizer: GameTokenizer, board: chess.Board, ids: list[int], before: Path, room: int
    ) -> None:
        self._reader, self._tokenizer, self._board, self._ids, self._room = reader, tokenizer, board, ids, room
        self._notation = tokenizer.notation
        self._ruled_out = tokenizer.is_special.copy()
        if before:
            self._ruled_out[[tokenizer.ids[token] for token in self._notation.extensions(before)]] = True
        self._legal = legal_spellings(self._notation, board)
        self._begun = {path[:n] for path in self._legal for n in range(len(path) + 1)}
        self._begun = {path for path in self._begun if self._notation.extensions(path)}
        self._logits: dict[Path, NDArray[np.float32]] = {}
        self._known: dict[tuple[Path, float], NDArray[np.float64]] = {}
        self._followed = False
        self._special_names = frozenset(tokenizer.tokens[i] for i in np.flatnonzero(tokenizer.is_special))

    @property
    def fits(self) -> bool:
        """Whether every legal move fits into the context (what follows its last token, a model is not taught)."""
        return max(map(len, self._legal), default=0) <= self._room

    def write(self, temperature: float, random: np.random.Generator) -> Path:
        """A raw choice: the tokens that the model writes until the move ends or cannot become one."""
        path: Path = ()
        while (extensions := self._notation.extensions(path)) and len(path) <= self._room:
            self._ask([path])
            if temperature:
                probabilities = np.exp(self._log_probabilities(path, temperature))
                token = int(random.choice(len(probabilities), p=probabilities / probabilities.sum()))
            else:
                token = int(self._log_probabilities(path).argmax())
            name = self._tokenizer.tokens[token]
            if name not in extensions:
                return path if self._can_end(path) else (*path, name)
            path = (*path, name)
        return path

    def legal_move(self, temperature: float, random: np.random.Generator) -> chess.Move:
        """The likeliest legal move, or one drawn with the illegal ones taken out and the rest renormalised."""
        self._follow()
        moves = list(self._legal.values())
        scores = np.array([self._log_probability(path, temperature or 1.0) for path in self._legal])
        if not temperature:
            return moves[int(scores.argmax())]
        probabilities = np.exp(scores - scores.max())
        return moves[int(random.choice(len(moves), p=probabilities / probabilities.sum()))]

    def candidates(self) -> tuple[Candidate, ...]:
        """Every legal move and the ``SHOWN`` likeliest of all, likeliest first, each once."""
        self._follow()
        likeliest: set[Path] = set()
        for path in self._by_probability({*self._endings(), *self._legal}):
            if len(likeliest) == SHOWN:
                break
            if len(canonical := self._canonical(path)) <= self._room + 1:
                likeliest.add(canonical)
        paths = likeliest | self._legal.keys()
        whole = [path for path in paths if self._notation.ends(path)]
        begun = {path[:n] for path in whole for n in range(1, min(len(path), self._room) + 1)}
        self._ask(path for path in begun if self._notation.extensions(path))
        return tuple(self.candidate(path) for path in self._by_probability(paths))

    def candidate(self, path: Path) -> Candidate:
        """A whole move's tokens, as they were written, as a candidate."""
        move = self._notation.parse(path, self._board)
        illegal = boards.illegal_kind(self._board, move)
        text = self._notation.join(path) if self._notation.ends(path) else "".join(path)
        shown = None if illegal == Illegal.NO_PIECE and self._notation.reads_board else move
        return Candidate(text, shown, float(np.exp(self._log_probability(path))), illegal)

    def _canonical(self, path: Path) -> Path:
        """How the notation spells what is written: without a needless mark, cut into the tokens that it has for it."""
        move = self._notation.parse(path, self._board)
        if move and (not self._notation.reads_board or self._board.color_at(move.from_square) == self._board.turn):
            spelled = self._notation.spell(move, self._board)
            if self._notation.parse(spelled, self._board) == move:
                return spelled
        return self._notation.split(self._notation.join(path)) if self._notation.ends(path) else path

    def _by_probability(self, paths: Iterable[Path]) -> list[Path]:
        """Paths, likeliest first; equal ones by name."""
        return sorted(paths, key=lambda path: (-self._log_probability(path), path))

    def _follow(self) -> None:
        """Ask for what follows the beginnings of legal moves and likely ones, a length at a time."""
        if self._followed:
            return
        self._followed = True
        paths: list[Path] = [()]
        while paths:
            self._ask(paths)
            paths = [
                longer
                for path in paths
                for longer in ((*path, token) for token in self._notation.extensions(path))
                if longer in self._begun
                or (
                    len(longer) <= self._room
                    and self._log_probability(longer, ended=False) >= np.log(FLOOR)
                    and self._notation.extensions(longer)
                )
            ]

    def _ask(self, paths: Iterable[Path]) -> None:
        """Have the next token's logits after each path."""
        new = [path for path in paths if path not in self._logits]
        if new:
            ids = [tuple(self._tokenizer.ids[token] for token in path) for path in new]
            self._logits.update(zip(new, self._reader.after(self._ids, ids), strict=True))

    def _endings(self) -> Iterable[Path]:
        """Whole moves, and what is no move: the likeliest ``SHOWN`` after each beginning that was asked about."""
        for path in self._logits:
            extensions, can_end = self._notation.extensions(path), self._can_end(path)
            if can_end:
                yield path
            special = self._special_names
            tokens = (self._tokenizer.tokens[i] for i in np.argsort(-self._log_probabilities(path)))
            whole = (
                (*path, token)
                for token in tokens
                if token not in special
                and (not self._notation.extensions((*path, token)) if token in extensions else not can_end)
            )
            yield from islice(whole, SHOWN)

    def _can_end(self, path: Path) -> bool:
        """Whether the tokens are a move already (used where extensions are left)."""
        return bool(path) and self._notation.ends(path)

    def _log_probabilities(self, path: Path, temperature: float = 1.0) -> NDArray[np.float64]:
        """Of the next token after a beginning, shape (vocabulary,).

        Special tokens are taken out, but not where the move may be over: there they say that it is. No move begins
        with a token by which the move before would go on.
        """
        known = self._known.get((path, temperature))
        if known is None:
            logits = self._logits[path][: len(self._tokenizer)].astype(np.float64)
            if not self._can_end(path):
                logits[self._tokenizer.is_special if path else self._ruled_out] = -np.inf
            logits = (logits - logits.max()) / temperature
            known = self._known[path, temperature] = logits - np.log(np.exp(logits).sum())
        return known

    def _log_probability(self, path: Path, temperature: float = 1.0, ended: bool = True) -> float:
        """Of a move's tokens and, unless it is only begun, that the move ends there."""
        ids = [self._tokenizer.ids[token] for token in path]
        total = sum(self._log_probabilities(path[:n], temperature)[token] for n, token in enumerate(ids))
        if ended and path in self._logits:
            extensions = self._notation.extensions(path)
            over = [token not in extensions for token in self._tokenizer.tokens]
            total += np.logaddexp.reduce(self._log_probabilities(path, temperature)[over])
        return float(total)


class Reader:
    """A model that remembers what it has read, and says what may come next."""

    def __init__(self, loaded: "LoadedModel") -> None:
        from transformers import DynamicCache

        self._loaded = loaded
        self._cache = DynamicCache(config=loaded.model.config)
        self._read: list[int] = []
        self._last: NDArray[np.float32] | None = None

    def after(self, ids: list[int], paths: Sequence[tuple[int, ...]]) -> list[NDArray[np.float32]]:
        """Logits of the token after ``ids`` and each path of further tokens, each of shape (vocabulary,).

        The tokens that ``ids`` shares with those of the call before are not read again. All paths are read in one
        forward pass, as one row: a mask shows each token the game and the tokens before it on its own path, and
        the cache then drops them (tree attention, Miao et al. 2023, "SpecInfer").
        """
        root = self._read_to(ids)
        nodes = sorted({path[: n + 1] for path in paths for n in range(len(path))}, key=len)
        if not nodes:
            return [root for _ in paths]
        row = {path: i for i, path in enumerate(nodes)}
        visible = np.zeros((len(nodes), len(ids) + len(nodes)), dtype=bool)
        visible[:, : len(ids)] = True
        for path, i in row.items():
            visible[i, [len(ids) + row[path[: n + 1]] for n in range(len(path))]] = True
        logits = self._forward(
            [path[-1] for path in nodes], [len(ids) + len(path) - 1 for path in nodes], visible[None, None]
        )
        self._cache.crop(-len(nodes))
        return [logits[row[path]] if path else root for path in paths]

    def _read_to(self, ids: list[int]) -> NDArray[np.float32]:
        """Logits after ``ids``, from as much of the cache as will do."""
        if self._last is None or ids != self._read:
            pairs = enumerate(zip(self._read, ids, strict=False))
            shared = next((n for n, (old, new) in pairs if old != new), min(len(self._read), len(ids)))
            # The last token is always read, since its logits are wanted.
            shared = min(shared, len(ids) - 1)
            if shared < len(self._read):
                self._cache.crop(shared - len(self._read))
            last = self._forward(ids[shared:], list(range(shared, len(ids))), None)[-1]
            self._read, self._last = list(ids), last
            return last
        return self._last

    def _forward(self, ids: list[int], positions: list[int], visible: Any) -> NDArray[np.float32]:
        """Logits after each of the tokens, shape (tokens, vocabulary); the cache grows by them."""
        import torch

        device = self._loaded.device
        with torch.inference_mode(), self._loaded.autocast():
            output = self._loaded.model(
                input_ids=torch.tensor([ids], device=device),
                position_ids=torch.tensor([positions], device=device),
                attention_mask=None if visible is None else torch.from_numpy(visible).to(device),
                past_key_values=self._cache,
                use_cache=True,
            )
        return output.logits[0].float().cpu().numpy()
