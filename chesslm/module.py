"""A model with its loss, optimizer and schedule, as Lightning trains it: batches in, a step at a time.

Loss: mean cross-entropy in nats over all real tokens but <bos>, conditions and hints, each game seen alone; beside it,
where the recipe gives it a weight, a loss of what is given to moves that are not legal. The head is applied to 1,024
positions at a time, so that its logits (8 KB a position) stay in the cache. Cost on two cores of a Zen 4 server: about
4,500 tokens a second at ``small`` (benchmarks/train.py).
"""

from typing import Any, NamedTuple, cast

import lightning as L
import torch
import torch.nn.functional as F
from transformers import PreTrainedModel

from chesslm.chances import Chances
from chesslm.config import TrainConfig
from chesslm.loader import NOT_ASKED
from chesslm.optim import CUT, make_optimizer, rate, set_rates

HEAD_POSITIONS = 1024
COUNTERS = ("steps", "tokens", "games", "cuts", "minutes")


class LossSum(NamedTuple):
    """Losses of a batch of games in nats, summed over its tokens.

    Attributes:
        cross_entropy: scalar.
        illegality: minus the log of what the tokens of all legal moves are given together, where those are known: the
            semantic loss (Xu et al. 2018, definition 1) of "this move is legal"; scalar.
        tokens: that are asked for.
    """

    cross_entropy: torch.Tensor
    illegality: torch.Tensor
    tokens: int

    def weighed(self, legality: float) -> torch.Tensor:
        """What is minimised, given the weight of legality (``train.legality``)."""
        # Without a weight nothing is passed back through it.
        return self.cross_entropy + legality * self.illegality if legality else self.cross_entropy


def loss_sum(
    model: PreTrainedModel, ids_BT: torch.Tensor, targets_BT: torch.Tensor, expected: Chances | None = None
) -> LossSum:
    """The losses of a batch of games.

    Args:
        model: causal.
        ids_BT: the games.
        targets_BT: the same ids, ``NOT_ASKED`` where no loss is taken.
        expected: distributions of which some targets are draws; the cross-entropy is taken over them instead.

    Right padding under causal attention is exact without a mask; the cache is off because it would cost memory.
    """
    hidden_BTD = model.base_model(ids_BT[:, :-1], use_cache=False).last_hidden_state
    asked_BT = targets_BT[:, 1:] != NOT_ASKED
    tokens = int(asked_BT.sum())
    if expected:
        asked_BT[expected.row, expected.at - 1] = False
    hidden_ND, targets_N = hidden_BTD[asked_BT], targets_BT[:, 1:][asked_BT]
    head = cast(torch.nn.Module, model.get_output_embeddings())
    total = illegality = hidden_ND.new_zeros((), dtype=torch.float32)
    for hidden_CD, targets_C in zip(hidden_ND.split(HEAD_POSITIONS), targets_N.split(HEAD_POSITIONS), strict=True):
        total = total + F.cross_entropy(head(hidden_CD).float(), targets_C, reduction="sum")
    if expected:
        hidden_ND = hidden_BTD[expected.row, expected.at - 1]
        parts = (each.split(HEAD_POSITIONS) for each in (hidden_ND, expected.ids, expected.shares, expected.legal))
        for hidden_CD, ids_CK, shares_CK, legal_CK in zip(*parts, strict=True):
            logs_CK = F.log_softmax(head(hidden_CD).float(), -1).gather(1, ids_CK)
            total = total - (logs_CK * shares_CK).sum()
            illegality = illegality - logs_CK.masked_fill(~legal_CK, -torch.inf).logsumexp(-1).sum()
    return LossSum(total, illegality, tokens)


class ChessModule(L.LightningModule):
    """A causal language model with its loss, optimizer and schedule; counts steps, tokens, games and minutes."""

    def __init__(self, model: PreTrainedModel, train: TrainConfig, pieces: torch.Tensor | None = None) -> None:
        super().__init__()
        self.model, self.settings, self._pieces = model, train, pieces
        self.steps = self.tokens = self.games = self.cuts = 0
        self.minutes = self.nats = 0.0
        self._begins = True

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        """The share of a part of a batch in the mean loss, in nats a token."""
        loss = loss_sum(self.model, batch["ids"], batch["targets"], batch["expected"])
        self.nats = float(loss.cross_entropy.detach()) + (0.0 if self._begins else self.nats)
        self._begins = batch["last"]
        whole = batch["whole"]
        if batch["last"]:
            self.steps += 1
            self.tokens += whole["tokens"]
            self.games += whole["games"]
        # Lightning takes the mean of the parts, and that of the processes.
        return (
            loss.weighed(self.settings.legality) * self.settings.accumulate * self.trainer.world_size / whole["tokens"]
        )

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The recipe's."""
        return make_optimizer(self.model, self.settings, self._pieces)

    def configure_gradient_clipping(self, *args: Any, **kwargs: Any) -> None:
        """Clip by norm; Lightning itself refuses to beside a fused AdamW in bf16, where nothing is scaled."""
        torch.nn.utils.clip_grad_norm_(self.parameters(), self.settings.clip)

    def progress(self) -> float:
        """The share of the budget that is spent, in [0, 1]; all of it once patience is at its end."""
        budget = self.settings
        if self.cuts > 1:
            return 1.0
        limits = (
            (self.steps, budget.max_steps),
            (self.tokens, budget.max_tokens),
            (self.minutes, budget.max_minutes),
        )
        return min(1.0, max(done / limit for done, limit in limits if limit))

    def on_train_start(self) -> None:
        """Seed what dropout draws, or go on where it was; processes beside the first draw anew."""
        rank = self.trainer.global_rank
        torch.manual_seed(self.settings.seed if not rank else hash((self.settings.seed, rank, self.steps)))
        if self._rng is not None and not rank:
            torch.set_rng_state(self._rng)
        if self._card_rng is not None and not rank:
            torch.cuda.set_rng_state(self._card_rng.cpu(), self.device)

    _rng: torch.Tensor | None = None
    _card_rng: torch.Tensor | None = None

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Set the learning rates for this step."""
        set_rates(self.trainer.optimizers[0], rate(self.progress(), self.settings) * CUT**self.cuts)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the counters and the state of the random numbers."""
        checkpoint["counters"] = {name: getattr(self, name) for name in COUNTERS}
        checkpoint["rng"] = torch.get_rng_state()
        if self.device.type == "cuda":  # where dropout draws
            checkpoint["card_rng"] = torch.cuda.get_rng_state(self.device)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take them up."""
        for name, value in checkpoint["counters"].items():
            setattr(self, name, value)
        self._rng, self._card_rng = checkpoint["rng"], checkpoint.get("card_rng")
