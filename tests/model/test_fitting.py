"""Published weights in models of other shapes: every name accounted for, nothing invented."""

import pytest
import torch

from tests.model import published
from vdt_hpc.errors import UserError
from vdt_hpc.model import vdt
from vdt_hpc.model.fitting import fit
from vdt_hpc.model.resizing import resize_places


def without(state, *names):
    return {name: tensor for name, tensor in state.items() if name not in names}


def test_the_official_large_model_fits_without_memory():
    with torch.device("meta"):
        model = vdt.VDT(
            latent_size=16, num_frames=16, channels=4, width=1152, depth=28, num_heads=16, patch_size=2
        )  # fmt: skip
        official = {
            name: torch.empty(published.shape_of_vdt(name, 1152, num_tokens=64, num_frames=16))
            for name in published.names_of_vdt(28)
        }
    fitted = fit(official, model.state_dict())
    trained = dict(model.named_parameters())
    assert sum(fitted.state[name].numel() for name in trained) == 859_704_224
    assert all(fitted.state[name] is official[name] for name in official)
    assert fitted.report.lines() == [f"{len(official)} of {len(official)} tensors, names of VDT"]


def test_dit_xl_gives_the_spatial_half_of_the_large_model():
    with torch.device("meta"):
        model = vdt.VDT(latent_size=16, num_frames=30, channels=4, width=1152, depth=28, num_heads=16, patch_size=2)
        state = published.dit_names_and_shapes(28, 1152, num_tokens=256, num_rows=1001)
        found = {name: torch.empty(shape) for name, shape in state.items()}
    fitted = fit(found, model.state_dict())
    assert {name: tensor.shape for name, tensor in fitted.state.items()} == {
        name: tensor.shape for name, tensor in model.state_dict().items()
    }
    spatial = [name for name in found if name not in ("pos_embed", "y_embedder.embedding_table.weight")]
    assert all(fitted.state[name] is found[name] for name in spatial)
    assert sum(tensor.numel() for tensor in found.values()) == 675_129_632  # as DiT-XL/2 is known, tables included
    assert "blocks.*.temporal_attn.qkv (28 blocks)" in fitted.report.not_initialised
    assert len(fitted.report.lines()) == 4


def test_more_frames_and_fewer_places():
    found = published.model(num_frames=16, latent_size=32).state_dict()
    own = published.model(num_frames=30, latent_size=16, seed=1).state_dict()
    fitted = fit(found, own)
    assert torch.equal(fitted.state["time_embed"], vdt.frame_table(30, 16))
    assert torch.equal(fitted.state["pos_embed"], resize_places(found["pos_embed"], 64))
    for name in without(found, "time_embed", "pos_embed"):
        assert torch.equal(fitted.state[name], found[name]), name
    assert fitted.report.reshaped == (
        "pos_embed 256 -> 64 tokens (bicubic, aligned centres, antialiased)",
        "time_embed 16 -> 30 frames (its sinusoid continued)",
    )
    assert not fitted.report.not_initialised
    stretched = fit(found, own, "stretch")
    assert torch.equal(stretched.state["time_embed"][:, [0, -1]], found["time_embed"][:, [0, -1]])
    assert "time_embed 16 -> 30 frames (stretched linearly)" in stretched.report.reshaped


def test_a_dit_gives_exactly_the_spatial_half():
    found = published.dit(latent_size=16)
    own = published.model(num_frames=4, latent_size=8).state_dict()
    before = {name: tensor.clone() for name, tensor in own.items()}
    fitted = fit(found, own)
    for name, tensor in fitted.state.items():
        if "temporal" in name or name == "time_embed":
            assert torch.equal(tensor, before[name]), name
        elif name not in ("pos_embed", "y_embedder.embedding_table.weight"):
            assert torch.equal(tensor, found[name]), name
        assert torch.equal(own[name], before[name]), f"{name} was changed in place"
    last = found["y_embedder.embedding_table.weight"][-1]
    assert torch.equal(fitted.state["y_embedder.embedding_table.weight"], torch.stack([last, last]))
    report = fitted.report
    assert report.layout == "DiT"
    assert report.not_initialised == (
        "time_embed",
        "blocks.*.temporal_norm1 (2 blocks)",
        "blocks.*.temporal_attn.qkv (2 blocks)",
        "blocks.*.temporal_attn.proj (2 blocks)",
        "blocks.*.temporal_fc (2 blocks)",
    )
    assert "y_embedder.embedding_table.weight 11 -> 2 rows (the last, 'no class')" in report.reshaped
    assert report.num_tensors - report.num_loaded == 1 + 2 * 8
    assert any("image model" in remark for remark in report.remarks)


def output(state, channels):
    """The output layer by (row of the patch, column, channel)."""
    return [state[f"final_layer.linear.{kind}"].unflatten(0, (2, 2, channels)) for kind in ("weight", "bias")]


def test_the_variance_is_dropped_and_added():
    whole = published.model().state_dict()
    half = published.model(seed=1, out_channels=3).state_dict()
    dropped = fit(whole, half)
    for got, had in zip(output(dropped.state, 3), output(whole, 6), strict=True):
        assert torch.equal(got, had[:, :, :3])
    assert dropped.report.dropped == ("the variance's rows of final_layer.linear (this model has no learned variance)",)
    added = fit(half, whole)
    for got, had in zip(output(added.state, 6), output(half, 3), strict=True):
        assert torch.equal(got[:, :, :3], had)
        assert not got[:, :, 3:].any()
    assert added.report.not_initialised == ("the variance's rows of final_layer.linear (zero)",)


def test_options_that_the_file_was_trained_without():
    found = published.model().state_dict()
    own = published.model(seed=1, mask_channel=True, qk_norm=True).state_dict()
    fitted = fit(found, own)
    fresh = own.keys() - found.keys()
    assert len(fresh) == 1 + 2 * 4
    assert all(fitted.state[name] is own[name] for name in fresh)
    assert all(torch.equal(fitted.state[name], found[name]) for name in found)
    assert fitted.report.not_initialised == (
        "mask_embedder.proj",
        "blocks.*.attn.q_norm (2 blocks)",
        "blocks.*.attn.k_norm (2 blocks)",
        "blocks.*.temporal_attn.q_norm (2 blocks)",
        "blocks.*.temporal_attn.k_norm (2 blocks)",
    )
    assert any("model.qk_norm changes what attention computes" in remark for remark in fitted.report.remarks)
    with pytest.raises(UserError, match=r"trained with model.qk_norm=true; .* with model.mask_channel=true"):
        fit(own, found)


def test_missing_unexpected_and_misshapen_are_one_line():
    found = published.model().state_dict()
    found["blocks.0.mlp.fc1.bias"] = torch.zeros(63)
    found["final_layer.linear.weight"] = torch.zeros(7, 16)
    found["time_embed"] = torch.zeros(1, 5, 12)
    found["t_embedder.mlp.0.bias"] = found["t_embedder.mlp.0.bias"].to(torch.int8)
    found["head.weight"] = torch.zeros(1)
    for name in ("blocks.0.attn.qkv.weight", "blocks.1.attn.qkv.weight", "pos_embed"):
        del found[name]
    with pytest.raises(UserError) as caught:
        fit(found, published.model(seed=1).state_dict())
    said = str(caught.value)
    assert "\n" not in said
    assert "missing: pos_embed, blocks.*.attn.qkv.weight (2 blocks); unexpected: head.weight; " in said
    for part in (
        "blocks.*.mlp.fc1.bias is 63, the model's 64 (1 block)", "final_layer.linear.weight is 7 x 16, the model's",
        "time_embed is 1 x 5 x 12, the model's 1 x 5 x 16", "t_embedder.mlp.0.bias is 16 of int8, the model's 16",
    ):  # fmt: skip
        assert part in said


def test_a_model_of_another_size_is_told_in_few_words():
    with pytest.raises(UserError) as caught:
        fit(published.model(depth=5, width=8).state_dict(), published.model().state_dict())
    said = str(caught.value)
    assert "(the file's model has width 8, 5 blocks, this one width 16, 2 blocks)" in said
    assert "unexpected: blocks.*.attn.qkv.weight (3 blocks)" in said
    assert " and 12 more; of another shape" in said
    assert len(said) < 1500


def test_a_file_of_something_else():
    with pytest.raises(
        UserError, match=r"\(the file's model has no x_embedder, this one width 16, 2 blocks\): missing"
    ):
        fit({"conv_in.weight": torch.zeros(3, 3)}, published.model().state_dict())
