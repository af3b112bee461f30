"""The clips of mcvd256, number by number."""

from fractions import Fraction
from itertools import pairwise

import pytest

from vdt_hpc.experiment import protocol
from vdt_hpc.experiment.protocol import Protocol
from vdt_hpc.experiment.sample_counts import SampleCounts

MCVD = [
    0, 6, 12, 18, 24, 30, 36, 42, 48, 54, 60, 66, 72, 78, 84, 90, 96, 102, 108, 114, 120, 126, 131, 137, 143,
    149, 155, 161, 167, 173, 179, 185, 191, 197, 203, 209, 215, 221, 227, 233, 239, 245, 251, 257, 263, 269,
    275, 281, 287, 293, 299, 305, 311, 317, 323, 329, 335, 341, 347, 353, 359, 365, 371, 377, 382, 388, 394,
    400, 406, 412, 418, 424, 430, 436, 442, 448, 454, 460, 466, 472, 478, 484, 490, 496, 502, 508, 514, 520,
    526, 532, 538, 544, 550, 556, 562, 568, 574, 580, 586, 592, 598, 604, 610, 616, 622, 628, 634, 639, 645,
    651, 657, 663, 669, 675, 681, 687, 693, 699, 705, 711, 717, 723, 729, 735, 741, 747, 753, 759, 765, 771,
    777, 783, 789, 795, 801, 807, 813, 819, 825, 831, 837, 843, 849, 855, 861, 867, 873, 879, 885, 890, 896,
    902, 908, 914, 920, 926, 932, 938, 944, 950, 956, 962, 968, 974, 980, 986, 992, 998, 1004, 1010, 1016, 1022,
    1028, 1034, 1040, 1046, 1052, 1058, 1064, 1070, 1076, 1082, 1088, 1094, 1100, 1106, 1112, 1118, 1124, 1130,
    1136, 1142, 1147, 1153, 1159, 1165, 1171, 1177, 1183, 1189, 1195, 1201, 1207, 1213, 1219, 1225, 1231, 1237,
    1243, 1249, 1255, 1261, 1267, 1273, 1279, 1285, 1291, 1297, 1303, 1309, 1315, 1321, 1327, 1333, 1339, 1345,
    1351, 1357, 1363, 1369, 1375, 1381, 1387, 1393, 1398, 1404, 1410, 1416, 1422, 1428, 1434, 1440, 1446, 1452,
    1458, 1464, 1470, 1476, 1482, 1488, 1494, 1500, 1506, 1512, 1518, 1524,
]  # fmt: skip
"""i / 255 * 1524 to the nearest whole number, i from 0 to 255, by whole numbers alone: (2 i 1524 + 255) // 510."""


SAMPLED = SampleCounts(num_clips=1525, num_trajectories=1, num_repeated_clips=1525)


def test_all_256_clips_are_mcvds():
    assert protocol.load("mcvd256").chosen(SAMPLED, 1525) == MCVD
    assert len(set(MCVD)) == 256


@pytest.mark.parametrize(("num_clips", "num_test_clips"), [(256, 1525), (256, 1524), (256, 256), (2, 4), (100, 1525)])
def test_the_rule_has_no_remainder(num_clips, num_test_clips):
    """Both ends are in, no step is more than a clip longer than another, and none depends on a batch."""
    spread = Protocol(name="ours", title="ours", clips="spread", num_clips=num_clips, metrics=("psnr",))
    chosen = spread.chosen(SAMPLED, num_test_clips)
    assert (len(chosen), chosen[0], chosen[-1]) == (num_clips, 0, num_test_clips - 1)
    for number, index in enumerate(chosen):
        exact = Fraction(number * (num_test_clips - 1), num_clips - 1)
        assert abs(index - exact) <= Fraction(1, 2)
    steps = {after - before for before, after in pairwise(chosen)}
    assert max(steps) - min(steps) <= 1 and min(steps) >= 1
