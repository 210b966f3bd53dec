"""A model that remembers what it has read: token sequences go in, logits of what may follow them come out.

What is read is kept as a tree: games that begin alike share their beginning, a move that is taken back leaves the rest,
several games lie beside each other. The keys and values of all of it are one row of the model's cache, and a mask shows
each token itself and those before it in its own game (tree attention, Miao et al. 2023, "SpecInfer"; the tree of
prefixes, Zheng et al. 2024, "SGLang"). So what is asked at once, of however many games, is one forward pass over the
tokens that are new.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from chesslm.model import LoadedModel

Tokens = Sequence[int]
Logits = NDArray[np.float32]

SPARE, ROOM = 4, 256
"""The rest is dropped when the cache holds so many times the tokens that are asked about, and so many more."""
ANSWERS = 64
"""Logits that are remembered."""


class Reader:
    """Asks a model, and keeps what it has read.

    Args:
        loaded: the model.
    """

    def __init__(self, loaded: "LoadedModel") -> None:
        self._loaded = loaded
        self._forget()

    def after(self, games: Sequence[tuple[Tokens, Sequence[Tokens]]]) -> list[list[Logits]]:
        """Logits of the token after each game and each path of further tokens.

        Args:
            games: tokens of a game, and paths that go on from it; () is the end of the game itself.

        Returns:
            For each path of each game, (vocabulary,).
        """
        self._drop_if_full([game for game, _ in games])
        new: list[tuple[int, list[int]]] = []
        row_of: dict[int, int] = {}

        def follow(line: list[int], tokens: Tokens) -> list[int]:
            """A line of nodes, longer by some tokens; those that are not there are to be read."""
            for token in tokens:
                key = (line[-1] if line else -1, token)
                if key not in self._nodes:
                    self._nodes[key] = self._length + len(new)
                    row_of[self._nodes[key]] = len(new)
                    new.append((token, line[:]))
                line.append(self._nodes[key])
            return line

        ends: list[list[int]] = []
        for game, paths in games:
            trunk = follow([], game)
            lines = [follow(trunk[:], path) for path in paths]
            for line, path in zip(lines, paths, strict=True):
                if line[-1] not in row_of and line[-1] not in self._answers:
                    # It was read when nobody asked what follows: it is read again, as a leaf of its own.
                    row_of[line[-1]] = len(new)
                    new.append((path[-1] if path else game[-1], line[:-1]))
            ends.append([line[-1] for line in lines])
        answers = self._answers
        if new:
            logits = self._read(new)
            fresh = {end: logits[row_of[end]] for each in ends for end in each if end in row_of}
            answers = answers | fresh
            self._answers = answers if len(answers) <= ANSWERS else fresh
        return [[answers[end] for end in each] for each in ends]

    def _forget(self) -> None:
        from transformers import DynamicCache

        self._cache = DynamicCache()
        self._length = 0
        # The node before a token, and the token -> the node of that token: its place in the cache.
        self._nodes: dict[tuple[int, int], int] = {}
        self._answers: dict[int, Logits] = {}

    def _read(self, new: Sequence[tuple[int, list[int]]]) -> NDArray[np.float32]:
        """Logits after tokens behind the nodes before them, (tokens, vocabulary); the cache grows by them."""
        import torch

        visible = np.zeros((len(new), self._length + len(new)), dtype=bool)
        for row, (_, before) in enumerate(new):
            visible[row, [*before, self._length + row]] = True
        device = self._loaded.device
        try:
            with torch.inference_mode(), self._loaded.autocast():
                output = self._loaded.model(
                    input_ids=torch.tensor([[token for token, _ in new]], device=device),
                    position_ids=torch.tensor([[len(before) for _, before in new]], device=device),
                    attention_mask=torch.from_numpy(visible[None, None]).to(device),
                    past_key_values=self._cache,
                    use_cache=True,
                )
            self._length += len(new)
            return output.logits[0].float().cpu().numpy()
        except BaseException:
            # After half a pass nobody knows what the cache holds.
            self._forget()
            raise

    def _drop_if_full(self, games: Sequence[Tokens]) -> None:
        """Keep what is asked about, where the cache holds far more."""
        import torch

        if self._length <= SPARE * sum(map(len, games)) + ROOM:
            return
        known: set[int] = set()
        for game in games:
            node = -1
            for token in game:
                if (node := self._nodes.get((node, token), -1)) < 0:
                    break
                known.add(node)
        if not known:
            self._forget()
            return
        kept = sorted(known)
        place = {-1: -1} | {old: new for new, old in enumerate(kept)}
        self._nodes = {
            (place[before], token): place[node] for (before, token), node in self._nodes.items() if node in known
        }
        self._length, self._answers = len(kept), {}
        places = torch.tensor(kept, device=self._loaded.device)
        layer: Any
        for layer in self._cache.layers:
            layer.keys, layer.values = layer.keys[:, :, places], layer.values[:, :, places]
