"""Interval bounds: what a network can give where its input lies in a box (Gowal et al. 2018).

A box is two tensors, the least and the greatest value of each number. Layer by layer, an affine map
takes the centre of a box along and, by the absolute values of its weights, the radius; what is
monotone takes both ends. Differentiable, so that networks can be trained on their bounds.

Sound bounds hold for the network as it is computed, in float32 and with sums in any order: radii
grow by what rounding can do, γ_n = n u / (1 - n u) of a sum of n terms' absolute values with
u = 2⁻²⁴ (Higham 2002, §3.1), for our arithmetic and for the network's.
"""

from tf_madry.models.intervals.boxes import Box, around
from tf_madry.models.intervals.network import hidden, margins

__all__ = ["Box", "around", "hidden", "margins"]
