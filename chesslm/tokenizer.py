"""Games to tokens and back, and the folder of tokenizer files that plain transformers loads.

A tokenised game is three arrays of one length, made here and nowhere else: token ids, the ply each token belongs
to, and its role as bits. Masks for losses, probe positions and legality are comparisons on those arrays.

    <bos> e2e4 e7e5 ... <eos>
    ply:  -1    0    1 ...  P        (P plies; <eos> only after a game whose result is known)

Needs no torch and no transformers: worker processes start in 0.2 s.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntFlag
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import chess
import numpy as np
from numpy.typing import NDArray

from chesslm import boards
from chesslm.errors import InputError
from chesslm.notation import Notation, get_notation

SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>")
PAD, BOS, EOS, UNK = range(len(SPECIALS))
"""Special tokens come first, so their ids are the same in every vocabulary of ours."""

KNOWN_RESULTS = ("1-0", "0-1", "1/2-1/2")


class Role(IntFlag):
    """What a token is in its game; a token can be several (a one-token move both begins and ends it)."""

    MOVE_BEGINS = 1
    MOVE_ENDS = 2
    HINT = 4
    ORNAMENT = 8
    GAME_BEGINS = 16
    GAME_ENDS = 32
    CONDITION = 64


@dataclass(frozen=True)
class TokenizedGame:
    """One game as tokens; three arrays of shape (tokens,)."""

    ids: NDArray[np.uint16]
    ply: NDArray[np.int16]
    role: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.ids)


@cache
def _move_roles(tokens: int) -> tuple[int, ...]:
    """The roles of a move of so many tokens, as plain ints: arithmetic on flags takes ten times as long."""
    roles = [0] * tokens
    roles[0] |= Role.MOVE_BEGINS
    roles[-1] |= Role.MOVE_ENDS
    return tuple(map(int, roles))


def plies_of(role: NDArray[np.uint8]) -> NDArray[np.int16]:
    """The ply of each token from the roles of a whole game: moves begun so far, less one.

    <bos> is at ply -1 and <eos> at the number of plies, one past the last move.
    """
    begun = np.cumsum((role & (Role.MOVE_BEGINS | Role.GAME_ENDS)) > 0)
    return (begun - 1).astype(np.int16)


@dataclass(frozen=True)
class GameTokenizer:
    """A notation with the ids of its tokens."""

    notation: Notation

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """All tokens by id, special ones first."""
        return (*SPECIALS, *self.notation.vocabulary)

    @cached_property
    def ids(self) -> dict[str, int]:
        """Ids by token."""
        return {token: i for i, token in enumerate(self.tokens)}

    def __len__(self) -> int:
        return len(self.tokens)

    def spell(self, move: chess.Move, board: chess.Board) -> tuple[int, ...]:
        """A move's token ids in a position."""
        return tuple(self.ids[token] for token in self.notation.spell(move, board))

    def encode(self, codes: boards.MoveCodes, result: str = "*") -> TokenizedGame:
        """A game's tokens: <bos>, its moves, and <eos> if the result is known.

        Args:
            codes: the moves (``boards.to_codes``), legal from the standard start.
            result: as in PGN; ``*`` and anything else unknown gets no <eos>.
        """
        ids: list[int] = [BOS]
        role: list[int] = [Role.GAME_BEGINS]
        for spelling in self._spellings(codes):
            ids += spelling
            role += _move_roles(len(spelling))
        if result in KNOWN_RESULTS:
            ids.append(EOS)
            role.append(Role.GAME_ENDS)
        roles = np.array(role, dtype=np.uint8)
        return TokenizedGame(np.array(ids, dtype=np.uint16), plies_of(roles), roles)

    def _spellings(self, codes: boards.MoveCodes) -> Iterator[tuple[int, ...]]:
        if self.notation.reads_board:
            moves = boards.to_moves(codes)
            for move, board in zip(moves, boards.replay(moves), strict=False):
                yield self.spell(move, board)
        else:
            for code in codes.tolist():
                spelling = self._seen.get(code)
                if spelling is None:
                    spelling = self._seen[code] = self.spell(boards.code_move(code), _ANY_BOARD)
                yield spelling

    @cached_property
    def _seen(self) -> dict[int, tuple[int, ...]]:
        """Spellings that need no board, by move code."""
        return {}

    def decode_moves(self, ids: Sequence[int] | NDArray[Any]) -> list[chess.Move]:
        """The moves of a game's tokens; special tokens are passed over.

        Raises:
            InputError: the tokens spell something that is no move (legality is not checked where the notation
                can be read without the board).
        """
        moves: list[chess.Move] = []
        board = chess.Board()
        begun: tuple[str, ...] = ()

        def finish() -> None:
            move = self.notation.parse(begun, board)
            if move is None:
                raise InputError(f"{' '.join(begun)!r} at ply {len(moves)} is no move in {self.notation.name}")
            moves.append(move)
            if self.notation.reads_board:
                board.push(move)

        for i in ids:
            if i < len(SPECIALS):
                continue
            token = self.tokens[int(i)]
            if begun and token not in self.notation.extensions(begun):
                finish()
                begun = ()
            begun = (*begun, token)
        if begun:
            finish()
        return moves


_ANY_BOARD = chess.Board()


def get_tokenizer(notation: str) -> GameTokenizer:
    """The tokenizer of a notation whose vocabulary is fixed.

    Raises:
        InputError: no such notation.
    """
    return GameTokenizer(get_notation(notation))


def save_tokenizer(tokenizer: GameTokenizer, folder: Path) -> None:
    """Write the files from which ``AutoTokenizer`` loads the same ids in plain transformers, 4 and 5 alike.

    Text is moves in UCI with or without spaces between them; <bos> is put in front.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers, processors

    text = Tokenizer(models.WordLevel(dict(tokenizer.ids), unk_token=SPECIALS[UNK]))
    text.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Split(Regex(tokenizer.notation.pattern), behavior="isolated"),
        ]
    )
    bos = SPECIALS[BOS]
    text.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A $B", special_tokens=[(bos, BOS)]
    )
    text.add_special_tokens([AddedToken(token, normalized=False) for token in SPECIALS])
    folder.mkdir(parents=True, exist_ok=True)
    text.save(str(folder / "tokenizer.json"))
    # Written by hand: transformers 5 names a class here that version 4 does not know, and without the field
    # AutoTokenizer silently builds GPT-2's own tokenizer.
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": tokenizer.notation.context,
        "clean_up_tokenization_spaces": False,
        "pad_token": SPECIALS[PAD],
        "bos_token": bos,
        "eos_token": SPECIALS[EOS],
        "unk_token": SPECIALS[UNK],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def check_tokenizer(tokenizer: GameTokenizer, folder: Path) -> None:
    """Make sure that a folder's ``tokenizer.json`` has exactly the ids of our tokenizer.

    Raises:
        InputError: the file is missing, broken or belongs to another notation.
    """
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not path.is_file():
        raise InputError(f"{folder}: no tokenizer.json, so this is no checkpoint or dataset of chesslm")
    try:
        vocabulary = Tokenizer.from_file(str(path)).get_vocab()
    except Exception as error:
        raise InputError(f"{path}: not a readable tokenizer ({error})") from error
    if vocabulary != tokenizer.ids:
        raise InputError(
            f"{path}: its {len(vocabulary)} tokens are not those of {tokenizer.notation.name} "
            f"({len(tokenizer)} tokens); name the right notation with --notation"
        )
