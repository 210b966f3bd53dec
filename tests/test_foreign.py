"""Models that chesslm did not make: three architectures and three tokenizers, saved by plain transformers alone."""

import ast
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import chess
import numpy as np
import pytest
import torch
from conftest import Cli
from random_games import pieces_of_text, random_game, write_pgn
from test_player import check_agreement
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
)

from chesslm import boards, parallel
from chesslm.errors import InputError
from chesslm.eval.moves import score_moves
from chesslm.eval.positions import find_positions
from chesslm.eval.scorers import ModelScorer
from chesslm.foreign import foreign_tokenizer
from chesslm.game import Game
from chesslm.model import load_model
from chesslm.notation import legal_spellings
from chesslm.play.player import ModelPlayer
from chesslm.san import write_moves
from chesslm.tokenizer_files import load_tokenizer, save_tokenizer
from chesslm.words import geometric_moves

GAMES = [random_game(seed, 24) for seed in range(4)]
SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 512}


def whole_moves() -> Tokenizer:
    """A word a move in UCI."""
    vocabulary = {"[UNK]": 0, "[START]": 1, **{move: i for i, move in enumerate(geometric_moves(), 2)}}
    text = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    text.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return text


def characters() -> Tokenizer:
    """A token a character, in an order of its own, as in Karvonen's models."""
    alphabet = [";", *"#+-.0123456789=BKNOQRabcdefghx "]
    text = Tokenizer(models.WordLevel({"?": 0, **{c: i for i, c in enumerate(alphabet, 1)}}, unk_token="?"))
    text.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    text.decoder = decoders.Fuse()
    return text


MADE: dict[str, tuple[Tokenizer, dict[str, str], type[PretrainedConfig]]] = {
    "uci-move": (whole_moves(), {"bos_token": "[START]", "unk_token": "[UNK]"}, GPTNeoXConfig),
    "pgn-char": (characters(), {"bos_token": ";", "unk_token": "?"}, GPT2Config),
    "text": (pieces_of_text(), {"eos_token": "<|end|>"}, LlamaConfig),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """A model of random weights by the notation that it is asked in."""
    root = tmp_path_factory.mktemp("foreign")
    for notation, (text, named, architecture) in MADE.items():
        plain = PreTrainedTokenizerFast(tokenizer_object=text, **named)
        plain.save_pretrained(root / notation)
        torch.manual_seed(1)
        settings: dict[str, Any] = {
            "vocab_size": len(plain),
            "bos_token_id": plain.bos_token_id,
            "eos_token_id": plain.eos_token_id,
            "intermediate_size": 64,
            "num_key_value_heads": 2,
            **SIZE,
        }
        config = architecture(**settings)
        AutoModelForCausalLM.from_config(config).save_pretrained(root / notation)
    return {notation: root / notation for notation in MADE}


notations = pytest.mark.parametrize("notation", MADE)


@notations
def test_games_come_back(notation: str, folders: Mapping[str, Path], tmp_path: Path) -> None:
    tokenizer = foreign_tokenizer(str(folders[notation]), notation)
    text, _, _ = MADE[notation]
    for seed in range(20):
        game = random_game(seed, 120)
        encoded = tokenizer.encode(game, "1-0")
        assert boards.to_codes(tokenizer.decode_moves(encoded.ids)).tolist() == game.tolist()
    if notation == "text":
        numbered = [f"{i // 2 + 1}. {san}" if i % 2 == 0 else san for i, san in enumerate(write_moves(GAMES[0]))]
        assert text.decode(tokenizer.encode(GAMES[0]).ids[1:].tolist()) == " ".join(numbered)
        save_tokenizer(tokenizer, tmp_path)
        again = load_tokenizer(tmp_path, "text")
        assert again.encode(GAMES[0]).ids.tolist() == tokenizer.encode(GAMES[0]).ids.tolist()


@notations
def test_every_legal_move_can_be_reached(notation: str, folders: Mapping[str, Path]) -> None:
    notation_ = foreign_tokenizer(str(folders[notation]), notation).notation
    for game in GAMES:
        *_, board = boards.replay(boards.to_moves(game))
        for tokens, move in legal_spellings(notation_, board).items():
            assert all(tokens[n] in notation_.extensions(tokens[:n]) for n in range(len(tokens)))
            assert notation_.ends(tokens) and notation_.parse(tokens, board) == move


@notations
def test_legal_mass_by_plain_forward_passes(notation: str, folders: Mapping[str, Path]) -> None:
    """Bits of the played move and of all legal moves, prefix by prefix, whatever the architecture."""
    loaded = load_model(str(folders[notation]), notation, device="cpu", precision="fp32")
    tokenizer = loaded.tokenizer
    with parallel.pool(1) as pool:
        positions = find_positions(GAMES[:2], pool)
        scores = score_moves(ModelScorer(loaded), [Game(game) for game in GAMES[:2]], positions, pool, plies=0)

    def after(ids: list[int]) -> np.ndarray:
        with torch.inference_mode():
            return loaded.model(input_ids=torch.tensor([ids])).logits[0, -1].double().softmax(-1).numpy()

    def probability(prefix: list[int], spelled: tuple[str, ...], before: tuple[str, ...]) -> float:
        """Of a move's tokens and, where it could go on, that it does not."""
        found, barred = 1.0, [tokenizer.ids[token] for token in tokenizer.notation.extensions(before)] if before else []
        for n, token in enumerate((*spelled, None)):
            p = after([*prefix, *(tokenizer.ids[each] for each in spelled[:n])])
            if n == 0:
                p[barred] = 0
            if not (n and tokenizer.notation.ends(spelled[:n])):
                p[tokenizer.is_special] = 0
            p /= p.sum()
            goes_on = [tokenizer.ids[each] for each in tokenizer.notation.extensions(spelled[:n])]
            found *= p[tokenizer.ids[token]] if token else 1 - p[goes_on].sum()
        return found

    for game, at in ((0, 9), (0, 10), (1, 3)):
        codes = GAMES[game]
        board = [board.copy() for board in boards.replay(boards.to_moves(codes))][at]
        prefix = [*tokenizer.encode(codes[:at]).ids.tolist(), *tokenizer.lead(at)]
        previous = chess.Board(board.fen())
        before: tuple[str, ...] = ()
        if at and not tokenizer.lead(at):
            previous = board.copy()
            before = tokenizer.notation.spell(previous.pop(), previous)
        spelled = legal_spellings(tokenizer.notation, board)
        mass = {move: probability(prefix, tokens, before) for tokens, move in spelled.items()}
        ply = positions.first[game] + at
        assert scores.legality_bits[ply] == pytest.approx(-math.log2(sum(mass.values())), abs=2e-3)
        assert scores.bits[ply] == pytest.approx(-math.log2(mass[boards.code_move(codes[at])]), abs=2e-3)


@notations
def test_they_are_measured_and_played(notation: str, folders: Mapping[str, Path], cli: Cli, tmp_path: Path) -> None:
    pgn = write_pgn(tmp_path / "games.pgn", GAMES)
    out = tmp_path / "results.json"
    ended = cli(
        "evaluate", folders[notation], "--notation", notation, "--games", pgn, "--plies", 40, "--json", out,
        "--quiet", "--workers", 1,
    )  # fmt: skip
    assert (ended.code, ended.err) == (0, "")
    result = json.loads(out.read_text())[0]
    assert result["model"]["notation"] == notation
    assert 0 <= result["suites"]["legality"]["metrics"]["legal_mass"]["value"] < 0.5
    board = chess.Board()
    loaded = load_model(str(folders[notation]), notation, device="cpu", precision="fp32")
    player = ModelPlayer(loaded)
    for _ in range(4):
        check_agreement(loaded, board)
        choice = player.choose(board)
        board.push(choice.move)
        if notation == "text":
            junk = [each.text for each in choice.candidates if each.illegal == boards.Illegal.NOT_A_MOVE]
            assert junk and all(ast.literal_eval(text) and text.isascii() for text in junk), "what it said, in a line"


def test_what_cannot_be_written_is_said(folders: Mapping[str, Path], cli: Cli) -> None:
    with pytest.raises(InputError, match="cannot write e4 as pgn-char has it"):
        foreign_tokenizer(str(folders["uci-move"]), "pgn-char")
    with pytest.raises(InputError, match="unknown notation 'lan'"):
        foreign_tokenizer(str(folders["uci-move"]), "lan")
    ended = cli("play", folders["text"])
    assert ended.code == 2 and "name it with --notation" in ended.err
