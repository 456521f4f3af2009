"""The projected family: what an image depends on, the logits, and second derivatives."""

from __future__ import annotations

import copy
import functools
import hashlib

import pytest
import torch
import torch.nn.functional as F

from catgan.config import load_recipe
from catgan.network_config import ProjectedConfig
from catgan.networks.build import build_discriminator, build_generator, pixel_range
from catgan.networks.layers.filters import convolve_each, filtered_pixel_shuffle, smooth
from catgan.networks.projected import discriminator as discriminator_module
from catgan.networks.projected import generator as projected
from catgan.training.losses import gradient_penalty

LATENT_SIZE = 24


def generator_of(resolution=64, channels=16, maximum_channels=64, seed=0):
    torch.manual_seed(seed)
    config = ProjectedConfig(
        resolution,
        latent_size=LATENT_SIZE,
        channels=channels,
        maximum_channels=maximum_channels,
    )
    reals = torch.randn(64, 3, resolution, resolution).mul_(0.4).clamp_(-1, 1)
    return build_generator(config, [reals]).to(memory_format=torch.channels_last)


@pytest.fixture(scope="module")
def generator(processor):
    """A generator with batch statistics as after training."""
    generator = generator_of()
    with torch.no_grad():
        for _ in range(40):
            generator(torch.randn(32, LATENT_SIZE))
    return generator.eval()


@pytest.fixture(scope="module")
def discriminator(processor):
    torch.manual_seed(0)
    config = ProjectedConfig(64, feature_resolution=128)
    return build_discriminator(config, lambda: torch.rand(6, 3, 64, 64) * 2 - 1, torch.float32)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(1)


# -- refinements -------------------------------------------------------------------------------


def refined(generator, resolution, refinements=1, channels=16):
    """Return `generator` with `refinements` on top, with the same weights."""
    config = ProjectedConfig(
        resolution,
        latent_size=LATENT_SIZE,
        channels=channels,
        maximum_channels=64,
        refinements=refinements,
    )
    new = build_generator(config).to(memory_format=torch.channels_last)
    new.load_state_dict(new.state_dict() | generator.state_dict())
    return new


def enlarged(images, times=1):
    """Upsample before tanh, where contributions are added, by torch's bicubic interpolation."""
    before = images.double().atanh()
    for _ in range(times):
        before = F.interpolate(before, scale_factor=2, mode="bicubic")
    return before.tanh().float()


@torch.no_grad()
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("base", [32, 64, 128])  # eigenfaces of 8, 16 and 32 pixels a side
def test_new_refinements_upsample_the_images(base, training):
    source = generator_of(base)
    for _ in range(10):
        source(torch.randn(16, LATENT_SIZE))
    source.calibrate(torch.randn(64, LATENT_SIZE))
    z = torch.randn(4, LATENT_SIZE)
    for times in range(1, (256 // base).bit_length()):
        doubled = refined(source, base * 2**times, times).train(training)
        expected = enlarged(copy.deepcopy(source).train(training)(z), times)
        torch.testing.assert_close(doubled(z), expected, atol=1e-5, rtol=0)
    assert expected.std(0).mean() > 0.02


@torch.no_grad()
def test_a_refined_generator_can_be_refined_again():
    once = refined(generator_of(32), 64)
    torch.nn.init.normal_(once.refinements[0].to_rgb.weight, 0, 0.1)
    z = torch.randn(4, LATENT_SIZE)
    twice = refined(once, 128, 2).eval()
    once.eval()
    torch.testing.assert_close(twice(z), enlarged(once(z)), atol=1e-5, rtol=0)
    assert twice.refinements[1].to_rgb.in_channels == 4  # 16 halved twice
    assert not torch.allclose(twice(z), enlarged(refined(generator_of(32), 64).eval()(z), 1))


def test_zero_initialized_refinements_learn_details():
    generator = refined(generator_of(32), 64)
    teacher = copy.deepcopy(generator)
    torch.nn.init.normal_(teacher.refinements[0].to_rgb.weight, 0, 0.1)
    z = torch.randn(8, LATENT_SIZE)
    target = teacher(z).detach()
    optimizer = torch.optim.Adam(generator.refinements.parameters(), 0.02)
    losses = []
    for _ in range(20):
        loss = F.mse_loss(generator(z), target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    assert all(weight.grad.abs().max() > 0 for weight in generator.refinements.parameters())


@torch.no_grad()
def test_new_refinements_upsample_the_images_in_bfloat16(bfloat16):
    source = generator_of(32).eval()
    z = torch.randn(4, LATENT_SIZE)
    with torch.autocast("cpu", torch.bfloat16):
        doubled, expected = refined(source, 64).eval()(z), enlarged(source(z))
    torch.testing.assert_close(doubled, expected, atol=1e-5, rtol=0)


def test_refinements_do_not_change_other_initial_weights():
    torch.manual_seed(3)
    plain = build_generator(ProjectedConfig(32, LATENT_SIZE, 8, 16)).state_dict()
    torch.manual_seed(3)
    config = ProjectedConfig(64, LATENT_SIZE, 8, 16, refinements=1)
    state = build_generator(config).state_dict()
    for name, tensor in plain.items():
        assert torch.equal(state.pop(name), tensor), name
    assert all(name.startswith("refinements.0.") for name in state)


# Of a new generator of 64 px with 96 channels, seed 5, from before refinements existed.
FRESH_LISTING = "d09924bd32ffdf7ee31b50e40454b71ecb92daf217396085093485d4fb14f2cc"
FRESH_SUMS = {
    "constant": -40.7531,
    "gain.weight": -19.2579,
    "z_projection.weight": 38.6677,
    "blocks.0.convolution.weight": 10.4529,
    "blocks.1.noise.strength": -2.355,
    "blocks.2.gain.weight": -21.6228,
    "to_rgb.weight": 0.87,
    "to_rgb.bias": 0.0257,
}
FRESH_NEXT = 0.9723650217056274  # the next random number


def test_initial_weights_of_a_seed_never_change():
    """Names, shapes and the order of random numbers must never change."""
    torch.manual_seed(5)
    generator = build_generator(ProjectedConfig(64, 256, 96, 384))
    listing = "".join(f"{name} {tuple(x.shape)}\n" for name, x in generator.state_dict().items())
    assert hashlib.sha256(listing.encode()).hexdigest() == FRESH_LISTING
    sums = {name: float(x.detach().double().sum()) for name, x in generator.named_parameters()}
    for name, expected in FRESH_SUMS.items():  # the last bits depend on the processor
        assert sums[name] == pytest.approx(expected, abs=1e-3), name
    assert float(torch.rand(1)) == pytest.approx(
        FRESH_NEXT, abs=1e-6
    )  # as many random numbers as ever


# -- the generator ---------------------------------------------------------------------------------


@pytest.mark.parametrize("resolution", [32, 64, 128, 256])
def test_initial_images_have_the_resolution_and_the_pixel_range(resolution):
    images = generator_of(resolution)(torch.randn(4, LATENT_SIZE))
    assert pixel_range(ProjectedConfig(resolution)) == (-1, 1)
    assert images.shape == (4, 3, resolution, resolution)
    assert torch.isfinite(images).all()
    assert (images.abs() < 0.9).float().mean() > 0.7  # tanh is not saturated
    assert images.std() > 0.02


@torch.no_grad()
@pytest.mark.parametrize("name", ["projected-128", "transfer"])
def test_generator_and_discriminator_of_every_recipe_fit(name):
    network = load_recipe(name).network
    generator = build_generator(network)
    images = generator(torch.randn(2, network.latent_size))
    assert images.shape == (2, 3, network.resolution, network.resolution)
    discriminator = build_discriminator(network, lambda: torch.rand_like(images), torch.float32)
    assert discriminator(discriminator.features(images)).shape == (2, 4, 16)
    assert sum(weight.numel() for weight in generator.parameters()) < 5e6  # 10 MB as float16


@torch.no_grad()
def test_an_image_depends_only_on_its_own_z(generator):
    z = torch.randn(6, LATENT_SIZE)
    images = generator(z)
    changed = z.clone()
    changed[2] = torch.randn(LATENT_SIZE)
    others = generator(changed)
    # A kernel may round differently at another position in a batch: float32 has a relative error
    # of 1e-7 on numbers below 10, through a dozen layers.
    same = functools.partial(torch.testing.assert_close, rtol=0, atol=1e-5)
    same(images[[0, 1, 3, 4, 5]], others[[0, 1, 3, 4, 5]])
    assert (images[2] - others[2]).abs().mean() > 0.01
    order = [3, 1, 5, 0, 2, 4]
    same(generator(z[order]), images[order])
    for batch in (z[:1], z[:4]):
        same(generator(batch), images[: len(batch)])


@torch.no_grad()
def test_all_images_depend_on_the_learned_map(generator):
    z = torch.randn(64, LATENT_SIZE)
    images = generator(z)
    generator.constant.data.mul_(-1)
    assert (generator(z) - images).abs().mean() > 0.01
    generator.constant.data.mul_(-1)


@torch.no_grad()
def test_only_the_direction_of_z_matters(generator):
    z = torch.randn(3, LATENT_SIZE)
    for factor in (0.1, 7.0, 1e4):
        torch.testing.assert_close(generator(factor * z), generator(z), rtol=0, atol=1e-4)
    assert (generator(-z) - generator(z)).abs().mean() > 0.01
    assert torch.isfinite(generator(torch.zeros(1, LATENT_SIZE))).all()


@torch.no_grad()
def test_every_gain_depends_only_on_z(generator):
    gains = [module for module in generator.modules() if isinstance(module, projected._Gain)]
    assert len(gains) == 1 + len(generator.blocks)
    z = torch.randn(64, LATENT_SIZE)
    z /= z.square().mean(1, keepdim=True).sqrt()
    for gain in gains:
        found = {}

        def remember(_, inputs, output, found=found):
            found["x"], found["y"] = inputs[0], output

        with gain.register_forward_hook(remember):
            generator(z[:2])
        x = torch.ones_like(found["x"][:1]).expand(len(z), -1, -1, -1)
        factors = gain(x, z)
        assert torch.equal(factors, factors[:, :, :1, :1].expand_as(factors))
        deviation = factors[:, :, 0, 0].std(0)
        assert deviation.min() > 0.3
        assert deviation.max() < 3
        assert factors.mean().item() == pytest.approx(1, abs=0.2)


@torch.no_grad()
def test_noise_maps_depend_on_the_direction_of_z_only(generator):
    z = torch.randn(64, LATENT_SIZE)
    other = generator_of(seed=5)
    sides = []
    for block, another in zip(generator.blocks, other.blocks, strict=True):
        noise = block.noise
        assert torch.equal(noise.maps, another.noise.maps)
        assert torch.equal(noise.mixing, another.noise.mixing)
        assert not torch.equal(noise.strength, another.noise.strength)
        side = int(noise.maps.shape[1] ** 0.5)
        sides.append(side)
        x = torch.zeros(64, len(noise.strength), side, side)
        added = noise(x, z)
        own = added / noise.strength
        torch.testing.assert_close(noise(x, 0.2 * z), added, rtol=0, atol=1e-5)
        torch.testing.assert_close(own, own[:, :1].expand_as(own), rtol=1e-4, atol=1e-4)
        assert own[:, 0].std().item() == pytest.approx(1, abs=0.15)
        # No lines: pixels are uncorrelated at every distance.
        map_ = own[:, 0]
        for shift in (1, 2, 3):
            for dim in (1, 2):
                agreement = (map_ * map_.roll(shift, dim)).mean() / map_.square().mean()
                assert agreement.abs() < 0.2
        assert (own[0] - own[1]).abs().mean() > 0.3
        shifted = noise(x + 1, z)
        torch.testing.assert_close(shifted, added + 1)
    assert sides == [8, 16, 32]


@torch.no_grad()
@pytest.mark.parametrize(
    ("filtered", "line", "passing"),  # and the fraction of lines of 4 pixels' period that passes
    [
        (lambda x: convolve_each(x, projected.GRID_FILTER), projected.GRID_FILTER, 0.75),
        (smooth, (0.25, 0.5, 0.25), 0.5),
    ],
)
def test_filters_block_the_finest_grid_and_keep_constants(filtered, line, passing):
    flat = torch.full((2, 3, 16, 16), 0.7)
    torch.testing.assert_close(filtered(flat), flat)
    columns = torch.ones(2, 3, 16, 16)
    columns[..., ::2] = -1
    inside = (..., slice(2, -2), slice(2, -2))
    for grid in (columns, columns.mT, columns * columns.mT):
        assert filtered(grid)[inside].abs().max() < 1e-6
    wide = torch.tensor([1.0, 0, -1, 0]).repeat(4).expand(2, 3, 16, 16)
    torch.testing.assert_close(filtered(wide)[inside], passing * wide[inside])
    x = torch.randn(1, 1, 7, 7)
    weights, reach = torch.outer(*2 * [torch.tensor(line)]), len(line) // 2
    window = x[0, 0, 3 - reach : 4 + reach, 3 - reach : 4 + reach]
    middle = filtered(x.expand(1, 3, 7, 7))[0, :, 3, 3]
    torch.testing.assert_close(middle, (window * weights).sum().expand(3))


def test_filtered_pixel_shuffle_equals_torch_and_its_gradient():
    """Except for the order of channels."""
    channels, side = 3, 5
    maps = torch.randn(2, 4 * channels, side, side, dtype=torch.double, requires_grad=True)
    line = (-0.1, 0.3, 0.6, 0.3, -0.1)
    order = torch.arange(4 * channels).view(4, channels).T.flatten()  # theirs: (C, row, column)
    theirs = convolve_each(F.pixel_shuffle(maps[:, order], 2), line)
    ours = filtered_pixel_shuffle(maps, line)
    torch.testing.assert_close(ours, theirs)
    weights = torch.randn(2, channels, 2 * side, 2 * side, dtype=torch.double)
    gradients = [torch.autograd.grad(x, maps, weights)[0] for x in (ours, theirs)]
    torch.testing.assert_close(*gradients)


def test_pixel_shuffle_without_a_filter_only_moves_pixels():
    maps = torch.randn(2, 4 * 3, 6, 6)
    images = filtered_pixel_shuffle(maps, (1.0,))
    for row in range(2):
        for column in range(2):
            first = (2 * row + column) * 3
            assert torch.equal(images[:, :, row::2, column::2], maps[:, first : first + 3])


def test_smoothing_is_its_own_adjoint_to_the_border():
    x = torch.randn(2, 3, 5, 4, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(smooth, x)
    assert torch.autograd.gradgradcheck(smooth, x)


def test_pixels_are_finer_than_bfloat16_under_autocast(bfloat16, generator):
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        images = generator(torch.randn(2, LATENT_SIZE))
    assert images.dtype == torch.float32
    assert (images != images.bfloat16()).float().mean() > 0.5


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_every_weight_of_the_generator_gets_a_gradient(generator, precision, request):
    if precision == torch.bfloat16:
        request.getfixturevalue("bfloat16")
    generator.zero_grad()
    z = torch.randn(4, LATENT_SIZE)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        images = generator(z)
    images.float().square().sum().backward()
    for name, parameter in generator.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


@torch.no_grad()
def test_blocks_upsample_bilinearly():
    """Except at the border, where one repeats maps and the other images."""
    torch.manual_seed(0)
    block = projected._UpBlock(3, 5, 16, 32)
    block.norm = torch.nn.Identity()
    block.noise.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    seen, x = [], torch.randn(2, 3, 16, 16)
    block(x, torch.randn(2, 16), torch.zeros(2, 3, 32, 32))
    large = F.interpolate(x, scale_factor=2, mode="bilinear")
    expected = F.conv2d(large, block.convolution.weight, padding=1)
    torch.testing.assert_close(seen[0][..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2])


# -- the discriminator -----------------------------------------------------------------------------


@torch.no_grad()
def test_logits_have_four_heads_and_sixteen_positions_per_image(discriminator):
    images = torch.rand(4, 3, 64, 64) * 2 - 1
    logits = discriminator(discriminator.features(images))
    assert logits.shape == (4, 4, 16)
    assert logits.std(0).min() > 1e-5
    changed = images.clone()
    changed[1] = -changed[1]
    others = discriminator(discriminator.features(changed))
    torch.testing.assert_close(logits[[0, 2, 3]], others[[0, 2, 3]], rtol=1e-4, atol=1e-4)
    assert ((logits[1] - others[1]).abs() > 1e-4).float().mean() > 0.9


@torch.no_grad()
def test_each_head_sees_all_of_its_own_map_only(discriminator):
    maps = [torch.randn_like(x) for x in discriminator.features(torch.rand(1, 3, 64, 64))]
    logits = discriminator(maps)
    for level, x in enumerate(maps):
        for place in ((0, 0), (-1, -1), (x.shape[2] // 2, 1)):
            poked = [y.clone() for y in maps]
            poked[level][0, :, *place] += 3
            changed = (discriminator(poked) != logits)[0].any(1).tolist()
            assert changed == [index == level for index in range(4)]


def test_only_the_heads_are_trained(discriminator):
    names = [name for name, _ in discriminator.named_parameters()]
    assert names
    assert all(name.startswith("heads.") for name in names)
    saved = discriminator.state_dict()
    assert not any(name.startswith("projection.network") for name in saved)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("side", [128, 256])
def test_heads_fit_the_maps_of_both_feature_resolutions(side, precision, request):
    if precision == torch.bfloat16:
        request.getfixturevalue("bfloat16")
    config = ProjectedConfig(64, feature_resolution=side)
    network = build_discriminator(config, lambda: torch.rand(2, 3, 64, 64), precision)
    images = torch.rand(2, 3, 64, 64, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        logits = network(network.features(images))
    logits.float().sum().backward()
    assert logits.shape == (2, 4, 16)
    assert torch.isfinite(images.grad).all()
    assert images.grad.abs().sum() > 0


def test_the_penalty_equals_finite_differences():
    head = discriminator_module._Head(6, 8).double()
    x = torch.randn(2, 6, 8, 8, dtype=torch.double)
    penalty = gradient_penalty(lambda seen: head(seen[0]), [x]).item()
    step, squares = 1e-6, 0.0
    with torch.no_grad():
        for image in x:
            pokes = step * torch.eye(image.numel(), dtype=torch.double).view(-1, *image.shape)
            slopes = (head(image + pokes) - head(image - pokes)).sum(1) / (2 * step)
            squares += slopes.square().sum().item()
    assert penalty == pytest.approx(squares / 2, rel=1e-5)


def test_the_gradient_of_the_penalty_equals_finite_differences(discriminator):
    heads = discriminator.heads.double()
    seen = discriminator.features(torch.rand(2, 3, 64, 64))
    maps = [torch.randn_like(x).double().requires_grad_() for x in seen]

    def penalty():  # in float64, without a graph
        gradients = torch.autograd.grad(discriminator(maps).sum(), maps)
        return sum(gradient.square().sum().item() for gradient in gradients) / 2

    weights = [parameter for parameter in heads.parameters() if parameter.dim() > 1]
    value = gradient_penalty(discriminator, maps)
    assert value.item() == pytest.approx(penalty(), rel=1e-5)
    gradients = torch.autograd.grad(value, weights)
    step = 1e-10  # small enough that hardly any unit crosses its kink
    for weight, gradient in zip(weights, gradients, strict=True):
        direction = torch.randn_like(weight)
        start = weight.detach().clone()
        weight.data = start + step * direction
        above = penalty()
        weight.data = start - step * direction
        below = penalty()
        weight.data = start
        slope = (above - below) / (2 * step)
        tolerance = 0.01 * gradient.norm().item()  # the slope is about as large
        assert (gradient * direction).sum().item() == pytest.approx(slope, abs=tolerance)
    heads.float()
