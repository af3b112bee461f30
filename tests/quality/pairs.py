"""Pairs of clips that metrics are tried on: random ones, and those that metrics go wrong with."""

import numpy as np


def noise(seed, shape=(3, 24, 20, 3), low=0, high=256):
    return np.random.default_rng(seed).integers(low, high, shape, dtype=np.uint8)


def level(value, shape):
    return np.full(shape, value, np.uint8)


def one_pixel(shape):
    """Black, but for one colour of one pixel of one frame."""
    frames = level(0, shape)
    frames[1, shape[1] // 2, shape[2] // 2, 0] = 255
    return frames


def lines(shape, axis):
    """White lines of one pixel on black, one pixel apart."""
    frames = level(0, shape)
    frames.swapaxes(axis, 1)[:, ::2] = 255
    return frames


def pairs(shape=(3, 24, 20, 3)):
    """Name -> two clips of a shape (T, H, W, 3)."""
    soft = noise(0, shape, high=250)
    return {
        "random": (noise(0, shape), noise(1, shape)),
        "a little noise": (soft, soft + noise(2, shape, high=5)),
        "constant": (level(7, shape), level(8, shape)),
        "saturated": (level(0, shape), level(255, shape)),
        "one pixel": (level(0, shape), one_pixel(shape)),
        "one pixel of white": (level(255, shape), 255 - one_pixel(shape)),
        "lines and none": (lines(shape, 1), level(127, shape)),
        "lines across": (lines(shape, 1), lines(shape, 2)),
        "lines moved by one": (lines(shape, 1), 255 - lines(shape, 1)),
        "constant against noise": (level(128, shape), noise(3, shape)),
    }
