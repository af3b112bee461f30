"""Stage `streets`: made-up driving clips, written as PNG files in the layout of Cityscapes.

    <frames>/leftImg8bit_sequence/<split>/<city>/<city>_<sequence:06d>_<frame:06d>_leftImg8bit.png
    <frames>/streets.json            the settings, written first
    <frames>/streets-complete.json   written last: without it the clips are not all there

Clips belong to the job's tasks by number. A clip whose files are all there is not made again.
"""

from __future__ import annotations

from pathlib import Path

from preprocess.street_clips import SETTINGS, ClipOrder, make_clip
from preprocess.street_scene import RENDERER
from vdt_hpc import dist, files, unfinished
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import SPLITS, RunConfig
from vdt_hpc.experiment.data_config import StreetsConfig
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.paths import STREETS_COMPLETE, paths_for
from vdt_hpc.experiment.stages import StageResult
from vdt_hpc.pool import map_ahead, worker_processes
from vdt_hpc.progress import Progress
from vdt_hpc.stopping import StopFlag


def run(config: RunConfig, partition: Partition) -> StageResult:
    """Make this task's share of the clips that are not there yet.

    Raises:
        UserError: the run has no section `streets`, or the folder holds clips of other settings.
    """
    if config.streets is None:
        raise UserError(f"run {config.name} takes its frames from {config.data.root}; it has no section streets")
    folder = paths_for(config, partition).frames
    orders = _orders(config.streets, config.data.frames_per_clip, folder)
    settings = config.streets.model_dump() | {"frames_per_clip": config.data.frames_per_clip, "renderer": RENDERER}
    total = f"{len(orders):,} clips of {config.data.frames_per_clip} frames in {folder}"
    if _is_complete(folder, settings):
        return StageResult(f"streets: nothing to do, {total}", outputs={"frames": str(folder)})
    task = dist.current_task()
    mine = [orders[number] for number in task.share(len(orders))]
    missing = [order for order in mine if not order.is_done()]
    stop = StopFlag().install()
    with Progress("make street clips", len(mine), "clips", done=len(mine) - len(missing)) as progress:
        _make(missing, dist.cpus_of_task(task), progress, stop)
    if not all(order.is_done() for order in orders):
        reason = f"stopped by {stop.reason}" if stop else "other tasks are still at work"
        return StageResult(f"streets: {reason}", complete=not stop, outputs={"frames": str(folder)})
    for inside in folder.glob("*/**/"):
        unfinished.sweep(inside)
    files.write_json(folder / STREETS_COMPLETE, {"num_clips": len(orders), "settings": settings})
    return StageResult(f"streets: {total}", outputs={"frames": str(folder)})


def _orders(streets: StreetsConfig, num_frames: int, folder: Path) -> list[ClipOrder]:
    counts = {"train": streets.num_train_clips, "val": streets.num_val_clips, "test": streets.num_test_clips}
    return [
        ClipOrder(folder, streets.seed, split, index, num_frames, streets.frame_width_px, streets.frame_height_px)
        for split in SPLITS
        for index in range(counts[split])
    ]


def _is_complete(folder: Path, settings: files.Json) -> bool:
    """Whether the clips are all there; writes the settings into a new folder, refuses those of another."""
    path = folder / SETTINGS
    if not path.exists():
        files.write_json(path, settings)
    found = files.read_json(path)
    if found != settings:
        names = sorted(name for name in found.keys() | settings.keys() if found.get(name) != settings.get(name))
        raise UserError(f"{path} has other settings ({', '.join(names)}); remove the folder or choose another root")
    return (folder / STREETS_COMPLETE).exists()


def _make(orders: list[ClipOrder], num_workers: int, progress: Progress, stop: StopFlag) -> None:
    if not orders:
        return
    with worker_processes(min(num_workers, len(orders))) as pool:
        for _ in map_ahead(pool, make_clip, orders, ahead=2 * num_workers):
            progress.advance()
            if stop:
                return
