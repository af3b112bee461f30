"""The options of the model: what each of them adds, and that without them it is the published one."""

import pytest
import torch

from tests.model.test_vdt import awake
from vdt_hpc.commandline import load_run
from vdt_hpc.experiment.model_config import DiffusionConfig
from vdt_hpc.model import masks, objective, vdt
from vdt_hpc.model.diffusion import Diffusion

OPTIONS = ("mask_channel", "frame_times", "qk_norm", "zero_temporal")
B, T, C, SIDE = 3, 5, 2, 6
TIMES = torch.tensor([0, 400, 999])


def model_with(*options, depth=2, **more):
    chosen = dict.fromkeys(options, True)
    model = vdt.VDT(
        latent_size=SIDE, num_frames=T, channels=C, width=16, depth=depth, num_heads=2, patch_size=2, **chosen, **more
    )
    model.initialise(torch.Generator().manual_seed(0))
    return model


def latents(num_clips=B):
    return torch.randn(num_clips, T, C, SIDE, SIDE, generator=torch.Generator().manual_seed(2))


def given_first(num_clips=B, count=2):
    return masks.batch([masks.prediction(T, count)] * num_clips)


def test_new_weights_and_nothing_else_are_new():
    plain, full = (set(model_with(*options).state_dict()) for options in ((), OPTIONS))
    norms = {
        f"blocks.{block}.{over}.{norm}.weight"
        for block in range(2)
        for over in ("attn", "temporal_attn")
        for norm in ("q_norm", "k_norm")
    }
    assert full - plain == {"mask_embedder.proj.weight", *norms}
    assert plain <= full


def test_the_seed_gives_the_shared_weights_the_same_values():
    plain, full = model_with().state_dict(), model_with("mask_channel", "frame_times", "qk_norm").state_dict()
    for name, tensor in plain.items():
        assert torch.equal(tensor, full[name]), name


def test_the_mask_starts_without_a_voice_and_can_get_one():
    plain, model = awake(model_with()), model_with("mask_channel")
    assert not model.mask_embedder.proj.weight.any()
    assert model.mask_embedder.proj.weight.shape == (16, 1, 2, 2)
    assert model.mask_embedder.proj.bias is None
    missing, unexpected = model.load_state_dict(plain.state_dict(), strict=False)  # weights as published
    assert (missing, unexpected) == (["mask_embedder.proj.weight"], [])
    assert torch.equal(model(latents(), TIMES, given_first()), plain(latents(), TIMES, given_first()))
    model(latents(), TIMES, given_first()).square().sum().backward()
    assert model.mask_embedder.proj.weight.grad.any()


def test_the_mask_is_seen_cell_by_cell():
    model = awake(model_with("mask_channel"))
    whole = torch.ones(B, T, 1, SIDE, SIDE)
    assert torch.equal(model(latents(), TIMES, whole), model(latents(), TIMES, torch.ones(B, T, 1, 1, 1)))
    seen = model.mask_embedder(whole, SIDE)
    whole[0, 1, 0, 2, 4] = 0  # in row 1, column 2 of 3 x 3 tokens
    changed = (model.mask_embedder(whole, SIDE) != seen).any(-1)
    assert changed.nonzero().tolist() == [[0, 1, 5]]


def test_given_frames_are_at_time_0():
    """The condition of each frame is that of a clip at the frame's time; seen through one block over space alone."""
    model = awake(model_with("frame_times", depth=1))
    with torch.no_grad():
        for block in model.blocks:  # without what passes between frames
            block.temporal_fc.weight.zero_()
            block.temporal_fc.bias.zero_()
    plain = awake(model_with(depth=1))
    plain.load_state_dict(model.state_dict())
    mask = given_first()
    mask[2] = masks.batch([masks.unconditional(T)])
    mixed = model(latents(), TIMES, mask)
    at_their_time, at_zero = plain(latents(), TIMES), plain(latents(), torch.zeros_like(TIMES))
    torch.testing.assert_close(mixed, torch.where(mask == masks.GIVEN, at_zero, at_their_time))
    assert not torch.allclose(at_zero[1], at_their_time[1])


def test_a_frame_with_one_cell_to_generate_is_not_given():
    model = model_with("frame_times")
    mask = torch.zeros(1, T, 1, SIDE, SIDE)
    mask[0, 3, 0, 5, 5] = 1
    is_given = model._condition(TIMES[:1], mask).is_given
    assert is_given.flatten().tolist() == [True, True, True, False, True]


def test_queries_and_keys_have_unit_size():
    attention = model_with("qk_norm").blocks[0].attn
    size = attention.q_norm(100 * torch.randn(4, 8)).square().mean(-1)
    torch.testing.assert_close(size, torch.ones(4))
    with torch.autocast("cpu", torch.bfloat16):
        assert attention.k_norm(torch.randn(4, 8, dtype=torch.bfloat16)).dtype == torch.bfloat16
    model = awake(model_with("qk_norm"))
    with torch.no_grad():
        before = model(latents(), TIMES)
        for block in model.blocks:  # the first two thirds of qkv: no scale of theirs matters now
            for part in (block.attn.qkv, block.temporal_attn.qkv):
                part.weight[:32] *= 50
                part.bias[:32] *= 50
        torch.testing.assert_close(model(latents(), TIMES), before, rtol=1e-3, atol=1e-4)


def test_frames_can_start_apart():
    model = model_with("zero_temporal")
    x, touched = latents(), latents()
    touched[:, 0] += 1
    with torch.no_grad():
        model.final_layer.linear.weight.normal_(generator=torch.Generator().manual_seed(1))
        changed = (model(touched, TIMES) - model(x, TIMES)).abs().amax((0, 2, 3, 4)) > 0
    assert changed.tolist() == [True, False, False, False, False]


def test_no_variance_no_second_half():
    assert model_with(out_channels=C)(latents(), TIMES).shape == (B, T, C, SIDE, SIDE)
    for changes, outputs in (([], 8), (["diffusion.variance=fixed"], 4)):
        built = vdt.build(load_run("smoke", changes))
        assert built.final_layer.linear.out_features == 4 * outputs


@pytest.mark.parametrize("options", [(), OPTIONS])
def test_one_time_for_all_clips_is_that_time_for_each(options):
    model = awake(model_with(*options))
    shared = model(latents(), torch.tensor([400]), given_first())
    torch.testing.assert_close(shared, model(latents(), torch.tensor([400] * B), given_first()))
    rows = model._condition(torch.tensor([400]), given_first()).rows
    alone = model._condition(torch.tensor([400]), given_first(1)).rows
    assert torch.equal(rows, alone)
    assert len(rows) == (2 if options else 1)


def test_times_may_lie_between_whole_numbers():
    model = awake(model_with())
    near, far = (model(latents(), torch.full((B,), time)) for time in (400.001, 401.0))
    at = model(latents(), torch.full((B,), 400))
    assert 0 < (near - at).abs().max() < 0.01 * (far - at).abs().max()


def test_gradients_of_the_loss_with_all_options():
    model = awake(model_with(*OPTIONS, depth=1)).double()
    diffusion = Diffusion(DiffusionConfig())
    generator = torch.Generator().manual_seed(3)
    clean, noise = torch.randn(2, 2, T, C, SIDE, SIDE, dtype=torch.float64, generator=generator)
    times = torch.tensor([20, 800])
    noisy = diffusion.noisy(clean, noise, times)
    mask = masks.batch([masks.prediction(T, 2), masks.unconditional(T)]).double()
    names = (
        "mask_embedder.proj.weight", "t_embedder.mlp.2.bias", "blocks.0.attn.q_norm.weight",
        "blocks.0.temporal_attn.k_norm.weight", "blocks.0.temporal_fc.weight", "blocks.0.adaLN_modulation.1.bias",
        "final_layer.linear.bias",
    )  # fmt: skip
    weights = dict(model.named_parameters())

    def loss(*values):
        chosen = dict(zip(names, values, strict=True))
        output = torch.func.functional_call(model, chosen, (masks.mix(clean, noisy, mask), times, mask))
        predicted, v = output.chunk(2, dim=2)  # the stopped gradient is put back, else the numbers cannot agree
        error = objective.masked_mean((noise - predicted).square(), mask)
        bound = objective.masked_mean(diffusion.bound(predicted, v, clean, noisy, times), mask)
        return (error + bound).sum()

    inputs = [weights[name].detach().clone().requires_grad_() for name in names]
    assert all(gradient.any() for gradient in torch.autograd.grad(loss(*inputs), inputs))
    assert torch.autograd.gradcheck(loss, inputs, eps=1e-6, atol=1e-5, fast_mode=True)
