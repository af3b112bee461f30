"""The README.md of exported weights: what they are, how to sample from them, and what is not known about them."""

from pathlib import Path

from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.signature import signature
from vdt_hpc.experiment.size import num_parameters
from vdt_hpc.store.checkpoint import Provenance
from vdt_hpc.store.manifest import Manifest

DIFFUSION_SCHEDULER = "DDPMScheduler"
FLOW_SCHEDULER = "FlowMatchEulerDiscreteScheduler"

_CARD = """\
# {name}

A video diffusion transformer (VDT, arXiv 2305.13311) of {parameters:,} parameters: the averaged weights of the run
`{name}` after {clips_seen:,} of {total_clips:,} clips.

| | |
|---|---|
| data set | {dataset} |
| frames | {num_frames} at once, {side} x {side} latent cells of {channels} channels |
| latents | {autoencoder} (SHA-256 {autoencoder_sha256}), times {scaling_factor:g} |
| the model says | {prediction}, variance {variance} |
| tasks | {tasks} |
| began with | {began} |
| run's signature | {signature} |
| latents' fingerprint | {fingerprint} |
| code | {code_commit} |

## Sampling

`mask` is 1 where a frame is generated and 0 where it is given; given frames go in before every call of the model.

```python
import torch
from diffusers import {scheduler}
from vdt_hpc.model.exported import VdtModel

model = VdtModel.from_pretrained(FOLDER).eval()
scheduler = {scheduler}.from_pretrained(FOLDER, subfolder="scheduler")
scheduler.set_timesteps({num_steps})
shape = (1, {num_frames}, {channels}, {side}, {side})  # clips, frames, channels, height, width
given = torch.zeros(shape)  # put the latents of the given frames here, times {scaling_factor:g}
mask = torch.ones(1, {num_frames}, 1, 1, 1)
mask[:, :{given_frames}] = 0
state = torch.randn(shape)
with torch.no_grad():
    for time in scheduler.timesteps:
        output = model(given * (1 - mask) + state * mask, time[None], mask)
        # schedulers look for channels, and for a variance among them, in dimension 1
        state = scheduler.step(output.transpose(1, 2), time, state.transpose(1, 2)).prev_sample.transpose(1, 2)
latents = (given * (1 - mask) + state * mask) / {scaling_factor:g}  # for the autoencoder's decoder, frame by frame
```

## Licence

None is stated here: it is for whoever publishes these weights to choose, within what the data set's terms{terms} allow.
"""


def text(config: RunConfig, provenance: Provenance, manifest: Manifest) -> str:
    """The card of a run's exported weights; it names no folder of the machine that wrote it."""
    diffusion, began = config.diffusion, config.init.from_
    return _CARD.format(
        name=config.name,
        parameters=num_parameters(config),
        clips_seen=provenance.clips_seen,
        total_clips=config.train.total_clips,
        dataset=config.data.dataset,
        num_frames=config.model.num_frames,
        side=config.latent_height,
        channels=config.autoencoder.latent_channels,
        autoencoder=Path(config.autoencoder.source).name,
        autoencoder_sha256=manifest.autoencoder["sha256"],
        scaling_factor=manifest.scaling_factor,
        prediction=diffusion.prediction,
        variance="learned" if diffusion.learns_variance else "not learned",
        tasks=", ".join(f"{task} {weight:.3g}" for task, weight in config.tasks.weights().items()),
        began=f"the weights {Path(began).name}" if began else f"random weights of seed {config.seed}",
        signature=signature(config),
        fingerprint=provenance.latents_fingerprint,
        code_commit=provenance.code_commit,
        scheduler=FLOW_SCHEDULER if diffusion.prediction == "flow" else DIFFUSION_SCHEDULER,
        num_steps=50 if diffusion.prediction == "flow" else 250,
        given_frames=config.sample.given_frames,
        terms=" and the licence of the weights that it began with" if began else "",
    )
