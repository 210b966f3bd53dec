"""Steppers: next-token scores for rows of tokens that grow together, a token a row at a time.

Tokens go in, (R, N) for R rows, scores of the next one come out, float32, (R, V). All rows hold equally many tokens,
so a model needs neither padding nor a mask, and its cache of keys and values is cut by rows alone.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache

from chesslm.eval.scorers import ModelScorer, Scorer, chain
from chesslm.model import LoadedModel
from chesslm.tokenizer import GameTokenizer

REREAD_TOKENS = 2048
"""Tokens that a scorer is given at once."""


class Stepper(Protocol):
    """Next-token scores of rows of tokens that grow together.

    Two implementations: a model that keeps what it has read in a cache, and any ``Scorer`` (a baseline, an oracle),
    which reads everything again each time.
    """

    @property
    def tokenizer(self) -> GameTokenizer:
        """The notation that it reads and writes."""
        ...

    @property
    def context(self) -> int:
        """Tokens that a row may hold, <bos> included."""
        ...

    def begin(self) -> None:
        """Forget all rows."""
        ...

    def read(self, ids_RN: NDArray[np.int64]) -> NDArray[np.float32]:
        """Read N more tokens in each of R rows (the first time after ``begin``: of new rows).

        Returns:
            Scores of the token after them, (R, V), as a ``Scorer`` gives them.
        """
        ...

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some of the rows, in their order."""
        ...


class Row(Protocol):
    """Tokens that are written one by one behind those that are given."""

    waiting: list[int]
    """Tokens that are not read yet."""

    @property
    def is_over(self) -> bool:
        """Whether no more is written."""
        ...


R = TypeVar("R", bound=Row)


def write_together(
    stepper: Stepper,
    rows: Sequence[R],
    write: Callable[[R, NDArray[np.float32]], None],
    advance: Callable[[int], None] = lambda _: None,
) -> None:
    """Write some rows to their ends, all of them a token at a time.

    Args:
        stepper: what reads.
        rows: none of them over.
        write: adds to a row with nothing waiting, by the scores of what follows, or makes it be over.
        advance: told of rows that are over.
    """
    if not rows:
        return
    stepper.begin()
    n = min(len(row.waiting) for row in rows)
    while rows:
        scores_RV = stepper.read(np.array([_take(row, n) for row in rows], dtype=np.int64))
        for row, scores in zip(rows, scores_RV, strict=True):
            if not row.waiting:
                write(row, scores)
        going_on = [i for i, row in enumerate(rows) if not row.is_over]
        if len(going_on) < len(rows):
            advance(len(rows) - len(going_on))
            if going_on:
                stepper.keep(going_on)
        rows = [rows[i] for i in going_on]
        n = 1
    stepper.begin()


def _take(row: Row, n: int) -> list[int]:
    """Tokens of a row to be read now."""
    taken, row.waiting = row.waiting[:n], row.waiting[n:]
    return taken


class ModelStepper:
    """A causal language model with a cache of keys and values.

    Args:
        loaded: the model.

    Raises:
        InputError: its logits are not those of its head alone.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded, self._scorer = loaded, ModelScorer(loaded)
        self.begin()

    @property
    def tokenizer(self) -> GameTokenizer:
        """The model's."""
        return self._loaded.tokenizer

    @property
    def context(self) -> int:
        """The model's."""
        return self._loaded.context

    def begin(self) -> None:
        """Empty the cache."""
        self._cache = DynamicCache(config=self._loaded.model.config)

    @torch.inference_mode()
    def read(self, ids_RN: NDArray[np.int64]) -> NDArray[np.float32]:
        """One forward pass of the new tokens."""
        ids = torch.from_numpy(ids_RN).to(self._loaded.device)
        positions = self._cache.get_seq_length() + torch.arange(ids.shape[1], device=ids.device)
        with self._loaded.autocast():
            hidden_RND = self._loaded.model.base_model(
                input_ids=ids, position_ids=positions.expand_as(ids), past_key_values=self._cache, use_cache=True
            )[0]
        return self._scorer.head(hidden_RND[:, -1])[:, : len(self.tokenizer)].cpu().numpy()

    @torch.inference_mode()
    def keep(self, rows: Sequence[int]) -> None:
        """Drop the other rows from the cache."""
        self._cache.batch_select_indices(torch.tensor(rows, device=self._loaded.device))


class ScorerStepper:
    """Any scorer, which reads each row from its first token every time: the cost grows with the square of the length.

    Args:
        scorer: a baseline, an oracle, or a model as plainly as can be.
    """

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self.begin()

    @property
    def tokenizer(self) -> GameTokenizer:
        """The scorer's."""
        return self._scorer.tokenizer

    @property
    def context(self) -> int:
        """The scorer's."""
        return self._scorer.context

    def begin(self) -> None:
        """Forget all rows."""
        self._ids: NDArray[np.int64] | None = None

    def read(self, ids_RN: NDArray[np.int64]) -> NDArray[np.float32]:
        """The scores after the last token of each row, a few rows at a time."""
        self._ids = ids_RN if self._ids is None else np.concatenate([self._ids, ids_RN], axis=1)
        size = max(1, REREAD_TOKENS // self._ids.shape[1])
        trees = [chain(row) for row in self._ids.astype(self.tokenizer.dtype)]
        parts = [self._scorer.logits(trees[i : i + size])[:, -1] for i in range(0, len(trees), size)]
        return torch.cat(parts).float().cpu().numpy()

    def keep(self, rows: Sequence[int]) -> None:
        """Forget the other rows."""
        assert self._ids is not None
        self._ids = self._ids[list(rows)]
