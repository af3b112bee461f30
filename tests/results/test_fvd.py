"""The Frechet distance: closed forms, singular covariances, any order, any split."""

import numpy as np
import pytest

from results.frechet import FeatureSums, frechet_distance


def sums(*blocks):
    total = FeatureSums()
    for block in blocks:
        total.add(block)
    return total


def features(seed, num_clips=40, num_features=12, spread=3.0):
    generator = np.random.default_rng(seed)
    mixing = generator.standard_normal((num_features, num_features))
    return spread * generator.standard_normal((num_clips, num_features)) @ mixing + 5


@pytest.mark.parametrize("num_clips", [2, 5, 12, 300])
def test_identical_sets_are_0_apart(num_clips):
    rows = features(0, num_clips, 60)
    scale = np.trace(sums(rows).covariance())
    assert frechet_distance(sums(rows), sums(rows[::-1])) <= 1e-10 * scale


@pytest.mark.parametrize("num_clips", [3, 200])
def test_a_shift_of_the_mean_counts_squared(num_clips):
    rows, shift = features(0, num_clips), np.linspace(-2, 3, 12)
    assert frechet_distance(sums(rows), sums(rows + shift)) == pytest.approx(shift @ shift, rel=1e-9)


def test_the_closed_form_of_gaussians_with_common_axes():
    """|m1 - m2|^2 + sum (s1 - s2)^2, for covariances that commute; here one of them is singular."""
    one = np.array([[2.0, 0, 0], [-2, 0, 0], [0, 3, 0], [0, -3, 0]])
    other = np.array([[5.0, 0, 0], [-5, 0, 0], [0, 1, 0], [0, -1, 0]]) + np.array([0, 0, 4])
    roots = [np.sqrt(np.diag(sums(rows).covariance())) for rows in (one, other)]
    expected = 16 + np.sum((roots[0] - roots[1]) ** 2)
    assert frechet_distance(sums(one), sums(other)) == pytest.approx(expected, rel=1e-12)


def test_the_closed_form_in_general():
    """Against the eigenvalues of C1 C2, which are real and not negative."""
    one, other = sums(features(0, 300)), sums(features(1, 300))
    first, second = one.covariance(), other.covariance()
    shared = np.sqrt(np.linalg.eigvals(first @ second).real.clip(0)).sum()
    shift = one.mean() - other.mean()
    expected = shift @ shift + np.trace(first) + np.trace(second) - 2 * shared
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(other, one) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("num_clips", [7, 40])
def test_order_and_split_do_not_matter(num_clips):
    rows, other = features(0, num_clips, 100), sums(features(1, num_clips, 100))
    whole = frechet_distance(sums(rows), other)
    shuffled = np.random.default_rng(3).permutation(rows)
    ranks = sums(*shuffled[:3]) + sums(*shuffled[3:5]) + FeatureSums() + sums(shuffled[5:])
    assert frechet_distance(ranks, other) == pytest.approx(whole, rel=1e-9)
    assert np.allclose(sums(rows).covariance(), np.cov(rows, rowvar=False), rtol=1e-9, atol=1e-9)


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(ValueError, match="needs 2 clips, got 1"):
        frechet_distance(sums(features(0, 1)), sums(features(1)))
    with pytest.raises(ValueError, match="12 and 5 features"):
        frechet_distance(sums(features(0)), sums(features(0, 40, 5)))
    with pytest.raises(ValueError, match="NaN or infinite"):
        sums(np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="5 features after clips with 12"):
        sums(features(0), features(0, 3, 5))
