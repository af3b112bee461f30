"""How fast a run would train on a profile: measured, or scaled by the GPUs' peak, or assumed; and from what."""

import contextlib
from dataclasses import dataclass

from vdt_hpc.commands import history
from vdt_hpc.commands.history import History
from vdt_hpc.errors import UserError
from vdt_hpc.experiment import strict
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.paths import RunPaths
from vdt_hpc.experiment.size import training_flops

ASSUMED_SHARE_OF_PEAK = 0.3
"""Of the GPUs' dense bf16 peak, where neither this run nor one like it has measured it; the same for every profile, so
that it weighs GPUs rightly against each other and only roughly against hours of waiting."""
MOST_OTHER_RUNS = 20
"""Runs under the root that are looked at, those that were trained last."""


@dataclass(frozen=True)
class Speed:
    """Clips per second, and how well that is known."""

    clips_per_s: float
    how: str
    """`measured`, `measured by RUN`, `scaled from PROFILE`, or `assumed`, with what was assumed."""


class Speeds:
    """What is known of a run's speed; logs are read once, and those of other runs only if they are needed.

    Args:
        config, paths: the run.
        own: what its own log tells.
    """

    def __init__(self, config: RunConfig, paths: RunPaths, own: History) -> None:
        self._config, self._paths = config, paths
        self._known = {"": own}
        self._all_read = False

    def on(self, profile: Partition) -> Speed | None:
        """The speed on a profile; None where nothing was measured and its GPUs state no peak."""
        return self._measured(profile) or self._scaled(profile) or self._assumed(profile)

    def _measured(self, profile: Partition) -> Speed | None:
        if own := self._known[""].speed(profile.name, profile.world_size):
            return Speed(own, "measured")
        for run, told in self._histories().items():
            if other := told.speed(profile.name, profile.world_size):
                return Speed(other, f"measured by {run}")
        return None

    def _scaled(self, profile: Partition) -> Speed | None:
        """The share of the peak that was reached elsewhere, on this profile's GPUs."""
        for told in self._histories().values():
            if found := told.share_of_peak():
                name, share = found
                clips_per_s = self._at_share(profile, share)
                return Speed(clips_per_s, f"scaled from {name}") if clips_per_s else None
        return None

    def _assumed(self, profile: Partition) -> Speed | None:
        clips_per_s = self._at_share(profile, ASSUMED_SHARE_OF_PEAK)
        return Speed(clips_per_s, f"assumed, {ASSUMED_SHARE_OF_PEAK:.0%} of peak") if clips_per_s else None

    def _at_share(self, profile: Partition, share: float) -> float | None:
        if profile.peak_bf16_tflops is None:
            return None
        return share * profile.world_size * profile.peak_bf16_tflops * 1e12 / training_flops(self._config)

    def _histories(self) -> dict[str, History]:
        """Of this run (named ``), then of others with the same model, the latest first."""
        if not self._all_read:
            self._all_read = True
            for paths in _others(self._paths)[:MOST_OTHER_RUNS]:
                # Somebody else's run, perhaps damaged or closed to us, is no reason to stop this one.
                with contextlib.suppress(UserError, OSError):
                    if _cost(strict.load(RunConfig, paths.run_config)) == _cost(self._config):
                        self._known[paths.run.name] = history.read(paths.progress_log)
        return self._known


def _cost(config: RunConfig) -> tuple[object, ...]:
    """What decides the speed on given GPUs."""
    unnamed = config.model.model_copy(update={"preset": None})  # the same size is as fast without its name
    return unnamed, config.latent_height, config.autoencoder.latent_channels, config.train.precision


def _others(own: RunPaths) -> list[RunPaths]:
    """Other folders under the root that have a training log, those that were written last first."""
    try:
        folders = [folder for folder in own.root.iterdir() if folder != own.run]
    except OSError:
        return []
    found = []
    for folder in folders:
        paths = RunPaths(RunConfig.model_construct(name=folder.name), own.root)
        with contextlib.suppress(OSError):
            found.append((paths.progress_log.stat().st_mtime, folder.name, paths))
    return [paths for *_, paths in sorted(found, key=lambda each: each[:2], reverse=True)]
