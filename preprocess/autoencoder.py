"""Stage `autoencoder`: train a small AutoencoderKL on the training frames of a run.

    frames -> <output>/config.json, diffusion_pytorch_model.safetensors (half precision), training.json (written last)

For data that no pretrained autoencoder is at hand for, such as the made-up streets. The weights are those averaged
over the training; the scaling factor brings the latents of the training frames to unit standard deviation; the PSNR
is measured on the test split with the weights as stored.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preprocess.autoencoder_data import FRAME_STRIDE, latent_scales, load_frames, reconstruction_psnr_db, squares
from preprocess.source.index import Index
from preprocess.source.opening import open_index, write_report
from preprocess.source.report import require_clips
from vdt_hpc import dist, files
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.data_config import AutoencoderTrainingConfig, DataConfig
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.paths import RunPaths, checkout, paths_for
from vdt_hpc.experiment.stages import StageResult
from vdt_hpc.experiment.weights import AUTOENCODER_WEIGHTS
from vdt_hpc.progress import Progress
from vdt_hpc.stopping import StopFlag

if TYPE_CHECKING:
    from preprocess.autoencoder_fit import Fit

RECORD = "training.json"
MOST_SCALING_FRAMES = 2000


def run(config: RunConfig, partition: Partition) -> StageResult:
    """Train the autoencoder, or go on with a training that was stopped.

    Raises:
        UserError: no section `autoencoder_training`, no frames, or the output holds another autoencoder.
    """
    settings = config.autoencoder_training
    if settings is None:
        raise UserError(f"run {config.name} has no section autoencoder_training; there is nothing to train")
    output, recipe = checkout() / settings.output, _recipe(config, settings)
    outputs = {"autoencoder": str(output)}
    if _is_trained(output, recipe):
        psnr_db = files.read_json(output / RECORD)["held_out"]["psnr_db"]
        return StageResult(f"autoencoder: nothing to do, {psnr_db:.2f} dB on held-out frames", outputs=outputs)
    task = dist.current_task()
    if task.rank:
        return StageResult("autoencoder: rank 0 trains alone", outputs=outputs)
    paths = paths_for(config, partition)
    source = open_index(config, paths)
    require_clips(source, paths.frames, write_report(config, source, paths), config.data.skip_bad_clips)
    fit, stop = _train(config, settings, source, _state_path(paths, recipe), task)
    if fit.step < settings.num_steps + settings.finishing_steps:
        return StageResult(f"autoencoder: stopped by {stop.reason} at step {fit.step:,}", complete=False)
    psnr_db = _publish(fit, source, config.data, output, recipe)
    _state_path(paths, recipe).unlink(missing_ok=True)
    return StageResult(f"autoencoder: {psnr_db:.2f} dB on held-out frames, in {output}", outputs=outputs)


def _recipe(config: RunConfig, settings: AutoencoderTrainingConfig) -> files.Json:
    """Everything that decides the weights, as JSON."""
    from preprocess.street_scene import RENDERER

    streets = config.streets.model_dump() | {"renderer": RENDERER} if config.streets else None
    recipe = {
        "seed": config.seed,
        "dataset": config.data.dataset,
        "frame_height_px": config.data.frame_height_px,
        "frame_stride": FRAME_STRIDE,
        "streets": streets,
        "training": settings.model_dump(exclude={"output", "save_every_steps"}),
    }
    content: files.Json = json.loads(json.dumps(recipe))
    return content


def _is_trained(output: Path, recipe: files.Json) -> bool:
    if not (output / RECORD).exists():
        return False
    if files.read_json(output / RECORD)["recipe"] != recipe:
        raise UserError(
            f"{output} holds an autoencoder of another recipe; choose another autoencoder_training.output or remove it"
        )
    return True


def _state_path(paths: RunPaths, recipe: files.Json) -> Path:
    """Where an unfinished training is kept; its name tells the recipe, so that recipes never mix."""
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:12]
    return paths.run / f"autoencoder-{digest}.safetensors"


def _train(
    config: RunConfig, settings: AutoencoderTrainingConfig, source: Index, state_path: Path, task: dist.Task
) -> tuple[Fit, StopFlag]:
    """Take the steps that are left, saving now and then, until the end or a signal."""
    import torch
    from safetensors.torch import load_file, save_file

    from preprocess.autoencoder_fit import Fit

    torch.set_num_threads(dist.cpus_of_task(task))
    device = dist.device_of(task)
    fit = Fit(settings, config.data.frame_height_px, config.seed, device)
    if state_path.exists():
        fit.restore(load_file(state_path))
    frames = load_frames(source.split("train"), 2 * config.data.frame_height_px)
    stop, recent_db = StopFlag().install(), 0.0
    total_steps = settings.num_steps + settings.finishing_steps
    with Progress("train autoencoder", total_steps, "steps", done=fit.step) as progress:
        while fit.step < total_steps and not stop:
            psnr_db = fit.advance(frames)
            recent_db = psnr_db if recent_db == 0.0 else 0.98 * recent_db + 0.02 * psnr_db
            progress.advance(note=f"training PSNR {recent_db:.2f} dB")
            if fit.step % settings.save_every_steps == 0 or fit.step == total_steps or stop:
                with files.finish(state_path) as temporary:
                    save_file(fit.state(), temporary)
    return fit, stop


def _publish(fit: Fit, source: Index, data: DataConfig, output: Path, recipe: files.Json) -> float:
    """Measure and write the averaged weights; returns the held-out PSNR in dB."""
    import torch
    from safetensors.torch import save_file

    model = fit.averaged()
    stored = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    model.load_state_dict({name: value.float() for name, value in stored.items()})
    train = squares(source.split("train"), data, MOST_SCALING_FRAMES)
    held_out_clips = source.split("test")
    held_out = squares(held_out_clips, data, None)
    latent_std, noise_std = latent_scales(model, train)
    psnr_db = float(reconstruction_psnr_db(model, held_out).mean())
    model.register_to_config(scaling_factor=round(1.0 / latent_std, 5))
    model_config = {key: value for key, value in json.loads(model.to_json_string()).items() if key != "_name_or_path"}
    with files.finish(output / AUTOENCODER_WEIGHTS) as temporary:
        save_file(stored, temporary, metadata={"format": "pt"})
    files.write_json(output / "config.json", model_config)
    record: dict[str, Any] = {
        "recipe": recipe,
        "held_out": {"split": "test", "num_clips": len(held_out_clips), "num_frames": len(held_out),
                     "psnr_db": round(psnr_db, 3)},
        "latents": {"std": round(latent_std, 5), "posterior_std": round(noise_std, 5)},
        "num_parameters": sum(value.numel() for value in stored.values()),
        "torch": torch.__version__,
        "weights_sha256": files.sha256(output / AUTOENCODER_WEIGHTS),
    }  # fmt: skip
    files.write_json(output / RECORD, record)
    return psnr_db
