"""Filters against plain restatements of them, and the set of games seen against a Python set."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chesslm.errors import InputError
from chesslm.filters import Filters, Seen
from chesslm.game import Game

PLAIN = Game(np.array([1, 2, 3], dtype=np.uint16), "1-0", 2100, 1900, "C42", "2020.05.17")


def game(**changes: object) -> Game:
    return Game(**{**PLAIN.__dict__, **changes})


@pytest.mark.parametrize(
    ("filters", "passes", "dropped"),
    [
        (Filters(min_elo=1900), game(), game(black_elo=1899)),
        (Filters(min_elo=1900), game(), game(white_elo=None)),
        (Filters(max_elo=2100), game(), game(white_elo=2101)),
        (Filters(max_elo=2100), game(), game(black_elo=None)),
        (Filters(result="1-0,0-1"), game(), game(result="1/2-1/2")),
        (Filters(result="*"), game(result="*"), game()),
        (Filters(min_plies=3), game(), game(codes=PLAIN.codes[:2])),
        (Filters(max_plies=2), game(codes=PLAIN.codes[:2]), game()),
        (Filters(since="2020"), game(date="2020.01.01"), game(date="2019.12.31")),
        (Filters(since="2020.05.17"), game(), game(date="2020.05.16")),
        (Filters(since="2020-05"), game(date="2020.??.??"), game(date="2020.04.??")),
        (Filters(until="2020.05"), game(date="2020.05.31"), game(date="2020.06.01")),
        (Filters(until="2020"), game(date="2020.12.31"), game(date="2021")),
        (Filters(since="1990", until="1991"), game(date="1991.1.1"), game(date="1992.01.01")),
        (Filters(since="1000"), game(), game(date="????.??.??")),
        (Filters(until="2100"), game(), game(date=None)),
        (Filters(eco="C"), game(), game(eco="B42")),
        (Filters(eco="C4"), game(), game(eco="C50")),
        (Filters(eco="a00, c42"), game(), game(eco="C41")),
        (Filters(eco="C40-C49"), game(eco="C49a"), game(eco="C50")),
        (Filters(eco="B-C4"), game(eco="B00"), game(eco="C50")),
        (Filters(eco="C"), game(), game(eco=None)),
    ],
)
def test_filters(filters: Filters, passes: Game, dropped: Game) -> None:
    assert filters.reason(passes) == ""
    assert filters.reason(dropped) in ("elo", "result", "plies", "date", "eco")


@given(st.dates(), st.dates(), st.dates())
def test_days_are_compared_as_days(since, until, day) -> None:
    asked = {"since": since.strftime("%Y.%m.%d").zfill(10), "until": until.strftime("%Y.%m.%d").zfill(10)}
    if since > until:
        with pytest.raises(InputError, match="no game can pass"):
            Filters(**asked)
        return
    filters = Filters(**asked)
    assert (filters.reason(game(date=day.strftime("%Y.%m.%d").zfill(10))) == "") == (since <= day <= until)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"min_elo": 2000, "max_elo": 1000}, "--min-elo"),
        ({"min_plies": 20, "max_plies": 10}, "--min-plies"),
        ({"result": "1-0,2-0"}, "2-0"),
        ({"since": "yesterday"}, "--since"),
        ({"until": "2020.13"}, "--until"),
        ({"since": "2020.01.32"}, "--since"),
        ({"eco": "F00"}, "--eco"),
        ({"eco": ""}, "--eco"),
    ],
)
def test_malformed_filters_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Filters(**wrong)


@given(st.lists(st.integers(0, 40) | st.integers(0, 2**64 - 1), max_size=400))
@settings(max_examples=50, deadline=None)
def test_seen_is_a_set(tmp_path_factory: pytest.TempPathFactory, keys: list[int]) -> None:
    folder = tmp_path_factory.mktemp("seen")
    seen, model = Seen(folder, slots=4), set()
    for key in keys:
        # 0 marks an empty slot, so it stands for 1.
        assert seen.add(key) == ((key or 1) not in model)
        model.add(key or 1)
    assert not list(folder.iterdir())


def test_seen_says_when_the_disk_is_full() -> None:
    with pytest.raises(OSError, match="No space left"):
        Seen(Path("/dev/shm"), slots=1 << 50)
