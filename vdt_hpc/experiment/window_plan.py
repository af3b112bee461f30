"""Which frames the windows of a long sample hold.

Legend: L frames of a sample, T frames of a window.
"""

from collections.abc import Sequence


def plan(num_frames: int, window_frames: int, overlap_frames: int, given: Sequence[int]) -> list[range]:
    """The frames of each window, in the order of generation.

    The first window holds the given frames (the first frames of the sample where none is given); then windows roll to
    the end, then to the beginning. Neighbours share `overlap_frames`; the last window of a direction is generated whole
    and cut, so that no window is given more than that, which is what the model was trained on. Its range therefore may
    reach beyond 0 or `num_frames`.

    Args:
        num_frames: L, at least T.
        window_frames: T.
        overlap_frames: frames that a window is given of its neighbour, from 1 to T - 1.
        given: indices of given frames; they fit into one window.
    """
    assert window_frames <= num_frames, (window_frames, num_frames)
    first = _first(num_frames, window_frames, given)
    if num_frames == window_frames:
        return [first]
    assert 0 < overlap_frames < window_frames, (overlap_frames, window_frames)
    stride = window_frames - overlap_frames
    windows = [first]
    while windows[-1].stop < num_frames:
        windows.append(range(windows[-1].start + stride, windows[-1].stop + stride))
    back = first
    while back.start > 0:
        back = range(back.start - stride, back.stop - stride)
        windows.append(back)
    return windows


def _first(num_frames: int, window_frames: int, given: Sequence[int]) -> range:
    """The window that holds the given frames, as near to their middle as the sample lets it."""
    if not given:
        return range(window_frames)
    low, high = min(given), max(given)
    assert high - low < window_frames, (low, high, window_frames)
    start = (low + high - window_frames + 1) // 2
    if low == 0:
        start = 0
    elif high == num_frames - 1:
        start = num_frames - window_frames
    start = min(max(start, 0), num_frames - window_frames)
    return range(start, start + window_frames)
