"""A training that begins with the networks of another one."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from faceparse_jax.checkpoints import packed
from faceparse_jax.checkpoints.imported import import_weights
from faceparse_jax.checkpoints.pack import pack
from faceparse_jax.checkpoints.state import TrainState
from faceparse_jax.checkpoints.store import Checkpoints
from faceparse_jax.checkpoints.trained import load_backbone, load_trained
from faceparse_jax.config import Config
from faceparse_jax.data.synthetic import render_head
from faceparse_jax.errors import InputError
from faceparse_jax.labels import (
    CELEBAMASK_HQ,
    CELEBAMASK_HQ_BISENET,
    HELEN,
    LAPA,
    Scheme,
    conversion,
)
from faceparse_jax.models import system
from faceparse_jax.models.inference import predict
from faceparse_jax.models.ops import conv2d
from faceparse_jax.training import start
from faceparse_jax.training.loop import train
from faceparse_jax.training.setup import accept
from tests.support import torch_golden
from tests.support.runs import small_config

FORM = {"width": 0.125, "translator_features": 8}
DEPTH = {"rgb": 0.0, "e2e": 0.0, "mutual": 0.0, "translation": 0.0}  # its parser alone
RGB = {"depth": 0.0, "e2e": 0.0, "mutual": 0.0, "translation": 0.0}


def config_of(**sections):
    """The full system at small size."""
    values = {"data": {"size": 64}, "augment": {"crop": 64}, "model": FORM}
    for name, keys in sections.items():
        values[name] = values.get(name, {}) | keys
    return Config().replaced(**values)


def fresh(config, scheme, seed=0):
    """The networks of a config and a state of random numbers, without optimisers."""
    networks = system.build(config, scheme.num_classes)
    shapes = jax.eval_shape(lambda: networks.init(jax.random.key(0), config.augment.crop))
    rng = np.random.default_rng(seed)

    def drawn(shape):
        # Of either sign in kernels; in vectors above 0, as variances are.
        values = rng.standard_normal(shape.shape, np.float32) / np.prod(shape.shape[:-1]) ** 0.5
        return jnp.asarray(values if values.ndim > 1 else 1 + 0.1 * np.tanh(values))

    params, stats = jax.tree.map(drawn, shapes)
    return networks, TrainState(0, params, stats, {}, {"params": params, "batch_stats": stats})


def write(path, config, scheme, **meta):
    """A packed file of random networks."""
    _, state = fresh(config, scheme, seed=7)
    said = {
        "config": config.to_dict(),
        "dataset": {"name": "synthetic_heads", "config": "tiny", "scheme": scheme.name},
        "seed": 7, "step": 3, "code_version": "0.1.0", **meta,
    }  # fmt: skip
    tree = {"params": state.params, "batch_stats": state.batch_stats}
    path.write_bytes(packed.contents({"meta": said, "checkpoint": "best", "scores": []}, tree))
    return path


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    path = tmp_path_factory.mktemp("networks") / "faces.safetensors"
    return write(path, config_of(), CELEBAMASK_HQ)


@pytest.fixture(scope="module")
def source(heads):
    return load_trained(heads)


def started(scheme, **sections):
    """The networks, the state and what was taken, as a run begins."""
    config = config_of(**sections)
    networks, state = fresh(config, scheme)
    found = start.taken(config, networks, state, scheme)
    return networks, start.begun(state, found), found


def assert_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_networks_of_the_same_form_are_taken_whole(heads, source, capsys):
    model, loss = {"init": str(heads)}, {"adversarial": 0.1}
    _, state, found = started(CELEBAMASK_HQ, model=model, loss=loss)
    for name in ("rgb", "depth", "translator"):
        assert_equal(state.params[name], source.params[name])
        assert_equal(state.batch_stats[name], source.batch_stats[name])
    _, alone = fresh(config_of(loss=loss), CELEBAMASK_HQ)
    assert_equal(state.params["discriminator"], alone.params["discriminator"])
    whole = {"params": state.params, "batch_stats": state.batch_stats}
    assert_equal(state.ema, whole)
    for a, b in zip(*map(jax.tree.leaves, (state.ema, whole)), strict=True):
        assert a.unsafe_buffer_pointer() != b.unsafe_buffer_pointer()
    (record,) = found.record
    assert record == {
        "networks": ["rgb", "depth", "translator"], "network": "faces",
        "sha256": packed.read_label(heads)["sha256"], "code_version": "0.1.0", "step": 3,
        "trained_on": ["synthetic_heads/tiny"],
    }  # fmt: skip
    (told,) = capsys.readouterr().err.splitlines()
    assert told == (
        f"note: the training begins with rgb, depth, translator of {heads}; fresh: discriminator"
    )


def test_classes_that_the_origin_lacks_begin_at_zero(heads, source, capsys):
    own = Scheme(
        name="folder/own",
        classes=("background", "hair", "beard"),
        colours=((0, 0, 0), (1, 1, 1), (2, 2, 2)),
        swap_pairs=(),
        left_of="subject",
        depth_classes=(1, 2),
    )
    _, state, _ = started(own, model={"init": str(heads)})
    hair = CELEBAMASK_HQ.classes.index("hair")
    for name in ("rgb", "depth"):
        its, own_params = source.params[name], state.params[name]
        for head in ("head", "head16", "head32"):
            for key, rows in own_params[head]["classify"].items():
                row = its[head]["classify"][key]
                np.testing.assert_array_equal(rows[..., 0], row[..., 0])
                np.testing.assert_array_equal(rows[..., 1], row[..., hair])
                np.testing.assert_array_equal(rows[..., 2], 0)
        assert_equal(own_params["backbone"], its["backbone"])
    assert "become those of folder/own but for beard, which begin anew" in capsys.readouterr().err


@pytest.mark.parametrize("scheme", [LAPA, HELEN], ids=lambda scheme: scheme.name)
def test_the_classes_of_another_scheme_are_taken_by_name(heads, source, scheme, capsys):
    _, state, _ = started(scheme, model={"init": str(heads)})
    leading = conversion.leading_classes(CELEBAMASK_HQ, scheme)
    for name in ("rgb", "depth"):
        its, own = source.params[name], state.params[name]
        for head in ("head", "head16", "head32"):
            expected = jax.tree.map(lambda x: x[..., list(leading)], its[head]["classify"])
            assert_equal(own[head]["classify"], expected)
            assert_equal(own[head]["mix"], its[head]["mix"])
        assert_equal(own["backbone"], its["backbone"])
    assert f"classes of celebamask_hq become those of {scheme.name}" in capsys.readouterr().err


def labels_before_and_after(path, size):
    """What the RGB parser of a file says of a head, and what it says when a run on LaPa begins."""
    source = load_trained(path)
    sections = {"augment": {"crop": size}, "data": {"size": size}, "loss": RGB}
    model = {"width": source.config.model.width, "init": str(path)}
    networks, state, _ = started(LAPA, model=model, **sections)
    alone = dataclasses.replace(source.system, depth=None, translator=None)
    batch = {"image": jnp.asarray(render_head(1_000_000, size)["image"][None])}
    said = (
        jax.jit(functools.partial(predict, system=of))(variables, batch)["rgb"]
        for of, variables in ((alone, source.variables), (networks, state.variables()))
    )
    return [np.argmax(probabilities, axis=-1) for probabilities in said]


TO_LAPA = np.array(conversion.class_table(CELEBAMASK_HQ, LAPA))


def test_the_label_is_the_converted_one_where_a_leading_class_has_won(heads):
    before, after = labels_before_and_after(heads, 64)
    leads = np.isin(before, conversion.leading_classes(CELEBAMASK_HQ, LAPA))
    assert leads.mean() > 0.1
    np.testing.assert_array_equal(after[leads], TO_LAPA[before[leads]])


@pytest.mark.parametrize("path", sorted(packed.HEADS.parent.glob("*.safetensors")))
def test_shipped_networks_begin_about_where_they_ended(path):
    before, after = labels_before_and_after(path, 96)
    assert np.mean(after == TO_LAPA[before]) > 0.93


def test_each_kind_of_depth_has_statistics_of_its_own(heads, source):
    model = {"init": str(heads), "depth_statistics": "split"}
    _, state, _ = started(CELEBAMASK_HQ, model=model)
    own = source.batch_stats["depth"]
    assert_equal(state.batch_stats["depth_translated"], own)
    assert_equal(state.batch_stats["depth"], own)


def test_what_the_loss_does_not_need_is_left_and_origins_add_up(tmp_path, capsys):
    earlier = [{"networks": ["rgb"], "trained_on": ["lapa_d/official", "synthetic_heads/tiny"]}]
    path = write(tmp_path / "more.safetensors", config_of(), CELEBAMASK_HQ, init=earlier)
    _, state, found = started(CELEBAMASK_HQ, model={"init": str(path)}, loss=DEPTH)
    assert found.params.keys() == state.params.keys() == {"depth"}
    assert found.record[0]["trained_on"] == ["synthetic_heads/tiny", "lapa_d/official"]
    assert "not needed: rgb, translator" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"width": 0.25}, "with model.width=0.125, expected.*set --config.model.width=0.125$"),
        ({"backbone": 34}, "set --config.model.backbone=18$"),
        ({"depth_channels": 1}, "set --config.model.depth_channels=3$"),
        ({"translator_features": 4, "width": 0.25},
         "set --config.model.width=0.125 --config.model.translator_features=8$"),
    ],
)  # fmt: skip
def test_another_form_is_refused_with_the_keys_to_set(heads, keys, says):
    with pytest.raises(InputError, match=says):
        started(CELEBAMASK_HQ, model={"init": str(heads), **keys})


@pytest.mark.parametrize(
    ("size", "crop", "says"),
    [
        (64, 48, "next: set --config.augment.crop=64$"),
        (128, 112, "next: set --config.augment.crop=64$"),
        (96, 96, "next: set --config.data.size=64 --config.augment.crop=64$"),
    ],
)
def test_a_translator_of_other_levels_is_refused(heads, size, crop, says):
    """Its 6 levels need sides that divide by 64; a crop of the config's own size comes first."""
    with pytest.raises(InputError, match=says):
        started(
            CELEBAMASK_HQ,
            model={"init": str(heads)},
            data={"size": size},
            augment={"crop": crop},
        )


def test_finer_classes_and_no_network_are_refused(tmp_path):
    path = write(tmp_path / "lapa.safetensors", config_of(loss=DEPTH), LAPA)
    model = {"init": str(path)}
    with pytest.raises(InputError, match=r"classes of lapa, expected .* those of celebamask_hq"):
        started(CELEBAMASK_HQ, model=model, loss=DEPTH)
    with pytest.raises(InputError, match="no network but depth, expected one that the loss needs"):
        started(LAPA, model=model, loss=RGB)


def test_a_run_keeps_what_it_began_with_and_resumes_without_it(data_dir, heads, source, tmp_path):
    copy, workdir = tmp_path / "once.safetensors", tmp_path / "run"
    copy.write_bytes(heads.read_bytes())
    config = small_config(data_dir)
    config.model.init = str(copy)
    with Checkpoints(workdir, 1) as checkpoints:
        checkpoints.save(*accept(config).begin(checkpoints))
    copy.unlink()
    with Checkpoints(workdir, 1) as checkpoints:
        state, meta = accept(config).begin(checkpoints)
    assert_equal(state.params["rgb"], source.params["rgb"])
    assert meta["init"][0]["networks"] == ["rgb"]
    assert meta["init"][0]["sha256"] == packed.read_label(heads)["sha256"]
    with pytest.raises(InputError, match=r"once\.safetensors: found No such file"):
        train(config, tmp_path / "another")
    assert not (tmp_path / "another").exists()


def imported(folder, case):
    """Public weights of a case as a packed file."""
    state = {k: np.asarray(v) for k, v in torch_golden.state(case).items()}
    weights = folder / "public.safetensors"
    weights.write_bytes(safetensors.numpy.save(state))
    import_weights(weights, folder / "backbone.safetensors")
    return folder / "backbone.safetensors"


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    return imported(tmp_path_factory.mktemp("weights"), "torchvision18")


WIDE = {"width": 1.0, "backbone": 18}


@pytest.mark.parametrize("channels", [3, 1])
def test_both_parsers_begin_with_a_backbone(resnet, channels, capsys):
    model = {**WIDE, "init": str(resnet), "depth_channels": channels, "depth_statistics": "split"}
    source = load_backbone(resnet)
    networks, state, found = started(LAPA, model=model)
    _, alone = fresh(config_of(model={**model, "init": ""}), LAPA)
    for name in ("rgb", "depth"):
        own, its = state.params[name], source.params["backbone"]
        kernel = its["stem"]["conv"]["kernel"]
        if name == "depth" and channels == 1:
            kernel = kernel.sum(axis=2, keepdims=True)
        np.testing.assert_array_equal(own["backbone"]["stem"]["conv"]["kernel"], kernel)
        for stage in its.keys() - {"stem"}:
            assert_equal(own["backbone"][stage], its[stage])
        for part in own.keys() - {"backbone"}:
            assert_equal(own[part], alone.params[name][part])
    for name in ("rgb", "depth", "depth_translated"):
        assert_equal(state.batch_stats[name]["backbone"], source.batch_stats["backbone"])
        assert_equal(state.batch_stats[name]["head"], alone.batch_stats[name]["head"])
    assert_equal(state.params["translator"], alone.params["translator"])
    (record,) = found.record
    assert record["networks"] == ["backbone of rgb", "backbone of depth"]
    assert record["trained_on"] == ["imagenet/ilsvrc2012"]
    assert "begins with the backbone of" in capsys.readouterr().err
    # One channel gives what three equal ones give, since depth is repeated to them.
    depth = jnp.linspace(-1, 1, 64 * 64).reshape(1, 64, 64, 1)
    kernels = [of.params for of in (state, source)]
    kernels[0] = kernels[0]["depth"]
    one, three = (jnp.asarray(of["backbone"]["stem"]["conv"]["kernel"]) for of in kernels)
    own = conv2d(networks.depth_input(depth), one, 2, 3)
    repeated = conv2d(jnp.repeat(depth, 3, -1), three, 2, 3)
    np.testing.assert_allclose(own, repeated, atol=1e-4)


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        (
            {"model": {**WIDE, "backbone": 34}},
            "set --config.model.backbone=18",
        ),
        (
            {"model": {**WIDE, "width": 0.5}},
            "--config.model.width=1",
        ),
        (
            {"model": WIDE, "loss": {"rgb": 0.0, "depth": 0.0, "e2e": 0.0, "mutual": 0.0}},
            "networks that the loss needs, translator",
        ),
    ],
)
def test_a_backbone_that_does_not_fit_is_refused(resnet, sections, says):
    sections = {**sections, "model": {**sections["model"], "init": str(resnet)}}
    with pytest.raises(InputError, match=says):
        started(LAPA, **sections)


def test_a_run_begins_with_a_backbone_and_its_card_says_so(data_dir, resnet, tmp_path):
    config = small_config(data_dir, 1)
    config.model.init, config.model.width = str(resnet), 1.0
    state, meta = accept(config).fresh()
    its = load_backbone(resnet)
    assert_equal(state.params["rgb"]["backbone"], its.params["backbone"])
    assert_equal(state.ema["batch_stats"]["rgb"]["backbone"], its.batch_stats["backbone"])
    with Checkpoints(tmp_path / "run", 1) as checkpoints:
        checkpoints.save_best(state, meta)
    card = pack(tmp_path / "run", "best", (), tmp_path / "packed.safetensors").read_text()
    assert "backbone of rgb of backbone" in card
    assert "learned from ImageNet" in " ".join(card.split())


def test_a_public_parser_is_a_start_for_other_classes(tmp_path):
    path = imported(tmp_path, "zllrunning18")
    its = load_trained(path).params["rgb"]
    _, state, found = started(LAPA, model={**WIDE, "init": str(path)})
    own = state.params["rgb"]
    leading = list(conversion.leading_classes(CELEBAMASK_HQ_BISENET, LAPA))
    kernel = its["head"]["classify"]["kernel"][..., leading]
    np.testing.assert_array_equal(own["head"]["classify"]["kernel"], kernel)
    assert_equal(own["backbone"], its["backbone"])
    (record,) = found.record
    assert (record["networks"], record["trained_on"]) == (["rgb"], ["celebamask_hq/all"])
