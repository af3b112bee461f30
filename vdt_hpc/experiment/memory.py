"""How much memory one step of training takes, by its micro-batch: eager, with the fused attention of GPUs.

Counted from what the blocks compute. The unit is the stream: one number for each of a micro-batch's tokens and each of
their D values. w is the size of a number of the stream (and of the weights), p that of a number that passes a matrix
product: 2 with bf16, else w. For its backward pass a block keeps, in streams:

    over time    x in w; normalised x, query, key, value, mixed, the same in order, projected: 7 p
    over space   x, normalised x: 2 w; modulated x, query, key, value, mixed, projected: 6 p
    MLP          x, normalised x: 2 w; modulated x, hidden before and after GELU (4 each), output: 10 p

and the final layer x and normalised x in w, and modulated x in p. With bf16 a copy of every weight is kept too. What
takes less than a hundredth of this is left out: latents, conditions, the loss. A compiled block keeps less.
"""

from bisect import bisect_right

from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition, plan_batch
from vdt_hpc.experiment.size import num_parameters, num_tokens

STATE_NUMBERS_PER_PARAMETER = 5
"""Weight, gradient, AdamW's two moments, average."""
FREE = 0.08
"""Share of a GPU's memory that is left to CUDA itself, to the collectives' buffers and to gaps between tensors."""
_STATISTIC_BYTES = 4
_MOST_CLIPS = 10**6


def step_bytes(config: RunConfig, num_clips: int, checkpointing: bool = False) -> float:
    """Largest memory of tensors during one step of training.

    Args:
        config: the run.
        num_clips: clips of a micro-batch.
        checkpointing: only the input of each block is kept, and the rest is computed again block by block.
    """
    w, p, stream = _working_bytes(config), _product_bytes(config), _stream(config, num_clips)
    kept, copies = kept_bytes(config, num_clips, checkpointing), _copies_bytes(config)
    if not checkpointing:  # two gradients of the stream when the final layer's backward pass is at work
        return state_bytes(config) + kept + 2 * w * stream
    # At the end of the forward pass all copies of weights are there, and the last block's MLP is at work. In the
    # backward pass the final layer is done and one block was computed again; its hidden values' gradients come on top.
    forward = copies + (8 * p - w) * stream
    backward = copies / config.model.depth + _block_bytes(config, num_clips) + (3 * p - 2 * w) * stream
    return state_bytes(config) + kept + max(forward, backward)


def kept_bytes(config: RunConfig, num_clips: int, checkpointing: bool = False) -> float:
    """What the forward pass of a micro-batch leaves for the backward pass; arguments as for `step_bytes`."""
    w, p, stream = _working_bytes(config), _product_bytes(config), _stream(config, num_clips)
    final = (2 * w + p) * stream
    if checkpointing:
        return config.model.depth * w * stream + final
    return _copies_bytes(config) + config.model.depth * _block_bytes(config, num_clips) + final


def state_bytes(config: RunConfig) -> int:
    """Memory of weights, gradients, optimizer and average, which is always taken."""
    return STATE_NUMBERS_PER_PARAMETER * _working_bytes(config) * num_parameters(config)


def largest_micro_batch(config: RunConfig, memory_gb: float, checkpointing: bool = False) -> int:
    """The most clips that a GPU of so many GB (10^9 bytes) holds at once with `FREE` of it left; 0 if not even one."""
    limit = (1 - FREE) * memory_gb * 1e9
    return bisect_right(range(1, _MOST_CLIPS), limit, key=lambda clips: step_bytes(config, clips, checkpointing))


def largest_step_bytes(config: RunConfig, partition: Partition) -> tuple[int, float]:
    """The clips of the largest micro-batch of any task of a partition, and what a step with it takes.

    Raises:
        UserError: the batch cannot be spread over the partition's tasks.
    """
    num_clips = max(max(sizes) for sizes in plan_batch(config.batch, partition).micro_batches)
    return num_clips, step_bytes(config, num_clips, partition.activation_checkpointing)


def _block_bytes(config: RunConfig, num_clips: int) -> float:
    """What a block keeps for its backward pass, but for copies of weights."""
    model, w, p, stream = config.model, _working_bytes(config), _product_bytes(config), _stream(config, num_clips)
    per_value = 5 * w + 23 * p
    if model.qk_norm:  # queries and keys before and after, twice; and over time the values, once more in order
        per_value += 5 * p
    sums = _STATISTIC_BYTES * 2 * model.num_heads  # of the attention's exponentials, over time and over space
    moments = 3 * 2 * max(w, _STATISTIC_BYTES)  # of each LayerNorm
    return stream * (per_value + (sums + moments) / model.width)


def _stream(config: RunConfig, num_clips: int) -> int:
    """Numbers in the stream of a micro-batch."""
    return num_clips * config.model.num_frames * num_tokens(config) * config.model.width


def _copies_bytes(config: RunConfig) -> int:
    """Weights in the type of products, where that is another than theirs."""
    p = _product_bytes(config)
    return p * num_parameters(config) if p < _working_bytes(config) else 0


def _working_bytes(config: RunConfig) -> int:
    return 8 if config.train.precision == "fp64" else 4


def _product_bytes(config: RunConfig) -> int:
    return 2 if config.train.precision == "bf16" else _working_bytes(config)
