"""Frechet distance between two sets of clips, from float64 sums of their features.

Legend: N clips, D features of a clip. The sums add up exactly the same in any order and over any split of the clips,
up to rounding.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

MIN_CLIPS = 2  # a covariance needs two

FloatArray = npt.NDArray[np.float64]


@dataclass
class FeatureSums:
    """Running sums of features; two of them can be added."""

    num_clips: int = 0
    total: FloatArray = field(default_factory=lambda: np.zeros(0))
    """Sum of x, (D,)."""
    outer: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))
    """Sum of x x^T, (D, D)."""

    def add(self, features: npt.ArrayLike) -> None:
        """Count clips: (D,) of one, or (N, D).

        Raises:
            ValueError: a feature is not finite, or D changed.
        """
        rows = np.atleast_2d(np.asarray(features, dtype=np.float64))
        if not np.isfinite(rows).all():
            raise ValueError("a clip's features are NaN or infinite")
        if not self.num_clips:
            self.total = np.zeros(rows.shape[1])
            self.outer = np.zeros((rows.shape[1], rows.shape[1]))
        if rows.shape[1] != len(self.total):
            raise ValueError(f"{rows.shape[1]} features after clips with {len(self.total)}")
        self.num_clips += len(rows)
        self.total += rows.sum(axis=0)
        self.outer += rows.T @ rows

    def __add__(self, other: "FeatureSums") -> "FeatureSums":
        if not self.num_clips or not other.num_clips:
            kept = self if self.num_clips else other
            return FeatureSums(kept.num_clips, kept.total.copy(), kept.outer.copy())
        return FeatureSums(self.num_clips + other.num_clips, self.total + other.total, self.outer + other.outer)

    def mean(self) -> FloatArray:
        """Mean of the features, (D,)."""
        return self.total / self.num_clips

    def covariance(self) -> FloatArray:
        """Sample covariance (divided by N - 1), (D, D); singular where N <= D.

        Raises:
            ValueError: fewer than two clips.
        """
        if self.num_clips < MIN_CLIPS:
            raise ValueError(f"a covariance needs {MIN_CLIPS} clips, got {self.num_clips}")
        mean = self.mean()
        return (self.outer - self.num_clips * np.outer(mean, mean)) / (self.num_clips - 1)


def frechet_distance(one: FeatureSums, other: FeatureSums) -> float:
    """Squared Frechet distance of the Gaussians with the two sets' moments (arXiv 1706.08500, eq. 6).

    |m1 - m2|^2 + tr C1 + tr C2 - 2 tr (C1 C2)^(1/2). The last trace is the sum of the singular values of
    C1^(1/2) C2^(1/2), whose roots come from symmetric eigenvalues: real, and exact for singular covariances, where
    a general matrix root fails.

    Raises:
        ValueError: fewer than two clips on a side, or different numbers of features.
    """
    if one.total.shape != other.total.shape:
        raise ValueError(f"sets with {len(one.total)} and {len(other.total)} features cannot be compared")
    first, second = one.covariance(), other.covariance()
    shared = np.linalg.svd(_root(first) @ _root(second), compute_uv=False).sum()
    shift = one.mean() - other.mean()
    distance = float(shift @ shift + np.trace(first) + np.trace(second) - 2 * shared)
    return max(distance, 0.0)  # rounding may fall below zero for identical sets


def _root(covariance: FloatArray) -> FloatArray:
    """A factor R with R^T R = R R^T = C; eigenvalues that are rounding noise count as zero."""
    values, vectors = np.linalg.eigh(covariance)
    noise = len(values) * np.finfo(np.float64).eps * max(float(values[-1]), 0.0)
    roots = np.sqrt(np.where(values > noise, values, 0.0))
    return (vectors * roots) @ vectors.T


def frechet(truth: FloatArray, others: FloatArray) -> float:
    """Squared Frechet distance of two sets of features, both (clips, ..., D)."""
    return frechet_distance(sums_of(truth), sums_of(others))


def sums_of(features: FloatArray) -> FeatureSums:
    """The sums of features (clips, ..., D)."""
    sums = FeatureSums()
    sums.add(features.reshape(-1, features.shape[-1]))
    return sums
