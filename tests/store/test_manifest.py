"""The manifest: latents of another recipe are refused, and the line names the fields that differ."""

import dataclasses
import json

import pytest

from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.paths import paths_for
from vdt_hpc.experiment.signature import latents_recipe, latents_signature
from vdt_hpc.store import manifest


def configured(**sections):
    return RunConfig.model_validate_json(json.dumps(sections))


def written(config):
    """The manifest that an encode of that run writes."""
    identity = {"source": config.autoencoder.source, "sha256": "made-up", "scaling_factor": 0.5}
    recipe = latents_recipe(config)
    return manifest.Manifest(config.data.dataset, latents_signature(config), "made-up", recipe, identity, (), ())


@pytest.fixture
def said(tmp_path):
    """What is said of latents where a run looks for its own; nothing where they are its own."""

    def ask(config, found):
        paths = paths_for(config, Partition(name="local", executor="local", root=str(tmp_path)))
        (paths.latents / manifest.MANIFEST).unlink(missing_ok=True)
        manifest.write_manifest(paths.latents, found)
        try:
            assert manifest.require_manifest(config, paths) == found
        except UserError as error:
            start = f"the latents at {paths.latents} belong to another recipe: "
            assert str(error).startswith(start)
            assert str(error).endswith("; remove them and run encode")
            return str(error)[len(start) : -len("; remove them and run encode")]
        return ""

    return ask


def test_the_same_recipe(said):
    config = configured(data={"root": "/here"}, autoencoder={"frames_per_batch": 2})
    assert said(config, written(config)) == ""
    assert said(config, written(configured(data={"root": "/there"}))) == ""


@pytest.mark.parametrize(
    ("there", "here", "named"),
    [
        ({"data": {"resize": "area"}}, {}, "data.resize is area there, lanczos here"),
        (
            {"data": {"resize": "area", "root": "/there"}, "autoencoder": {"latent_channels": 16}},
            {"autoencoder": {"frames_per_batch": 2}},
            "data.resize is area there, lanczos here, autoencoder.latent_channels is 16 there, 4 here",
        ),
        (
            {},
            {"data": {"frame_width_px": 128, "crop": "whole"}, "autoencoder": {"encode_precision": "bf16"}},
            "data.frame_width_px is null there, 128 here, data.crop is centre-square there, whole here, "
            "autoencoder.encode_precision is fp32 there, bf16 here",
        ),
        ({"streets": {}}, {}, "streets is set there, null here"),
        ({"streets": {"seed": 1}}, {"streets": {}}, "streets.seed is 1 there, 0 here"),
    ],
)
def test_what_differs_is_named(said, there, here, named):
    assert said(configured(**here), written(configured(**there))) == named


def test_what_older_latents_do_not_state(said):
    """They have no streets, and of a field that came later they have the default."""
    there = written(configured(data={"frame_height_px": 256}, streets={}))
    older = {name: dict(section) for name, section in there.recipe.items() if name != "streets"}
    del older["data"]["skip_bad_clips"]
    older["data"]["gone_since"] = 7
    named = said(configured(streets={}), dataclasses.replace(there, recipe=older))
    assert named == "data.frame_height_px is 256 there, 128 here, data.gone_since is 7 there, null here"


def test_a_signature_that_does_not_go_with_its_recipe(said):
    config = configured()
    there = dataclasses.replace(written(config), signature="0" * 12)
    wanted = latents_signature(config)
    assert said(config, there) == (
        f"their signature is {'0' * 12}, not {wanted}, though no field in their recipe differs"
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"ceiling": None}, "ceiling None: Input should be a valid dictionary"),
        ({"autoencoder": {}}, "autoencoder {}: it lacks sha256 or scaling_factor"),
        ({"shards": [{"file": "train-00000.h5"}]}, "no shards.0.num_clips, shards.0.sha256, shards.0.split"),
        ({"left_out": "a clip"}, "left_out 'a clip': Input should be a valid tuple"),
    ],
)
def test_one_of_other_values_is_damaged(tmp_path, change, told):
    manifest.write_manifest(tmp_path, written(configured()))
    path = tmp_path / manifest.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError) as refused:
        manifest.read_manifest(tmp_path)
    assert str(refused.value) == f"{path} is damaged: it has {told}; remove it and run the stage encode again"
