"""The Frechet distance: closed forms, singular covariances, any order, any split."""

import numpy as np
import pytest
import scipy.linalg

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


@pytest.mark.parametrize(("num_clips", "num_features"), [(40, 100), (300, 12)])
def test_no_order_and_no_split_over_ranks_changes_the_number(num_clips, num_features):
    rows, other = features(0, num_clips, num_features), sums(features(1, num_clips, num_features))
    whole = frechet_distance(sums(rows), other)
    draw = np.random.default_rng(3)
    for num_ranks in (1, 2, 3, 5, 16, num_clips):
        for _ in range(3):
            shares = np.array_split(draw.permutation(rows), np.sort(draw.integers(0, num_clips + 1, num_ranks - 1)))
            ranks = [sums(*share) for share in shares]  # clip by clip; some ranks have none
            total = sum((ranks[rank] for rank in draw.permutation(num_ranks)), FeatureSums())
            assert total.num_clips == num_clips
            assert frechet_distance(total, other) == pytest.approx(whole, rel=1e-8, abs=1e-8)


@pytest.mark.parametrize(("num_clips", "num_features"), [(2, 400), (16, 400), (64, 400), (256, 400), (50, 20)])
def test_fewer_clips_than_features_against_singular_values_of_the_clips(num_clips, num_features):
    """tr (C1 C2)^(1/2) is the sum of the singular values of A B^T, A and B being the centred clips (N, D) over
    sqrt(N - 1): no covariance is made for it, and none has to be inverted or to have a root."""
    draw = np.random.default_rng(num_clips)
    one, other = draw.standard_normal((2, num_clips, num_features)) * np.linspace(0.1, 4, num_features)
    other += 0.3
    factors = [(rows - rows.mean(axis=0)) / np.sqrt(num_clips - 1) for rows in (one, other)]
    shared = np.linalg.svd(factors[0] @ factors[1].T, compute_uv=False).sum()
    shift = one.mean(axis=0) - other.mean(axis=0)
    expected = shift @ shift + sum(np.sum(factor**2) for factor in factors) - 2 * shared
    assert frechet_distance(sums(one), sums(other)) == pytest.approx(expected, rel=1e-8)


def test_clips_that_are_all_the_same_have_no_spread():
    rows = np.full((8, 400), 3.7)
    assert frechet_distance(sums(rows), sums(rows + 0.5)) == pytest.approx(400 * 0.25, rel=1e-9)


def test_no_root_and_no_eigenvalue_of_a_general_matrix_is_taken(monkeypatch):
    def refuse(*_, **__):
        pytest.fail("a root that fails for singular covariances")

    for module, name in ((scipy.linalg, "sqrtm"), (scipy.linalg, "eig"), (np.linalg, "eig"), (np.linalg, "eigvals")):
        monkeypatch.setattr(module, name, refuse)
    assert frechet_distance(sums(features(0, 5)), sums(features(1, 5))) > 0


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(ValueError, match="needs 2 clips, got 1"):
        frechet_distance(sums(features(0, 1)), sums(features(1)))
    with pytest.raises(ValueError, match="12 and 5 features"):
        frechet_distance(sums(features(0)), sums(features(0, 40, 5)))
    with pytest.raises(ValueError, match="NaN or infinite"):
        sums(np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="5 features after clips with 12"):
        sums(features(0), features(0, 3, 5))
