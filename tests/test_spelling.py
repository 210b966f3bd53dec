"""What tokens share of their spelling, and that an optimizer which shares it does what the sum of vectors would."""

import pytest
import torch
from torch import nn

from chesslm.config import ModelConfig, TrainConfig
from chesslm.model import new_gpt2
from chesslm.optim import Together, make_optimizer
from chesslm.spelling import Spelled, pieces_of, spell
from chesslm.tokenizer import get_tokenizer

MOVES = get_tokenizer("uci-move")


def shared(a: str, b: str) -> int:
    pieces = pieces_of(MOVES)
    assert pieces is not None
    return int(pieces[MOVES.ids[a]] @ pieces[MOVES.ids[b]])


@pytest.mark.parametrize(
    ("one", "other", "pieces"),
    [
        ("e2e4", "e2e3", 1),
        ("e2e4", "g2e4", 1),
        ("e2e4", "e4e2", 0),  # a square that one leaves and the other reaches is not the same
        ("e2e4", "d7d5", 0),
        ("e7e8q", "d7e8q", 2),
        ("e7e8q", "d7d8q", 1),
    ],
)
def test_moves_share_squares(one: str, other: str, pieces: int) -> None:
    assert shared(one, other) == pieces


def test_special_tokens_and_letters_share_nothing() -> None:
    pieces = pieces_of(MOVES)
    assert pieces is not None and not pieces[torch.from_numpy(MOVES.is_special)].any()
    assert (pieces.sum(0) > 1).all()
    assert pieces_of(get_tokenizer("pgn-char")) is None and pieces_of(get_tokenizer("uci-square")) is None


def test_sharing_is_the_sum_of_vectors() -> None:
    """The same weights as a table that is the sum of tokens and pieces, both trained by AdamW, step for step."""
    torch.manual_seed(1)
    pieces = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
    start, wanted = torch.randn(4, 3), torch.randn(4, 3)
    table = nn.Parameter(start.clone())
    spelled = Spelled(table, pieces)
    ours = torch.optim.AdamW([table, spelled.vectors], lr=0.1, weight_decay=0.0)
    own, of_pieces = nn.Parameter(start.clone()), nn.Parameter(torch.zeros(2, 3))
    theirs = torch.optim.AdamW([own, of_pieces], lr=0.1, weight_decay=0.0)
    for _ in range(20):
        ours.zero_grad()
        (table - wanted).pow(2).sum().backward()
        spelled.before_step()
        ours.step()
        spelled.after_step()
        theirs.zero_grad()
        (own + pieces @ of_pieces - wanted).pow(2).sum().backward()
        theirs.step()
    assert not spelled.vectors.any()
    torch.testing.assert_close(table, own + pieces @ of_pieces)
    assert not torch.equal(table, start)


def test_one_move_teaches_those_that_are_spelled_like_it() -> None:
    model = new_gpt2(ModelConfig(layers=1, width=16, heads=2), MOVES, seed=1)
    before = model.transformer.wte.weight.detach().clone()
    optimizer = make_optimizer(model, TrainConfig(), pieces_of(MOVES))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    table = model.transformer.wte.weight
    assert table.grad is not None
    table.grad[MOVES.ids["e2e4"]] = 1.0
    optimizer.step()
    moved = (table.detach() - before).abs().sum(1)
    order = [float(moved[MOVES.ids[move]]) for move in ("e2e4", "e2e3", "e4e2", "d7d5")]
    assert order[0] > order[1] > 0.0 and order[2] == order[3] == 0.0


def test_fresh_rows_are_alike_where_their_names_are() -> None:
    pieces = pieces_of(MOVES)
    assert pieces is not None
    table = torch.randn(len(MOVES), 512) * 0.02
    before = table.clone()
    spell(table, pieces, 0.02, seed=1)

    def cosine(one: str, other: str) -> float:
        return float(nn.functional.cosine_similarity(table[MOVES.ids[one]], table[MOVES.ids[other]], dim=0))

    # One shared vector of two, beside the half of an own one: 1 / (2 + 1 / 4).
    assert cosine("e2e4", "e2e3") == pytest.approx(1 / 2.25, abs=0.12)
    assert cosine("e2e4", "d7d5") == pytest.approx(0.0, abs=0.12)
    special = torch.from_numpy(MOVES.is_special)
    assert torch.equal(table[special], before[special])


def test_a_table_that_was_padded_learns_alone() -> None:
    """Other tools round the size of a vocabulary up: no row of it is told by its number then."""
    model = new_gpt2(ModelConfig(layers=1, width=16, heads=2), MOVES, seed=1)
    model.resize_token_embeddings(len(MOVES) + 8, mean_resizing=False)
    optimizer = make_optimizer(model, TrainConfig(), pieces_of(MOVES))
    assert isinstance(optimizer, Together) and not optimizer.spelled
