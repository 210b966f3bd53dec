"""Batches: every game once an epoch, hardly any padding, and no game sees another."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from random_games import random_game

from chesslm.conditions import Headers
from chesslm.config import ModelConfig
from chesslm.loader import NOT_ASKED, GameBatches, cut_batches, cut_game, pad_rows
from chesslm.model import new_gpt2
from chesslm.module import loss_sum
from chesslm.notation import PIECES
from chesslm.shards import ShardWriter, Split, open_dataset, write_meta
from chesslm.tokenizer import EOS, PAD, Role, get_tokenizer


@pytest.fixture
def split(tiny_dataset: Path) -> Split:
    return open_dataset(tiny_dataset).splits["train"]


def take(batches: GameBatches, n: int) -> list[list[list[int]]]:
    """The next n batches as plain lists."""
    iterator = iter(batches)
    return [next(iterator)["ids"].tolist() for _ in range(n)]


def test_an_epoch_holds_every_game_once(split: Split) -> None:
    batches = GameBatches(split, 1024, context=512, seed=1)
    plan = batches.plan(0)
    rows = [tuple(i for i in row if i != PAD) for batch in take(batches, len(plan)) for row in batch]
    assert sorted(rows) == sorted(tuple(split.game_ids(game).tolist()) for game in range(len(split)))
    assert all(len(games) * split.lengths[games].max() <= 1024 for games in plan)
    assert [g.tolist() for g in batches.plan(1)] != [g.tolist() for g in plan]


def test_hardly_any_padding() -> None:
    # Lengths as widely spread as those of human games: median 79 plies, 1 % over 190.
    lengths = np.sort(np.random.default_rng(0).gamma(5.0, 17.0, size=8192).astype(np.int64) + 2)
    cut = cut_batches(lengths, 4096)
    padded = sum((batch.stop - batch.start) * int(lengths[batch].max()) for batch in cut)
    assert lengths.sum() / padded > 0.95
    assert [i for batch in cut for i in range(batch.start, batch.stop)] == list(range(8192))


def test_a_game_longer_than_a_batch_stands_alone() -> None:
    assert cut_batches(np.array([3, 4, 900]), 100) == [slice(0, 2), slice(2, 3)]


@pytest.mark.parametrize("notation", ["uci-move", "uci-square"])
def test_long_games_are_cut_after_a_move(tiny_datasets: Mapping[str, Path], notation: str) -> None:
    game = max((g for g in map(open_dataset(tiny_datasets[notation]).splits["train"].__getitem__, range(100))), key=len)
    for context in range(8, 14):
        cut = cut_game(game, context)
        assert context - 3 < len(cut) <= context
        assert cut.role[-1] & Role.MOVE_ENDS
        assert cut.ids.tolist() == game.ids[: len(cut)].tolist()
    assert cut_game(game, len(game)) is game


def test_goes_on_where_it_was(split: Split) -> None:
    whole = GameBatches(split, 700, context=512, seed=3)
    n = len(whole.plan(0)) + 5
    expected = take(whole, n)
    for stopped in (0, 1, n - 7, n - 5, n - 1):
        first = GameBatches(split, 700, context=512, seed=3)
        head = take(first, stopped)
        second = GameBatches(split, 700, context=512, seed=3)
        second.load_state_dict(first.state_dict())
        assert head + take(second, n - stopped) == expected


@pytest.mark.parametrize(("ranks", "parts"), [(2, 1), (1, 3), (2, 2)])
def test_processes_share_each_batch(split: Split, ranks: int, parts: int) -> None:
    """Each game once an epoch, whoever takes it; the figures of the whole batch are known to all."""
    one = GameBatches(split, 700, context=512, seed=1)
    n = len(one.plan(0))
    whole = [batch for _, batch in zip(range(n), one, strict=False)]
    each = [GameBatches(split, 700, 512, seed=1, parts=parts, rank=rank, ranks=ranks) for rank in range(ranks)]
    shared = [[part for _, part in zip(range(n * parts), batches, strict=False)] for batches in each]
    for i, batch in enumerate(whole):
        mine = [part for of_rank in shared for part in of_rank[i * parts : (i + 1) * parts]]
        assert [part["last"] for part in mine] == [part == parts - 1 for _ in range(ranks) for part in range(parts)]
        assert all(part["whole"] == batch["whole"] for part in mine)
        asked = sum(int((part["targets"][:, 1:] != NOT_ASKED).sum()) for part in mine)
        assert asked == batch["whole"]["tokens"] == int((batch["targets"][:, 1:] != NOT_ASKED).sum())
        games = sorted(row[row != PAD].tolist() for part in mine for row in part["ids"] if (row != PAD).any())
        assert games == sorted(row[row != PAD].tolist() for row in batch["ids"])
    assert each[0].state_dict() == one.state_dict()


def asked(games: list[np.ndarray]) -> torch.Tensor:
    """The games as targets, nothing asked of the padding."""
    return torch.from_numpy(pad_rows([game.astype(np.int64) for game in games], NOT_ASKED))


def test_no_loss_is_taken_on_what_is_given(tmp_path: Path) -> None:
    tokenizer = get_tokenizer("uci-square", ("elo",))
    games = [tokenizer.encode(random_game(seed, 30), "1-0", Headers(1500, 1600), hints=True) for seed in range(60)]
    writer = ShardWriter(tmp_path, "train")
    for game in games:
        writer.add(game.ids, game.role, {"plies": 30})
    writer.flush()
    write_meta(tmp_path, [writer], {"notation": "uci-square"})
    split = open_dataset(tmp_path).splits["train"]
    shown = {}
    for share in (0.0, 0.15, 1.0):
        batches = GameBatches(split, 2000, context=512, seed=1, hints=share)
        hints = 0
        for _, batch in zip(range(len(batches.plan(0))), batches, strict=False):
            ids, targets = batch["ids"].numpy(), batch["targets"].numpy()
            given = np.isin(ids, np.flatnonzero(tokenizer.is_special)) & (ids != EOS)
            assert (targets[given] == NOT_ASKED).all() and (targets[~given] == ids[~given]).all()
            named = [tokenizer.tokens[i] for i in ids.ravel() if i != PAD]
            hints += sum(name in PIECES for name in named)
            assert not any(one in PIECES and other in PIECES for one, other in pairwise(named))
        shown[share] = hints / sum(int((game.role & Role.MOVE_ENDS > 0).sum()) for game in games)
    assert shown[0.0] == 0 and shown[1.0] == 1
    assert 0.11 < shown[0.15] < 0.19
    again = GameBatches(split, 2000, context=512, seed=1, hints=0.15)
    first, second = (take(again, len(again.plan(0))) for _ in range(2))
    assert sorted(map(len, first)) == sorted(map(len, second)) and first != second, "other hints in the next epoch"


def test_no_game_sees_another(split: Split) -> None:
    model = new_gpt2(ModelConfig(layers=2, width=32, heads=2), get_tokenizer("uci-move"), seed=1).eval()
    games = [split.game_ids(game) for game in (0, 7, 11, 40)]
    together = torch.from_numpy(pad_rows(games))
    with torch.inference_mode():
        logits = model(together).logits
        alone = [model(torch.from_numpy(pad_rows([game]))).logits[0] for game in games]
        for row, (game, own) in enumerate(zip(games, alone, strict=True)):
            torch.testing.assert_close(logits[row, : len(game)], own, rtol=1e-4, atol=1e-5)
        # and the loss of a batch is that of its games, whatever the chunks of the head
        all_of_it = loss_sum(model, together, asked(games))
        single = [loss_sum(model, torch.from_numpy(pad_rows([game])), asked([game])) for game in games]
        assert all_of_it.tokens == sum(each.tokens for each in single) == sum(len(game) - 1 for game in games)
        total = sum(float(each.cross_entropy) for each in single)
        assert float(all_of_it.cross_entropy) == pytest.approx(total, rel=1e-5)


def test_a_later_leg_takes_the_games_that_the_earlier_ones_did_not(split: Split) -> None:
    whole = GameBatches(split, 700, context=512, seed=3)
    epoch = len(whole.plan(0))
    expected = take(whole, 2 * epoch + 10)
    for skip in (1, epoch - 1, epoch, epoch + 1, epoch + len(whole.plan(1)) + 2):
        assert take(GameBatches(split, 700, context=512, seed=3, skip=skip), 5) == expected[skip : skip + 5]
