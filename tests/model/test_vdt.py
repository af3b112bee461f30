import pytest
import torch

from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.model import blocks, tables, vdt

LARGE = {"width": 1152, "depth": 28, "num_heads": 16}
SMALL = {"width": 384, "depth": 12, "num_heads": 6}


def on_meta(num_frames=16, latent_size=16, **sizes):
    with torch.device("meta"):
        return vdt.VDT(latent_size=latent_size, num_frames=num_frames, channels=4, patch_size=2, **sizes)


def tiny(num_frames=5, latent_size=6, channels=3):
    model = vdt.VDT(
        latent_size=latent_size, num_frames=num_frames, channels=channels, width=16, depth=2, num_heads=2, patch_size=2
    )
    model.initialise(torch.Generator().manual_seed(0))
    return model


def awake(model):
    """Give weights that start at zero a value, so that every path carries something."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=generator)
    return model


@pytest.mark.parametrize(("sizes", "count"), [(LARGE, 859_704_224), (SMALL, 41_361_056)])
def test_the_published_sizes(sizes, count):
    model = on_meta(**sizes)
    assert sum(weight.numel() for weight in model.parameters()) == count


def test_the_fixed_tables_of_the_large_model():
    model = on_meta(**LARGE)
    assert sum(table.numel() for table in model.buffers()) == 92_160
    assert (model.pos_embed.shape, model.time_embed.shape) == ((1, 64, 1152), (1, 16, 1152))


def test_the_published_names():
    parts = ["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2", "adaLN_modulation.1", "temporal_norm1"]
    parts += ["temporal_attn.qkv", "temporal_attn.proj", "temporal_fc"]
    layers = ["x_embedder.proj", "t_embedder.mlp.0", "t_embedder.mlp.2"]
    layers += ["final_layer.linear", "final_layer.adaLN_modulation.1"]
    layers += [f"blocks.{block}.{part}" for block in range(12) for part in parts]
    expected = {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}
    model = on_meta(**SMALL)
    assert set(model.state_dict()) == expected | {"pos_embed", "time_embed", "y_embedder.embedding_table.weight"}
    assert model.y_embedder.embedding_table.weight.shape == (2, 384)
    assert model.final_layer.linear.weight.shape == (2 * 2 * 8, 384)


def test_initialise_sets_every_weight_and_table():
    model = tiny()
    reference = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.fill_(float("nan"))
    model.initialise(torch.Generator().manual_seed(0))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, reference[name]), name


def test_build_is_the_runs_model_and_depends_on_the_seed_alone():
    config = RunConfig.model_validate(
        {"model": {"width": 16, "depth": 1, "num_heads": 2, "num_frames": 20}, "data": {"frame_height_px": 64}}
    )
    first, second = vdt.build(config, 3), vdt.build(config, 3)
    assert first.pos_embed.shape == (1, 16, 16)
    assert first.time_embed.shape == (1, 20, 16)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name])
    other = vdt.build(config, 4)
    assert not torch.equal(first.blocks[0].attn.qkv.weight, other.blocks[0].attn.qkv.weight)


def test_a_fresh_model_says_zero_and_its_temporal_path_is_awake():
    model = tiny()
    assert not model(torch.randn(2, 5, 3, 6, 6), torch.tensor([0, 999])).any()
    assert model.blocks[0].temporal_fc.weight.any()


def test_tokens_and_cells_are_in_the_same_place():
    model = tiny()
    cells = torch.arange(36.0).view(1, 1, 1, 6, 6).expand(1, 5, 6, 6, 6)
    patches = cells.unfold(3, 2, 2).unfold(4, 2, 2)  # B T 2C rows columns P P
    tokens = patches.permute(0, 1, 3, 4, 5, 6, 2).reshape(1, 5, 9, 2 * 2 * 6)
    assert torch.equal(model._cells(tokens), cells)
    with torch.no_grad():  # a token sees its own patch: row 1, column 2 of 3 x 3
        x = torch.zeros(1, 5, 3, 6, 6)
        empty = model.x_embedder(x)
        x[0, 0, :, 2:4, 4:6] = 1
        changed = (model.x_embedder(x) - empty).abs().sum(-1)
    assert changed[0, 0].nonzero().flatten().tolist() == [5]
    assert not changed[0, 1:].any()


@pytest.mark.parametrize("over", ["time", "space"])
def test_attention_mixes_one_axis_only(over):
    torch.manual_seed(0)
    attention = blocks.Attention(8, 2)
    x = torch.randn(1, 4, 6, 8)
    touched = x.clone()
    touched[0, 1, 2] += 1
    changed = (attention(touched, over) - attention(x, over)).abs().sum(-1)[0] > 0
    expected = torch.zeros(4, 6, dtype=torch.bool)
    if over == "time":
        expected[:, 2] = True
    else:
        expected[1] = True
    assert torch.equal(changed, expected)


def test_plain_attention_is_the_fused_one():
    query, key, value = torch.randn(3, 2, 3, 7, 8, generator=torch.Generator().manual_seed(0))
    fused = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    torch.testing.assert_close(blocks.attend(query, key, value), fused)


def test_row_0_of_the_class_table_is_always_used():
    model = awake(tiny())
    model(torch.randn(2, 5, 3, 6, 6), torch.tensor([0, 999])).sum().backward()
    gradient = model.y_embedder.embedding_table.weight.grad
    assert gradient[0].any()
    assert not gradient[1].any()


def test_tables_are_sinusoids():
    frames = tables.frame_table(7, 8)[0]
    torch.testing.assert_close(frames[:, 0], torch.arange(7.0).sin())
    torch.testing.assert_close(frames[:, 4], torch.arange(7.0).cos())
    place = tables.position_table(3, 8)[0]
    torch.testing.assert_close(place[1, 0], torch.tensor(1.0).sin())  # token 1: column 1, row 0
    torch.testing.assert_close(place[3, 4], torch.tensor(1.0).sin())  # token 3: column 0, row 1
    assert place[3, 0] == 0


def test_any_square_latent_and_frame_count_but_whole_patches():
    model = awake(tiny(num_frames=3, latent_size=4, channels=1))
    assert model(torch.zeros(2, 3, 1, 4, 4), torch.zeros(2, dtype=torch.long)).shape == (2, 3, 2, 4, 4)
    with pytest.raises(ValueError, match="no multiple"):
        tiny(latent_size=5)
