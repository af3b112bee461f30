"""The index of a Cityscapes tree: every fault by name. Frames: centre square, Lanczos, uint8."""

import numpy as np
import pytest
from conftest_preprocess import write_sequence
from PIL import Image

from preprocess.frames import centre_square
from preprocess.sources import open_source, source_fingerprint
from vdt_hpc.errors import UserError
