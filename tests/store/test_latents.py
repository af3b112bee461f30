"""What shards keep beside the latents comes back clip by clip."""

import numpy as np
import pytest

from vdt_hpc.store import latents
from vdt_hpc.store.latents import LatentSplit, ShardContent

NUM_FRAMES = 3


def shard(folder, index, num_clips, **more):
    path = folder / latents.shard_name("test", index)
    moment = np.zeros((num_clips, 1, NUM_FRAMES, 4, 2, 2), np.float16)
    ids = tuple(f"{index}-{clip}" for clip in range(num_clips))
    latents.write_shard(path, ShardContent(ids, moment, moment, **more))
    return latents.describe_shard(path, "test")


def test_the_ceiling_of_a_clip(tmp_path):
    generator = np.random.default_rng(0)
    values = [
        {name: generator.random((num_clips, NUM_FRAMES)).astype(np.float32) for name in names}
        for num_clips, names in ((2, ("psnr_db", "ssim", "lpips")), (1, ("psnr_db", "ssim")))
    ]
    values[0]["psnr_db"][1, 2] = np.inf
    shards = [shard(tmp_path, index, len(one["ssim"]), ceiling=one) for index, one in enumerate(values)]
    split = LatentSplit(tmp_path, "test", shards)
    for index, (one, row) in enumerate([(values[0], 0), (values[0], 1), (values[1], 0)]):
        found = split.ceiling(index)
        assert set(found) == set(one)
        for name, array in found.items():
            assert array.dtype == np.float32 and np.array_equal(array, one[name][row])


def test_shards_of_earlier_versions_have_none(tmp_path):
    split = LatentSplit(tmp_path, "test", [shard(tmp_path, 0, 1)])
    assert split.ceiling(0) == {}
    with pytest.raises(IndexError):
        split.ceiling(1)
