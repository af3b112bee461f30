"""State dicts as VDT and DiT publish them, with random values."""

import torch

from vdt_hpc.model import vdt

WIDTH, DEPTH = 16, 2


def model(num_frames=5, latent_size=8, channels=3, depth=DEPTH, width=WIDTH, seed=0, **options):
    """A small model, every weight of which is random."""
    made = vdt.VDT(
        latent_size=latent_size, num_frames=num_frames, channels=channels, width=width, depth=depth, num_heads=2,
        patch_size=2, **options,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    made.initialise(generator)
    with torch.no_grad():
        for weight in made.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=generator)
    return made


def names_of_vdt(depth):
    """Every name of the official VDT, from its description."""
    parts = ["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2", "adaLN_modulation.1", "temporal_norm1"]
    parts += ["temporal_attn.qkv", "temporal_attn.proj", "temporal_fc"]
    layers = [f"blocks.{block}.{part}" for block in range(depth) for part in parts]
    layers += ["x_embedder.proj", "t_embedder.mlp.0", "t_embedder.mlp.2"]
    layers += ["final_layer.linear", "final_layer.adaLN_modulation.1"]
    named = [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]
    return [*named, "pos_embed", "time_embed", "y_embedder.embedding_table.weight"]


def shape_of_vdt(name, width, num_tokens, num_frames, cells=16):
    """Shape of an official tensor; `cells`: latent values of a token."""
    D = width
    fixed = {
        "pos_embed": (1, num_tokens, D), "time_embed": (1, num_frames, D), "y_embedder.embedding_table.weight": (2, D),
        "x_embedder.proj.weight": (D, cells // 4, 2, 2), "t_embedder.mlp.0.weight": (D, 256),
    }  # fmt: skip
    if name in fixed:
        return fixed[name]
    rows = {"qkv": 3 * D, "fc1": 4 * D, "linear": 2 * cells}
    layer, _, kind = name.rpartition(".")
    last = layer.split(".")[-1]
    height = 2 * D if layer == "final_layer.adaLN_modulation.1" else 6 * D if "adaLN" in layer else rows.get(last, D)
    if kind == "bias" or last == "temporal_norm1":
        return (height,)
    return (height, 4 * D if last == "fc2" else D)


def dit_names_and_shapes(depth, width, num_tokens, num_rows):
    """Name -> shape of every tensor of an official DiT with a table of classes."""
    names = [name for name in names_of_vdt(depth) if "temporal" not in name and name != "time_embed"]
    shapes = {name: shape_of_vdt(name, width, num_tokens, num_frames=1) for name in names}
    return shapes | {"y_embedder.embedding_table.weight": (num_rows, width)}


def dit(latent_size=8, channels=3, num_classes=10, depth=DEPTH, width=WIDTH, seed=3):
    """A DiT: the same without time, a table of classes, and a learned variance."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, tensor in model(1, latent_size, channels, depth, width).state_dict().items():
        if "temporal" not in name and name != "time_embed":
            state[name] = torch.randn(tensor.shape, generator=generator)
    state["y_embedder.embedding_table.weight"] = torch.randn(num_classes + 1, width, generator=generator)
    return state


def same(one, other):
    """Whether two models say the same, bit for bit."""
    generator = torch.Generator().manual_seed(9)
    x = torch.randn(2, one.time_embed.shape[1], one.channels, *[2 * one.side] * 2, generator=generator)
    times, mask = torch.tensor([3, 700]), torch.ones(2, x.shape[1], 1, 1, 1)
    with torch.no_grad():
        return torch.equal(one(x, times, mask), other(x, times, mask))
