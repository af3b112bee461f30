"""The learning rate, as a function of clips seen."""

import math

from vdt_hpc.experiment.config import OptimConfig


def learning_rate(optim: OptimConfig, total_clips: int, clips_seen: int, scale: float = 1.0) -> float:
    """Learning rate of the update that ends at `clips_seen`.

    Args:
        optim: peak, warm-up and shape; linear from 0 over `warmup_clips`, then `schedule`.
        total_clips: where the cosine ends, at `final_lr_fraction` of the peak.
        clips_seen: clips after the update.
        scale: factor on the peak (`BatchPlan.lr_scale`).
    """
    peak = optim.lr * scale
    if clips_seen < optim.warmup_clips:
        return peak * clips_seen / optim.warmup_clips
    if optim.schedule == "constant":
        return peak
    progress = (clips_seen - optim.warmup_clips) / max(total_clips - optim.warmup_clips, 1)
    cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return peak * (optim.final_lr_fraction + (1 - optim.final_lr_fraction) * cosine)


def crosses(every: int, before: int, after: int) -> bool:
    """True if a multiple of `every` lies in (before, after]."""
    return before // every < after // every
