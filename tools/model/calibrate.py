# SPDX-License-Identifier: Apache-2.0
"""Choose how each tensor of the network is kept in 8 bits, from what real photographs make of it."""

from dataclasses import dataclass

import numpy as np

# A tensor's range is this quantile, over the photographs, of their lowest and highest values: one odd
# photograph must not coarsen the steps of all others. Anything from 0.75 to 1 gives the same accuracy.
QUANTILE = 0.97
STEPS = 255
FEATURES = "features"


@dataclass
class Storage:
    """How a tensor is kept in 8 bits: real = scale * (stored - zero_point)."""

    scale: float
    zero_point: int


PIXELS = Storage(1 / 128, 127)  # the network was trained on (pixel - 127) / 128


@dataclass
class Seen:
    low: float
    high: float
    mean: np.ndarray  # of each channel


def observe(network, outputs):
    """{tensor: Seen}, from the outputs of the fp32 graph that was built with watch."""
    seen = {}
    for conv in network.convs:
        lows, highs, means = (outputs[f"{conv.name}.{what}"] for what in ("low", "high", "mean"))
        low, high = np.quantile(lows, 1 - QUANTILE), np.quantile(highs, QUANTILE)
        seen[conv.name] = Seen(min(low, 0.0), max(high, 1e-6), means.mean(axis=0, dtype=np.float64))
    # The classifier's input, which is the mean over each channel of the last convolution's output.
    seen[FEATURES] = Seen(0.0, np.quantile(means.max(axis=1), QUANTILE), seen[conv.name].mean)
    return seen


def residual_chains(network):
    """{tensor: names of all that are added up with it}. They share a storage, so a sum needs no rescaling."""
    chains = {conv.name: [conv.name] for conv in network.convs}
    for conv in network.convs:
        if conv.adds:
            chains[conv.adds].append(conv.name)
            chains[conv.name] = chains[conv.adds]
    return chains


def choose_storages(network, seen):
    storages = {FEATURES: Storage(float(seen[FEATURES].high / STEPS), 0)}
    for name, chain in residual_chains(network).items():
        low, high = min(seen[other].low for other in chain), max(seen[other].high for other in chain)
        scale = (high - low) / STEPS
        storages[name] = Storage(float(scale), int(np.rint(-low / scale)))
    return storages
