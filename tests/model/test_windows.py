import pytest
import torch

from tests.model.gaussian import keys, model_of, settings
from vdt_hpc.experiment.window_plan import plan
from vdt_hpc.model import masks, windows

T = 6


@pytest.mark.parametrize(
    ("num_frames", "overlap", "given", "expected"),
    [
        (6, 2, [0, 1], [(0, 6)]),
        (14, 2, [0, 1], [(0, 6), (4, 10), (8, 14)]),
        (15, 2, [], [(0, 6), (4, 10), (8, 14), (12, 18)]),
        (14, 2, [12, 13], [(8, 14), (4, 10), (0, 6)]),
        (15, 1, [14], [(9, 15), (4, 10), (-1, 5)]),
        (15, 2, [7], [(4, 10), (8, 14), (12, 18), (0, 6)]),
        (13, 5, [12], [(7, 13), (6, 12), (5, 11), (4, 10), (3, 9), (2, 8), (1, 7), (0, 6)]),
    ],
)
def test_windows_roll_from_what_is_given_to_both_ends(num_frames, overlap, given, expected):
    planned = plan(num_frames, T, overlap, given)
    assert [(frames.start, frames.stop) for frames in planned] == expected


@pytest.mark.parametrize("num_frames", range(T + 1, 25))
@pytest.mark.parametrize("overlap", range(1, T))
def test_every_frame_is_made_once_and_every_window_is_given_its_overlap(num_frames, overlap):
    for given in ([], [0], [0, 1], [num_frames - 1], [num_frames // 2], [2], [num_frames - 3]):
        first, *others = plan(num_frames, T, overlap, given)
        assert set(given) <= set(first)
        known = {frame for frame in first if 0 <= frame < num_frames}
        for frames in others:
            assert len(frames) == T
            assert len(known & set(frames)) == overlap
            known |= {frame for frame in frames if 0 <= frame < num_frames}
        assert known == set(range(num_frames))


@pytest.mark.parametrize("given", [[0, 1], [12, 13], [7], []])
@pytest.mark.parametrize("sampler", ["ddpm", "heun"])
def test_a_window_is_given_what_its_neighbour_made_bit_for_bit(given, sampler):
    sample, process = settings(sampler, 5)
    exact, starts = model_of(process), []

    def spy(x, times, mask):
        if not starts or not torch.equal(starts[-1][1], mask) or times.item() >= 999:
            starts.append((x.clone(), mask.clone()))
        return exact(x, times, mask)

    mask = torch.ones(2, 14, 1, 1, 1)
    mask[:, given] = masks.GIVEN
    latents = torch.randn(2, 14, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    planned = plan(14, T, 2, given)
    made = windows.generate(spy, sample, process, latents, mask, keys(2), planned)
    assert torch.equal(made[:, given], latents[:, given])
    assert made.isfinite().all()
    assert len(starts) == len(planned)
    for frames, (x, shown) in list(zip(planned, starts, strict=True))[1:]:
        for place, frame in enumerate(frames):
            if not shown[:, place].any():
                assert torch.equal(x[:, place], made[:, frame])
        assert (shown == masks.GIVEN).flatten(1).sum(1).tolist() == [2, 2]


def test_further_windows_have_noise_of_their_own():
    sample, process = settings("euler", 4)
    latents, mask = torch.zeros(1, 10, 3, 4, 4), torch.ones(1, 10, 1, 1, 1)
    made = windows.generate(model_of(process), sample, process, latents, mask, keys(1), plan(10, T, 2, []))
    assert not torch.isclose(made[:, 6:10], made[:, 0:4]).any()
