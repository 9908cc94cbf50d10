"""Batches. Every random choice is a function of (seed, epoch, index).

So the order needs no state: a training that stopped after any step goes on with the batch that
would have come next, on any number of worker processes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from dpenet.errors import DataError
from dpenet.training.sources import Example, Source

Key = tuple[int, int]  # epoch (from 1), index within it
VALIDATION_EPOCH = 0


class Batches(Sampler[list[Key]]):
    """The keys of every batch of a whole training, of one process of several.

    A step takes ``batch * processes`` consecutive keys of its epoch's permutation, and each process
    its share of them: two processes see together what one with twice the batch sees alone. What
    is left of a permutation after the last full step is left out; the next epoch mixes anew.

    Args:
        scenes: How many scenes the source has.
        repeat: Crops that an epoch takes from each.
        batch: Keys per step and process.
        steps: Length of the training; None for the length of ``epochs``.
        epochs: Length of the training in epochs.
        seed: Of the permutations.
        rank: Which process this is, from 0.
        processes: How many there are.
        start: Steps already done; iteration goes on after them.

    Raises:
        DataError: If an epoch is shorter than a step.
    """

    def __init__(
        self,
        scenes: int,
        *,
        repeat: int,
        batch: int,
        seed: int,
        steps: int | None = None,
        epochs: int | None = None,
        rank: int = 0,
        processes: int = 1,
        start: int = 0,
    ) -> None:
        self._length = scenes * repeat
        self._batch, self._seed = batch, seed
        self._rank, self._processes = rank, processes
        self.start = start
        self.steps_per_epoch = self._length // (batch * processes)
        if self.steps_per_epoch == 0:
            raise DataError(
                f"an epoch has {self._length} crops (pictures times data.repeat), but a step takes "
                f"{batch * processes}: set data.repeat higher or data.batch lower"
            )
        self.steps = steps if steps is not None else (epochs or 0) * self.steps_per_epoch

    def __len__(self) -> int:
        """Steps of the whole training, those already done included."""
        return self.steps

    def __iter__(self) -> Iterator[list[Key]]:
        known, order = -1, np.empty(0, np.int64)
        for step in range(self.start, self.steps):
            epoch, position = divmod(step, self.steps_per_epoch)
            if epoch != known:
                known, order = epoch, self._permutation(epoch + 1)
            first = (position * self._processes + self._rank) * self._batch
            yield [(epoch + 1, int(i)) for i in order[first : first + self._batch]]

    def _permutation(self, epoch: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        # No crop has the index _length, so that no crop shares this generator's stream.
        return np.random.default_rng((self._seed, epoch, self._length)).permutation(self._length)


class TrainingSet(Dataset[tuple[Tensor, Tensor]]):
    """Random crops, by key: (rainy, clean), each (3, patch, patch), RGB in 0..1."""

    def __init__(self, source: Source, *, patch: int, flips: bool, seed: int) -> None:
        self._source, self._patch, self._flips, self._seed = source, patch, flips, seed

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        epoch, index = key
        rng = np.random.default_rng((self._seed, epoch, index))
        # Drawn first, so that it does not depend on how much the source draws.
        mirrored = self._flips and rng.random() < 0.5
        rainy, clean = self._source.cut(index % len(self._source), self._patch, rng)
        return _to_tensors((rainy[:, ::-1], clean[:, ::-1]) if mirrored else (rainy, clean))


class ValidationSet(Dataset[tuple[Tensor, Tensor]]):
    """Centre crops, the same at every validation: (rainy, clean), each (3, H, W).

    Of several processes, each sees every ``processes``-th picture: shards differ in length by 1.
    """

    def __init__(
        self, source: Source, *, crop: int, seed: int, rank: int = 0, processes: int = 1
    ) -> None:
        self._source, self._crop, self._seed = source, crop, seed
        self._indices = range(rank, len(source), processes)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        index = self._indices[position]
        rng = np.random.default_rng((self._seed, VALIDATION_EPOCH, index))
        return _to_tensors(self._source.centre(index, self._crop, rng))


def _to_tensors(example: Example) -> tuple[Tensor, Tensor]:
    rainy, clean = (
        torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1))) for picture in example
    )
    return rainy, clean
