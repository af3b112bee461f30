"""Fitting a small AutoencoderKL to frames in memory: batches, objective, loop, measurement.

Everything random is a function of (seed, step), so a training that was stopped goes on as if it had not been.

Legend: N frames in memory, B frames in a batch, H x W pixels of a stored frame, h x w pixels of it as it is encoded.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from preprocess.geometry import prepare
from vdt_hpc.experiment.data_config import AutoencoderTrainingConfig, DataConfig

if TYPE_CHECKING:
    import torch
    from diffusers import AutoencoderKL

WARMUP_STEPS = 200
FINISHING_LR_FRACTION = 0.4
"""Peak of the finishing steps' rate, as a fraction of the first peak."""
EMA_DECAY = 0.999
GRAD_CLIP_NORM = 1.0
MUON_MOMENTUM = 0.95
MUON_LR_FACTOR = 10.0
"""Muon's rate over AdamW's: its updates have unit spectral norm whatever the gradient."""
LATENT_CHANNELS = 4
NORM_GROUPS = 8
_FLOOR = 1e-5
"""Added to squared errors (of values in [-1, 1]) so that a perfect frame has a finite logarithm."""

ByteArray = npt.NDArray[np.uint8]
Tensors = dict[str, "torch.Tensor"]


def build(settings: AutoencoderTrainingConfig, frame_height_px: int, seed: int) -> AutoencoderKL:
    """A fresh autoencoder with weights drawn from ``seed``. No attention: it serves any frame size alike."""
    import torch
    from diffusers import AutoencoderKL

    torch.manual_seed(seed)
    levels = len(settings.block_channels)
    return AutoencoderKL(
        block_out_channels=settings.block_channels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=NORM_GROUPS,
        mid_block_add_attention=False,
        sample_size=frame_height_px,
        scaling_factor=1.0,
        force_upcast=False,
    )


def augment(frame: ByteArray, rng: np.random.Generator, data: DataConfig) -> ByteArray:
    """A training frame (h, w, 3) from a frame (H, W, 3).

    Half of them show what is encoded of a frame; the others show a part of that size or less, anywhere. Flips and
    colours vary, so that the autoencoder also serves streets, lights and cameras that it has not seen.
    """
    height_px, width_px = frame.shape[:2]
    square_px = min(height_px, width_px)
    largest_px = (square_px, square_px) if data.crop == "centre-square" else (height_px, width_px)
    if rng.random() < 0.5:
        crop_height_px, crop_width_px = map(float, largest_px)
        left, top = (width_px - crop_width_px) / 2, (height_px - crop_height_px) / 2
    else:
        share = rng.uniform(0.5, 1.0)
        crop_height_px, crop_width_px = (side_px * share for side_px in largest_px)
        left, top = rng.uniform(0, width_px - crop_width_px), rng.uniform(0, height_px - crop_height_px)
    box, size = (left, top, left + crop_width_px, top + crop_height_px), (data.width_px, data.frame_height_px)
    pixels = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS, box=box))
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    if rng.random() < 0.6:
        gains = rng.uniform(0.75, 1.25) * rng.uniform(0.9, 1.1, 3)
        pixels = np.clip(pixels * gains + rng.uniform(-20.0, 20.0), 0, 255).astype(np.uint8)
    if rng.random() < 0.1:
        pixels = pixels[..., rng.permutation(3)]
    return np.ascontiguousarray(pixels)


def as_encoded(frame: ByteArray, rng: np.random.Generator, data: DataConfig) -> ByteArray:
    """A frame (H, W, 3) prepared as it is encoded, (h, w, 3), as filmed or mirrored."""
    prepared = prepare(frame, data)
    return np.ascontiguousarray(prepared[:, ::-1]) if rng.random() < 0.5 else prepared


def draw_batch(
    frames: ByteArray, settings: AutoencoderTrainingConfig, data: DataConfig, seed: int, step: int
) -> ByteArray:
    """The batch (B, h, w, 3) of one step, from frames (N, H, W, 3): augmented, but not in the finishing steps."""
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, step])))
    chosen = rng.integers(len(frames), size=settings.batch_frames)
    make = augment if step < settings.num_steps else as_encoded
    return np.stack([make(frames[index], rng, data) for index in chosen])


def learning_rate(settings: AutoencoderTrainingConfig, step: int) -> float:
    """Linear warm-up, then half a cosine down to zero; once more, from a lower peak, in the finishing steps."""
    if step >= settings.num_steps:
        progress, peak = (step - settings.num_steps) / settings.finishing_steps, FINISHING_LR_FRACTION
    else:
        progress, peak = step / settings.num_steps, min(1.0, (step + 1) / WARMUP_STEPS)
    return settings.lr * peak * 0.5 * (1.0 + math.cos(math.pi * progress))


def objective(
    model: AutoencoderKL, images: torch.Tensor, kl_weight: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss, and mean PSNR in dB of the training reconstructions, for images (B, 3, h, w) in [-1, 1].

    Loss: mean over frames of log(mean squared error) + ``kl_weight`` per nat of KL(posterior || standard normal), the
    KL summed over a frame's latent. At the optimum the noise of the posterior makes about ``kl_weight`` x (latent
    numbers) / 2 of the squared error.
    """
    import torch

    with torch.autocast(images.device.type, torch.bfloat16):
        posterior = model.encode(images).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator).to(images.device)
        restored = model.decode(posterior.mean + posterior.std * noise).sample
    squared = (restored.float() - images).square().flatten(1).mean(1)
    mean, log_variance = posterior.mean.float(), posterior.logvar.float()
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).flatten(1).sum(1)
    logarithm = torch.log(squared + _FLOOR)
    psnr_db = 10.0 * (math.log10(4.0) - logarithm.detach() / math.log(10.0))
    return (logarithm + kl_weight * divergence).mean(), psnr_db.mean()


class Muon:
    """Momentum, orthogonalised, for convolution kernels: about half the steps of AdamW on this task.

    Each kernel's update, as a matrix (out, in x height x width), is brought near to the closest orthogonal matrix by
    five Newton-Schulz steps (K. Jordan, https://kellerjordan.github.io/posts/muon/).
    """

    COEFFICIENTS = (3.4445, -4.7750, 2.0315)

    def __init__(self, momenta: Tensors, momentum: float) -> None:
        """``momenta``: state, one tensor per kernel, changed in place."""
        self.momenta, self.momentum = momenta, momentum

    def step(self, kernels: Tensors, lr: float) -> None:
        """Update the kernels in place from their gradients."""
        import torch

        with torch.no_grad():
            for name, kernel in kernels.items():
                assert kernel.grad is not None
                held = self.momenta[name].mul_(self.momentum).add_(kernel.grad)
                update = self._orthogonal(kernel.grad.add(held, alpha=self.momentum).flatten(1))
                scale = max(1.0, update.shape[0] / update.shape[1]) ** 0.5
                kernel.add_(update.reshape(kernel.shape), alpha=-lr * scale)

    def _orthogonal(self, matrix: torch.Tensor) -> torch.Tensor:
        a, b, c = self.COEFFICIENTS
        tall = matrix.shape[0] > matrix.shape[1]
        update = matrix.T if tall else matrix
        update = update / (update.norm() + 1e-7)
        for _ in range(5):
            gram = update @ update.T
            update = a * update + (b * gram + c * gram @ gram) @ update
        return update.T if tall else update


class Fit:
    """The state of a training: weights, their moving average, the optimizers' moments, the number of steps taken."""

    def __init__(self, settings: AutoencoderTrainingConfig, data: DataConfig, seed: int, device: torch.device) -> None:
        import torch

        self.settings, self.data, self.seed, self.device = settings, data, seed, device
        self.model = build(settings, data.frame_height_px, seed).to(device)
        weights = dict(self.model.named_parameters())
        self.average: Tensors = {name: value.detach().clone() for name, value in weights.items()}
        self.kernels = {name: value for name, value in weights.items() if value.ndim == 4 and min(value.shape[:2]) > 8}
        self.muon = Muon({name: torch.zeros_like(value) for name, value in self.kernels.items()}, MUON_MOMENTUM)
        others = [value for name, value in weights.items() if name not in self.kernels]
        self.adam = torch.optim.AdamW(others, lr=settings.lr, weight_decay=0.0)
        self.step = 0

    def advance(self, frames: ByteArray) -> float:
        """One update; returns the PSNR in dB of the batch's reconstructions."""
        import torch

        from vdt_hpc.model.autoencoder import to_signed

        batch = draw_batch(frames, self.settings, self.data, self.seed, self.step)
        images = to_signed(batch).to(self.device)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.step)
        loss, psnr_db = objective(self.model, images, self.settings.kl_weight, generator)
        self.model.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), GRAD_CLIP_NORM)
        lr = learning_rate(self.settings, self.step)
        for group in self.adam.param_groups:
            group["lr"] = lr
        self.adam.step()
        self.muon.step(self.kernels, lr * MUON_LR_FACTOR)
        self.step += 1
        # A young average would remember the random start: it looks back over a tenth of the steps at most.
        decay = min(EMA_DECAY, (1.0 + self.step) / (10.0 + self.step))
        with torch.no_grad():
            for name, value in self.model.named_parameters():
                self.average[name].lerp_(value.detach(), 1.0 - decay)
        return float(psnr_db)

    def averaged(self) -> AutoencoderKL:
        """A copy of the model that carries the averaged weights, on the CPU, in evaluation mode."""
        model = build(self.settings, self.data.frame_height_px, self.seed)
        model.load_state_dict({name: value.cpu() for name, value in self.average.items()})
        return model.eval()

    def state(self) -> Tensors:
        """Everything that ``restore`` needs, as flat tensors; the step is among them."""
        import torch

        state = {f"model.{name}": value.detach() for name, value in self.model.named_parameters()}
        state |= {f"average.{name}": value for name, value in self.average.items()}
        state |= {f"muon.{name}": value for name, value in self.muon.momenta.items()}
        for index, moments in self.adam.state_dict()["state"].items():
            state |= {f"adam.{index}.{key}": torch.as_tensor(value) for key, value in moments.items()}
        return {name: value.contiguous() for name, value in state.items()} | {"step": torch.tensor(self.step)}

    def restore(self, state: Tensors) -> None:
        """Go on where ``state`` was taken.

        Raises:
            KeyError, RuntimeError: the state belongs to another architecture.
        """
        self.step = int(state["step"])
        own = dict(self.model.named_parameters()), self.average, self.muon.momenta
        import torch

        with torch.no_grad():
            for prefix, tensors in zip(("model", "average", "muon"), own, strict=True):
                for name, tensor in tensors.items():
                    tensor.copy_(state[f"{prefix}.{name}"])
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in state.items():
            if name.startswith("adam."):
                _, index, key = name.split(".")
                moments.setdefault(int(index), {})[key] = value
        self.adam.load_state_dict({"state": moments, "param_groups": self.adam.state_dict()["param_groups"]})
