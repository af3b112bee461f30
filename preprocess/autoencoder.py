"""Stage `autoencoder`: train a small AutoencoderKL on the training frames of a run.

    frames -> <output>/config.json, diffusion_pytorch_model.safetensors (half precision), training.json (written last)

For data that no pretrained autoencoder is at hand for, such as the made-up streets. The weights are those averaged
over the training; the scaling factor brings the latents of the training frames to unit standard deviation; the PSNR
is measured on the test split with the weights as stored.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preprocess.autoencoder_data import latent_scales, load_frames, reconstruction_psnr_db, squares
from preprocess.autoencoder_recipe import recipe_of, refuse_another, state_path
from preprocess.source.index import Index
from preprocess.source.opening import open_index, source_fingerprint, write_report
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
from vdt_hpc.store.checkpoint_writing import write_tensors

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
    output, paths = checkout() / settings.output, paths_for(config, partition)
    outputs = {"autoencoder": str(output)}
    if (output / RECORD).exists():
        psnr_db = _psnr_of_trained(config, settings, output, paths)
        return StageResult(f"autoencoder: nothing to do, {psnr_db:.2f} dB on held-out frames", outputs=outputs)
    task = dist.current_task()
    if task.rank:
        return StageResult("autoencoder: rank 0 trains alone", outputs=outputs)
    source = open_index(config, paths)
    require_clips(source, paths.frames, write_report(config, source, paths), config.data.skip_bad_clips)
    recipe = recipe_of(config, settings, source.fingerprint)
    unfinished = state_path(paths, recipe)
    fit, stop = _train(config, settings, source, unfinished, task)
    if fit.step < settings.num_steps + settings.finishing_steps:
        return StageResult(f"autoencoder: stopped by {stop.reason} at step {fit.step:,}", complete=False)
    psnr_db = _publish(fit, source, config.data, output, recipe)
    unfinished.unlink(missing_ok=True)
    return StageResult(f"autoencoder: {psnr_db:.2f} dB on held-out frames, in {output}", outputs=outputs)


def _psnr_of_trained(config: RunConfig, settings: AutoencoderTrainingConfig, output: Path, paths: RunPaths) -> float:
    """Held-out PSNR in dB of the autoencoder that is there, which must be the run's."""
    record = files.read_json(output / RECORD)
    fingerprint = None if config.streets else source_fingerprint(config, paths)
    refuse_another(output, record["recipe"], recipe_of(config, settings, fingerprint), config)
    recipe = recipe_of(config, settings, record["recipe"].get("source_fingerprint"))
    state_path(paths, recipe).unlink(missing_ok=True)  # of a training that was killed right after its end
    psnr_db: float = record["held_out"]["psnr_db"]
    return psnr_db


def _train(
    config: RunConfig, settings: AutoencoderTrainingConfig, source: Index, unfinished: Path, task: dist.Task
) -> tuple[Fit, StopFlag]:
    """Take the steps that are left, saving now and then, until the end or a signal."""
    import torch
    from safetensors.torch import load_file

    from preprocess.autoencoder_fit import Fit

    torch.set_num_threads(dist.cpus_of_task(task))
    device = dist.device_of(task)
    fit = Fit(settings, config.data, config.seed, device)
    if unfinished.exists():
        fit.restore(load_file(unfinished))
    frames = load_frames(source.split("train"), config.data)
    stop, recent_db = StopFlag().install(), 0.0
    total_steps = settings.num_steps + settings.finishing_steps
    with Progress("train autoencoder", total_steps, "steps", done=fit.step) as progress:
        while fit.step < total_steps and not stop:
            psnr_db = fit.advance(frames)
            recent_db = psnr_db if recent_db == 0.0 else 0.98 * recent_db + 0.02 * psnr_db
            progress.advance(note=f"training PSNR {recent_db:.2f} dB")
            if fit.step % settings.save_every_steps == 0 or fit.step == total_steps or stop:
                with files.finish(unfinished) as temporary:
                    write_tensors(temporary, fit.state())
    return fit, stop


def _publish(fit: Fit, source: Index, data: DataConfig, output: Path, recipe: files.Json) -> float:
    """Measure and write the averaged weights; returns the held-out PSNR in dB."""
    import torch

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
        write_tensors(temporary, stored, {"format": "pt"})
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
