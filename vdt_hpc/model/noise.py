"""Random numbers that depend on their key alone: counter-based streams (Philox 4x64-10) on the CPU.

Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). No generator is carried along, so restarts,
ranks and batch sizes cannot change what is drawn, and every GPU gets the same numbers.
"""

import numpy as np

WORD = 2**64


def stream(seed: int, purpose: int, *place: int) -> np.random.Generator:
    """The stream of a place.

    Args:
        seed: seed of the run, or of the samples.
        purpose: what the numbers are for; streams of different purposes are independent.
        place: up to 3 whole numbers from 0, such as the position of an example.
    """
    assert len(place) <= 3 and 0 <= purpose < WORD and all(0 <= number < WORD for number in place)
    # The lowest word of the counter counts the draws; the place fills the others.
    counter = np.array([0, *place, *[0] * (3 - len(place))], np.uint64)
    return np.random.Generator(np.random.Philox(key=np.array([seed % WORD, purpose], np.uint64), counter=counter))
