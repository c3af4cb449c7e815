"""Where a run computes: one device, the GPUs of this machine, or several machines.

With R replicas each takes an equal part of every kind in the batch. Losses are sums over a part
divided by counts over all of them, so that the replicas' sums are what one would have computed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from errors import ConfigError
from pipeline.schema import Kind
from stages.train.loader import Batch
from stages.train.settings import OptimisationSettings


def choose_strategy(
    settings: OptimisationSettings, *, devices: Sequence[str] = ()
) -> tf.distribute.Strategy:
    """The strategy that settings and environment ask for; must come before anything is computed.

    `TF_CONFIG` with more than one worker makes this process one of several, each started with the
    same command; `multi_gpu` uses all GPUs of the machine.

    Args:
        devices: use these devices of this machine instead.

    Raises:
        ConfigError: there are not several GPUs, or `TF_CONFIG` cannot be read.
    """
    if n_workers() > 1:
        return tf.distribute.MultiWorkerMirroredStrategy()
    if devices:
        return tf.distribute.MirroredStrategy(list(devices))
    if not settings.multi_gpu:
        return tf.distribute.get_strategy()
    gpus = tf.config.list_logical_devices("GPU")
    if len(gpus) < 2:
        raise ConfigError(
            f"multi_gpu needs several GPUs; TensorFlow sees {len(gpus)}",
            where="params.yaml: train.optimisation.multi_gpu",
            cause="there are no more in this machine, or their driver is not found",
            next_command="nvidia-smi, or set multi_gpu to false",
        )
    return tf.distribute.MirroredStrategy()


def n_workers() -> int:
    """Processes that train together, by `TF_CONFIG`.

    Raises:
        ConfigError: it is not what TensorFlow expects.
    """
    return sum(len(addresses) for addresses in _cluster()[0].values()) or 1


def is_chief() -> bool:
    """Whether this process writes the checkpoints, the curve and the model."""
    cluster, task = _cluster()
    if not cluster:
        return True
    first = "chief" if "chief" in cluster else "worker"
    return task.get("type") == first and task.get("index") == 0


def _cluster() -> tuple[dict[str, list[str]], dict[str, Any]]:
    """Addresses of those that compute, by role; and which of them this process is."""
    text = os.environ.get("TF_CONFIG", "")
    if not text:
        return {}, {}
    try:
        config = json.loads(text)
        cluster, task = config.get("cluster", {}), config.get("task", {})
        return {r: list(cluster[r]) for r in ("chief", "worker") if r in cluster}, dict(task)
    except (ValueError, AttributeError, TypeError) as error:
        raise ConfigError(
            "the environment variable TF_CONFIG cannot be read", where=text, cause=str(error)
        ) from error


@dataclass(frozen=True, slots=True)
class Division:
    """How a batch is cut into equal parts, of every kind the same number in each.

    Attributes:
        whole: each kind's part of the whole batch.
        n_parts: micro-batches times replicas.
    """

    whole: Mapping[Kind, slice]
    n_parts: int

    @property
    def kinds(self) -> Mapping[Kind, slice]:
        """Each kind's place within a part.

        Raises:
            ConfigError: a kind's examples cannot be shared out evenly.
        """
        start, places = 0, {}
        for kind, part in self.whole.items():
            count, rest = divmod(part.stop - part.start, self.n_parts)
            if rest:
                raise ConfigError(
                    f"{part.stop - part.start} examples of kind {kind.value} in a batch cannot be "
                    f"cut into {self.n_parts} equal parts",
                    where="params.yaml: train.batch",
                    cause="a part for each device times grad_accum_steps",
                    next_command="choose batch sizes that can be divided by that",
                )
            places[kind] = slice(start, start + count)
            start += count
        return places

    def rows(self, part: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Which rows of the batch belong to a part: int64 (n,)."""
        return np.concatenate(
            [
                np.arange(whole.start, whole.stop).reshape(self.n_parts, -1)[part]
                for whole in self.whole.values()
            ]
        )


def distribute(
    strategy: tf.distribute.Strategy,
    batch: Batch,
    *,
    division: Division,
    names: Sequence[str],
    micro: int,
) -> dict[str, Any]:
    """A micro-batch on the devices, with each example's place in the whole batch as `slot`."""

    def of_replica(replica: int) -> dict[str, Any]:
        if division.n_parts == 1:
            arrays = {name: batch[name] for name in names}
            return {**arrays, "slot": np.arange(len(batch["image"]))}
        rows = division.rows(micro * strategy.num_replicas_in_sync + replica)
        return {**{name: batch[name][rows] for name in names}, "slot": rows}

    if strategy.num_replicas_in_sync == 1:
        return {name: tf.convert_to_tensor(value) for name, value in of_replica(0).items()}
    parts: dict[int, dict[str, Any]] = {}

    def value_of(name: str, context: Any) -> tf.Tensor:
        replica = context.replica_id_in_sync_group
        if replica not in parts:
            parts[replica] = of_replica(replica)
        return tf.convert_to_tensor(parts[replica][name])

    return {
        name: strategy.experimental_distribute_values_from_function(
            lambda context, name=name: value_of(name, context)
        )
        for name in (*names, "slot")
    }
