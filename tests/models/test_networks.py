"""The networks: shapes, types, PyTorch's meanings, and that both forms are one function."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from faceparse_jax.models import layers, ops
from faceparse_jax.models.bisenet import BiSeNet
from faceparse_jax.models.pix2pix import SMALLEST_JUDGED, PatchGAN, UNet, unet_levels
from faceparse_jax.models.system import System, forward
from faceparse_jax.runtime.forms import forms_for


def use_form(form):
    return forms_for("cpu" if form == "cpu" else "gpu")


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def init(net, *inputs):
    """Variables from NumPy's noise: compiling the initialisers would take most of the time."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        if path[-1].key == "kernel":
            scale = np.sqrt(2 / np.prod(leaf.shape[:-1]))
            return jnp.asarray(scale * rng.standard_normal(leaf.shape), leaf.dtype)
        return jnp.full(leaf.shape, path[-1].key in ("scale", "var"), leaf.dtype)

    shapes = jax.eval_shape(net.init, jax.random.key(0), *inputs)
    return jax.tree_util.tree_map_with_path(draw, shapes)


def value_and_gradients(form, function, *args):
    """The output, and the gradients of its product with fixed noise."""

    def objective(*args):
        y = function(*args)
        return jnp.sum(y * normal(9, *y.shape)), y

    with use_form(form):
        run = jax.jit(jax.value_and_grad(objective, range(len(args)), has_aux=True))
        (_, y), gradients = run(*args)
    return [y, *gradients]


@pytest.mark.parametrize("flags", ["", "--xla_gpu_deterministic_ops=true"])
def test_a_deterministic_run_has_no_scatter(flags, monkeypatch):
    """The program for an NVIDIA GPU, read and not run: sums in no fixed order are scatters."""
    monkeypatch.setenv("XLA_FLAGS", flags)
    parser = BiSeNet(5, width=0.125)
    x = jnp.zeros((1, 32, 32, 3))
    variables = jax.eval_shape(parser.init, jax.random.key(0), x)

    def loss(params, rest):
        out, _ = parser.apply({"params": params, **rest}, x, train=True, mutable=["batch_stats"])
        return sum(jnp.sum(head) for head in out)

    params, rest = variables["params"], {"batch_stats": variables["batch_stats"]}
    with forms_for("gpu"):
        program = jax.jit(jax.grad(loss)).trace(params, rest).lower(lowering_platforms=("cuda",))
    text = program.as_text()
    assert "stablehlo.scatter" not in text
    assert ("stablehlo.select_and_scatter" in text) == (not flags)


def both_forms_agree(function, *args, tolerance=1e-5):
    plain = value_and_gradients("plain", function, *args)
    cpu = value_and_gradients("cpu", function, *args)
    for a, b in zip(plain, cpu, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(a).max())


@pytest.mark.parametrize("size", [(5, 6), (13, 14)])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [(1, 1, 0), (1, 2, 0), (3, 1, 1), (3, 2, 1), (4, 2, 1), (4, 1, 1), (7, 2, 3)],
)
def test_convolution_forms_agree(size, kernel, stride, padding):
    both_forms_agree(
        lambda x, k: ops.conv2d(x, k, stride, padding),
        normal(0, 2, *size, 3),
        normal(1, kernel, kernel, 3, 5),
    )


@pytest.mark.parametrize("size", [(1, 1), (3, 4), (9, 10)])
def test_transposed_convolution_forms_agree(size):
    both_forms_agree(ops.conv2d_transpose, normal(0, 2, *size, 3), normal(1, 4, 4, 3, 5))


def test_gradient_of_a_transposed_convolution_is_one_that_gpus_have_a_program_for():
    def loss(x, kernel):
        return jnp.sum(ops.conv2d_transpose(x, kernel, cpu=False) ** 2)

    arrays = normal(0, 2, 16, 16, 3), normal(1, 4, 4, 3, 5)
    program = jax.jit(jax.grad(loss, (0, 1))).trace(*arrays).lower(lowering_platforms=("cuda",))
    of = [line for line in program.as_text().splitlines() if "stablehlo.convolution" in line]
    # JAX's own gradient of the kernel slides the picture over a picture with zeros between.
    dilated = ["lhs_dilate = [2, 2]" in line for line in of]
    assert dilated == [True, False, False]


@pytest.mark.parametrize("size", [(7, 8), (10, 9)])
def test_pooling_and_resizing_forms_agree(size):
    x = normal(0, 2, *size, 3)
    both_forms_agree(ops.max_pool, x)
    both_forms_agree(lambda x: ops.resize_bilinear(x, (21, 17)), x)
    both_forms_agree(lambda x: ops.resize_nearest(x, (2 * size[0], 2 * size[1] - 1)), x)


@pytest.mark.parametrize("form", ["cpu", "plain"])
def test_padding_of_strided_convolutions_is_symmetric(form):
    # SAME would pad 4 pixels by (0, 1) only and sum the windows 123 and 34.
    x = jnp.arange(1.0, 5.0).reshape(1, 1, 4, 1)
    kernel = jnp.zeros((3, 3, 1, 1)).at[1].set(1.0)
    with use_form(form):
        y = ops.conv2d(x, kernel, 2, 1)
    np.testing.assert_allclose(y.reshape(-1), [1 + 2, 2 + 3 + 4])


@pytest.mark.parametrize("form", ["cpu", "plain"])
def test_transposed_convolution_by_hand(form):
    # out[2 i + a - 1] += x[i] * k[a]; the kernel is not flipped.
    x = jnp.array([1.0, 10.0]).reshape(1, 1, 2, 1)
    kernel = jnp.zeros((4, 4, 1, 1)).at[1, :, 0, 0].set(jnp.array([1.0, 2.0, 3.0, 4.0]))
    with use_form(form):
        y = ops.conv2d_transpose(x, kernel)
    np.testing.assert_allclose(y[0, 0, :, 0], [2, 3 + 10, 4 + 20, 30])
    np.testing.assert_allclose(y[0, 1], 0)


@pytest.mark.parametrize("form", ["cpu", "plain"])
def test_resizing_by_hand(form):
    x = jnp.array([0.0, 3.0, 9.0]).reshape(1, 1, 3, 1)
    with use_form(form):
        line = ops.resize_bilinear(x, (1, 5)).reshape(-1)
        near = ops.resize_nearest(x, (1, 5)).reshape(-1)
    np.testing.assert_allclose(line, [0, 1.5, 3, 6, 9], rtol=1e-6)
    np.testing.assert_allclose(near, [0, 0, 3, 3, 9])


@pytest.mark.parametrize("form", ["cpu", "plain"])
def test_pooling_by_hand(form):
    x = -jnp.arange(1.0, 6.0).reshape(1, 1, 5, 1)  # padding never wins over negative numbers
    with use_form(form):
        y = ops.max_pool(x)
    np.testing.assert_allclose(y.reshape(-1), [-1, -2, -4])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_equal_maxima_share_the_gradient(dtype):
    with use_form("cpu"):
        gradient = jax.grad(lambda x: ops.max_pool(x).sum())(jnp.ones((1, 4, 1, 1), dtype))
    # Windows over pixels (0, 1) and (1, 2, 3).
    want = [1 / 2, 1 / 2 + 1 / 3, 1 / 3, 1 / 3]
    np.testing.assert_allclose(gradient.reshape(-1).astype(jnp.float32), want, rtol=1e-2)


def test_batch_norm_keeps_nine_tenths_of_the_old_average():
    x = normal(0, 4, 3, 3, 2) + 5
    net = layers.ConvNorm(2, 1)
    variables = net.init(jax.random.key(0), x, True)
    kernel = variables["params"]["conv"]["kernel"][0, 0]
    _, new = net.apply(variables, x, True, mutable=["batch_stats"])
    stats = new["batch_stats"]["norm"]
    np.testing.assert_allclose(stats["mean"], 0.1 * (x @ kernel).mean((0, 1, 2)), rtol=1e-4)
    var = 0.9 + 0.1 * (x @ kernel).var((0, 1, 2))  # biased, where torch divides by n - 1
    np.testing.assert_allclose(stats["var"], var, rtol=1e-4)


def test_rows_count_in_the_statistics_as_they_are_told():
    """Rows that count 2, 0 and 1 are a batch in which the first stands twice and the second not."""
    x = np.array(normal(0, 3, 4, 5, 2) + 3)
    x[1] = 1e3
    x = jnp.asarray(x)
    norm = layers.BatchNorm()
    variables = norm.init(jax.random.key(0), x, True)

    def run(x, counts=None):
        return norm.apply(variables, x, True, counts, mutable=["batch_stats"])

    got, new = run(x, jnp.array([2.0, 0.0, 1.0]))
    want, old = run(x[np.array([0, 0, 2])])
    np.testing.assert_allclose(got[np.array([0, 0, 2])], want, rtol=1e-4, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), new, old)
    # A row that does not count may hold anything.
    got, new = run(x.at[1].set(1e30), jnp.array([2.0, 0.0, 1.0]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), new, old)
    # Where no row counts, the running statistics serve and stay.
    got, new = run(x, jnp.zeros(3))
    jax.tree.map(np.testing.assert_array_equal, new["batch_stats"], variables["batch_stats"])
    np.testing.assert_allclose(got, norm.apply(variables, x, False), rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "counts", "enough"),
    [
        ((1, 1, 1, 2), None, False),
        ((2, 1, 1, 2), None, True),
        ((1, 2, 1, 2), None, True),
        ((3, 1, 1, 2), (0.0, 4.0, 0.0), False),
        ((3, 1, 1, 2), (0.0, 4.0, 0.5), True),
        ((3, 1, 2, 2), (0.0, 4.0, 0.0), True),
        ((3, 1, 2, 2), (0.0, 0.0, 0.0), False),
    ],
)
def test_a_value_alone_is_normalised_by_the_running_statistics(shape, counts, enough):
    x = np.linspace(-2, 3, np.prod(shape), dtype=np.float32).reshape(shape)
    norm = layers.BatchNorm()
    running = {"mean": np.array([1.0, -2.0], np.float32), "var": np.array([4.0, 9.0], np.float32)}
    variables = {"params": {"scale": jnp.array([2.0, 3.0]), "bias": jnp.array([0.5, -0.5])}}
    variables["batch_stats"] = running
    weights = np.ones(shape[0]) if counts is None else np.array(counts)

    def run(x):
        told = None if counts is None else jnp.asarray(weights, jnp.float32)
        return norm.apply(variables, x, True, told, mutable=["batch_stats"])

    got, new = jax.jit(run)(x)
    mean, var = running["mean"], running["var"]
    if enough:
        share = np.broadcast_to(weights[:, None, None, None], shape)
        mean = np.average(x, axis=(0, 1, 2), weights=share)
        var = np.average((x - mean) ** 2, axis=(0, 1, 2), weights=share)
    want = (x - mean) / np.sqrt(var + 1e-5) * [2.0, 3.0] + [0.5, -0.5]
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
    for name, value in {"mean": mean, "var": var}.items():
        moved = 0.9 * running[name] + 0.1 * value
        np.testing.assert_allclose(new["batch_stats"][name], moved, rtol=1e-4)
    # Where a value is alone, its gradient is that of a straight line and not 0.
    if not enough:
        gradient = jax.grad(lambda x: jnp.sum(run(x)[0][..., 0]))(jnp.asarray(x))
        np.testing.assert_allclose(gradient[..., 0], 2.0 / np.sqrt(4.0 + 1e-5), rtol=1e-5)


@pytest.mark.parametrize("rows", [1, 2])
def test_no_part_of_the_parser_stays_untaught_by_a_row_alone(rows):
    """Global pooling leaves one value of each channel of a row."""
    parser = BiSeNet(5, width=0.125)
    x = normal(3, 3, 64, 64, 3)
    variables = init(parser, x)
    counts = jnp.asarray(np.arange(3) < rows, jnp.float32)

    @jax.jit
    def gradient(params):
        def loss(params):
            system = System(depth=parser)
            batch = {
                "image": x, "depth": x[..., :1], "has_depth": counts > 0,
                "frame": jnp.ones(x.shape[:3], bool), "label": jnp.zeros(x.shape[:3], jnp.int32),
            }  # fmt: skip
            stats = {"depth": variables["batch_stats"]}
            out, _ = forward(system, {"depth": params}, stats, batch, jax.random.key(0), ["depth"])
            return sum(jnp.sum(head[:rows] ** 2) for head in out.real)

        return jax.grad(loss)(params)

    found = gradient(variables["params"])["context"]
    pooled = (found["average"], found["arm16"]["gate"], found["arm32"]["gate"])
    for kernel in (part["conv"]["kernel"] for part in pooled):
        assert np.abs(kernel).max() > 1e-3


def test_the_smallest_picture_that_is_judged_has_a_patch():
    def patches(side):
        image, depth = jnp.zeros((1, side, side, 3)), jnp.zeros((1, side, side, 1))
        judge = PatchGAN(8).init_with_output
        return jax.eval_shape(lambda key: judge(key, image, depth), jax.random.key(0))[0].size

    assert patches(SMALLEST_JUDGED) == 1
    assert patches(SMALLEST_JUDGED - 1) == 0


@pytest.mark.parametrize(
    ("backbone", "size"), [(18, (48, 80)), (18, (65, 97)), (34, (33, 64)), (50, (40, 31))]
)
def test_parser_gives_three_maps_at_input_size(backbone, size):
    net = BiSeNet(7, backbone, width=0.25)
    x = normal(0, 2, *size, 1)
    variables = init(net, x)
    heads = jax.jit(net.apply)(variables, x)
    assert [head.shape for head in heads] == [(2, *size, 7)] * 3
    assert all(np.isfinite(head).all() for head in heads)
    assert set(variables["params"]) == {
        "backbone",
        "context",
        "fusion",
        "head",
        "head16",
        "head32",
    }


def count(net, *inputs):
    shapes = jax.eval_shape(net.init, jax.random.key(0), *inputs)["params"]
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def test_parameter_counts():
    image, depth = jnp.zeros((1, 256, 256, 3)), jnp.zeros((1, 256, 256, 1))
    # The trunk alone is torchvision's ResNet without its classifier.
    trunks = {18: 11_689_512 - 513_000, 34: 21_797_672 - 513_000, 50: 25_557_032 - 2_049_000}
    for backbone, expected in trunks.items():
        shapes = jax.eval_shape(BiSeNet(19, backbone).init, jax.random.key(0), image)["params"]
        leaves = jax.tree.leaves(shapes["backbone"])
        assert sum(leaf.size for leaf in leaves) == expected
    # pix2pix prints 54.414 M for 3 output channels, without the biases of the two
    # convolutions that have no norm, and 2.769 M for 6 input channels.
    assert count(UNet(8), image) == 54_413_955 - 2 * (16 * 128 + 1) + 64 + 512
    assert count(PatchGAN(), image, depth) == 2_768_705 - 2 * 16 * 64


def test_unknown_backbone():
    with pytest.raises(ValueError, match=r"\[18, 34, 50\]"):
        BiSeNet(7, 101).init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))


def test_width_rounds_channels_to_multiples_of_eight():
    shapes = jax.eval_shape(
        BiSeNet(7, width=0.3).init, jax.random.key(0), jnp.zeros((1, 32, 32, 3))
    )["params"]
    assert shapes["backbone"]["stem"]["conv"]["kernel"].shape[-1] == 16  # 19.2
    assert shapes["fusion"]["mix"]["conv"]["kernel"].shape[-1] == 80  # 76.8


def test_bfloat16_keeps_parameters_statistics_and_outputs_in_float32():
    image, depth = normal(0, 2, 32, 32, 3), normal(1, 2, 32, 32, 1)
    for net, inputs in (
        (BiSeNet(5, width=0.125, dtype=jnp.bfloat16), (image,)),
        (UNet(3, 8, dtype=jnp.bfloat16), (image,)),
        (PatchGAN(8, dtype=jnp.bfloat16), (image, depth)),
    ):
        variables = init(net, *inputs)
        trained = jax.eval_shape(
            functools.partial(net.apply, train=True, mutable=["batch_stats"]), variables, *inputs
        )
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((variables, trained)))
        # The arithmetic is bfloat16: not the float32 network's numbers, but close to them.
        got = jax.tree.leaves(jax.jit(net.apply)(variables, *inputs))[0]
        want = jax.tree.leaves(jax.jit(net.clone(dtype=jnp.float32).apply)(variables, *inputs))[0]
        assert 0 < np.abs(got - want).max() < 0.05 * np.abs(want).max()


def test_whole_networks_agree_in_both_forms():
    # In float64: batches of few values, whose BatchNorm spreads the rounding errors of float32
    # differently on every processor.
    with jax.enable_x64(True):
        image = normal(0, 2, 32, 48, 3)
        nets = (
            BiSeNet(5, width=0.125, dtype=jnp.float64),
            UNet(3, 8, dtype=jnp.float64),
        )
        for net in nets:
            variables = jax.tree.map(np.float64, init(net, image))

            def run(params, net=net, variables=variables):
                out, _ = net.apply(
                    {**variables, "params": params}, image, train=True, mutable=["batch_stats"]
                )
                return jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(out)])

            plain, cpu = (
                value_and_gradients(form, run, variables["params"]) for form in ("plain", "cpu")
            )
            for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(cpu), strict=True):
                np.testing.assert_allclose(a, b, rtol=0, atol=1e-6 * np.abs(a).max() + 1e-7)


def test_levels_follow_the_size():
    sizes = {1: 0, 2: 1, 48: 4, 112: 4, 128: 7, 256: 8, 448: 6, 512: 8, 1024: 8, 97: 0}
    assert {size: unet_levels(size) for size in sizes} == sizes


@pytest.mark.parametrize(("levels", "size"), [(1, (2, 4)), (4, (32, 48)), (6, (64, 64))])
def test_translator_keeps_the_size_and_the_range(levels, size):
    net = UNet(levels, features=8)
    x = 100 * normal(0, 2, *size, 3)
    variables = init(net, x)
    y = jax.jit(net.apply)(variables, x)
    assert y.shape == (2, *size, 1)
    assert np.abs(y).max() <= 1
    # No norm at the input nor at the bottleneck.
    downs = {name for name in variables.get("batch_stats", {}) if name.startswith("norm_down")}
    assert downs == {f"norm_down{i}" for i in range(1, levels - 1)}


def test_translator_refuses_sizes_that_do_not_halve():
    with pytest.raises(ValueError, match="divide by 16"):
        UNet(4).init(jax.random.key(0), jnp.zeros((1, 32, 40, 3)))


def test_dropout_acts_in_training_only():
    net = UNet(3, features=8, dropout=0.5)
    x = normal(0, 1, 16, 16, 3)
    variables = init(net, x)

    @jax.jit
    def train(key):
        return net.apply(variables, x, train=True, mutable=["batch_stats"], rngs={"dropout": key})[
            0
        ]

    assert np.array_equal(train(jax.random.key(1)), train(jax.random.key(1)))
    assert not np.array_equal(train(jax.random.key(1)), train(jax.random.key(2)))
    assert np.isfinite(net.apply(variables, x)).all()


def test_a_patch_is_seventy_pixels_wide():
    net = PatchGAN(features=8)
    image, depth = jnp.zeros((1, 128, 128, 3)), jnp.zeros((1, 128, 128, 1))
    variables = init(net, image, depth)

    @jax.jit
    def seen(depth):
        return jax.grad(lambda d: net.apply(variables, image, d)[0, 7, 7, 0])(depth)

    gradient = np.abs(seen(depth + normal(0, 1, 128, 128, 1)))[0, :, :, 0]
    for axis in (0, 1):
        touched = np.flatnonzero(gradient.sum(axis))
        assert touched[-1] - touched[0] + 1 == 70
    assert net.apply(variables, image, depth).shape == (1, 14, 14, 1)
