"""The denoising task: networks, noise, patches, tiles, files, and the command from end to end."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("skimage", reason='the tasks need pip install -e ".[tasks]"')
pytest.importorskip("sklearn")

import minidl as md
from tasks import grids, tiles
from tasks.denoise import DnCNN, LectureDenoiser, baselines, data, evaluate, inference, report, train
from tasks.denoise.picture import Picture

MODELS = {"lecture": LectureDenoiser, "dncnn": DnCNN}


def parameters(model):
    return sum(p.size for p in model.parameters())


def randomised(model, rng):
    """The model with weights and statistics that make its output far from its input."""
    for p in model.parameters():
        p.data = (0.3 * rng.standard_normal(p.shape)).astype(np.float32)
    for name, buffer in model.named_buffers():
        if "running" in name:
            buffer[...] = rng.uniform(0.5, 1.5, buffer.shape)
    return model.eval()


# --- networks


def test_numbers_of_parameters():
    # conv 1->64, twice 64->64, 64->1, and scale and shift of three batch norms
    assert parameters(LectureDenoiser()) == 9 * 64 + 2 * 9 * 64 * 64 + 9 * 64 + 3 * 2 * 64
    assert parameters(DnCNN()) == 556_096  # the published count
    assert parameters(LectureDenoiser(channels=3)) - parameters(LectureDenoiser()) == 2 * 2 * 9 * 64


def test_names_of_parameters_and_which_convolutions_have_a_bias():
    assert [name for name in LectureDenoiser().state_dict() if name.endswith("weight")] == [
        f"main.{i}.weight" for i in (0, 1, 3, 4, 6, 7, 9)
    ]
    convolutions = [m for m in DnCNN(depth=5, width=4).dncnn.children() if isinstance(m, md.nn.Conv2d)]
    assert [c.bias is not None for c in convolutions] == [True, False, False, False, False]
    assert not any(c.bias is not None for c in LectureDenoiser().modules() if isinstance(c, md.nn.Conv2d))


@pytest.mark.parametrize("kind", MODELS.values())
@pytest.mark.parametrize("shape", [(2, 1, 9, 14), (1, 3, 1, 2)])
def test_any_size_is_kept_and_a_new_residual_denoiser_is_the_identity(kind, shape):
    y = md.Tensor(np.random.default_rng(0).random(shape, dtype=np.float32))
    model = kind(shape[1], width=4)
    assert np.array_equal(model(y).data, y.data)
    assert not kind(shape[1], width=4, target="clean")(y).data.any()


@pytest.mark.parametrize("kind", MODELS.values())
def test_residual_and_clean_differ_by_what_the_output_means(kind):
    rng = np.random.default_rng(0)
    residual = randomised(kind(width=4), rng)
    clean = kind(width=4, target="clean").eval()
    clean.load_state_dict(residual.state_dict())
    y = md.Tensor(rng.random((1, 1, 8, 8), dtype=np.float32))
    assert abs(clean(y).data).max() > 0.1
    np.testing.assert_allclose(residual(y).data, y.data - clean(y).data, rtol=0, atol=1e-5 * abs(clean(y).data).max())


def test_the_same_seed_gives_the_same_weights():
    first, second, other = (train.Settings(width=4, seed=s).build().state_dict() for s in (1, 1, 2))
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert not np.array_equal(first["main.3.weight"], other["main.3.weight"])


@pytest.mark.parametrize("make", [lambda: DnCNN(depth=1), lambda: LectureDenoiser(target="noise")])
def test_impossible_networks_are_refused(make):
    with pytest.raises(ValueError, match=r"depth=1|'noise' is unknown"):
        make()


# --- noise and patches


def test_noise_is_gaussian_of_that_sigma_and_not_clipped():
    noise = data.add_noise(np.zeros((400, 400), np.float32), 25, np.random.default_rng(0)) * 255
    assert noise.dtype == np.float32
    # standard errors with n = 160,000: mean 25/400, deviation 25/sqrt(2n); four of each
    assert abs(noise.mean()) < 4 * 25 / 400
    assert abs(noise.std() - 25) < 4 * 25 / np.sqrt(2 * noise.size)
    assert abs((noise**4).mean() / noise.var() ** 2 - 3) < 4 * np.sqrt(24 / noise.size)
    neighbours = (noise[:, 1:] * noise[:, :-1]).mean() / noise.var()
    assert abs(neighbours) < 4 / np.sqrt(noise.size)
    assert abs((noise < 0).mean() - 0.5) < 4 * 0.5 / 400  # nothing is cut off at black


@pytest.mark.parametrize("sigma", [5, 25, 50])
def test_the_noise_level_of_a_smooth_image_is_found(sigma):
    ramp = np.add.outer(np.linspace(0, 1, 200), np.linspace(0, 0.5, 300)).astype(np.float32)
    noisy = data.add_noise(ramp, sigma, np.random.default_rng(1))
    assert abs(data.noise_level(noisy) / sigma - 1) < 0.05


def images():
    rng = np.random.default_rng(3)
    return {"a": rng.random((30, 40), dtype=np.float32), "b": rng.random((20, 25), dtype=np.float32)}


def test_patches_depend_on_seed_and_step_only():
    first = data.Patches(images(), 16, 5, 25.0, seed=7)
    late = data.Patches(images(), 16, 5, 25.0, seed=7)
    wanted = [first(step) for step in range(3)][2]
    assert all(np.array_equal(a, b) for a, b in zip(wanted, late(2)))
    assert not np.array_equal(wanted[1], first(1)[1])
    assert not np.array_equal(wanted[1], data.Patches(images(), 16, 5, 25.0, seed=8)(2)[1])
    assert all(array.shape == (5, 1, 16, 16) and array.dtype == np.float32 for array in wanted)


def test_clean_patches_are_turned_pieces_of_the_images():
    image = np.arange(20 * 25, dtype=np.float32).reshape(20, 25)
    patches = data.Patches({"a": image}, 4, 200, 25.0, seed=0)(0)[1][:, 0]
    seen = set()
    for patch in patches:
        steps = {float(patch[1, 0] - patch[0, 0]), float(patch[0, 1] - patch[0, 0])}
        assert {abs(s) for s in steps} == {1.0, 25.0}  # neighbours stay neighbours
        seen.add((float(patch[1, 0] - patch[0, 0]), float(patch[0, 1] - patch[0, 0])))
    assert len(seen) == 8  # all symmetries of the square


def test_blind_patches_have_a_level_each():
    noisy, clean = data.Patches(images(), 16, 400, (0.0, 55.0), seed=0)(0)
    levels = (noisy - clean).std(axis=(1, 2, 3)) * 255
    assert levels.min() < 3 and 50 < levels.max() < 65
    assert abs(levels.mean() - 27.5) < 4 * 55 / np.sqrt(12 * 400)


def test_a_patch_larger_than_an_image_is_an_error_that_names_it():
    with pytest.raises(ValueError, match="patches of 21x21 do not fit into b, which is 25x20; use --patch 20"):
        data.Patches(images(), 21, 5, 25.0, seed=0)


def test_test_images_are_not_trained_on():
    assert not set(data.TEST) & set(data.TRAIN)
    for name in ("camera", "china"):
        image = data.photograph(name)
        assert image.ndim == 2 and image.dtype == np.float32 and 0 <= image.min() < image.max() <= 1


# --- tiles


@pytest.mark.parametrize("model", [LectureDenoiser(width=4), DnCNN(depth=6, width=4)], ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("shape, tile", [((37, 50), 16), ((20, 64), 20), ((7, 5), 3), ((30, 30), 64)])
def test_tiled_equals_untiled(model, shape, tile):
    rng = np.random.default_rng(5)
    model = randomised(model, rng)
    image = rng.random(shape, dtype=np.float32)
    whole = model(md.Tensor(image[None, None])).data[0, 0]
    tiled = inference.denoise(model, image, tile=tile)
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=2e-5 * abs(whole).max())


def test_one_pixel_less_of_margin_would_not_do():
    rng = np.random.default_rng(5)
    model = randomised(LectureDenoiser(width=4), rng)
    image = rng.random((40, 40), dtype=np.float32)
    whole = inference.denoise(model, image)
    model.radius -= 1
    assert abs(inference.denoise(model, image, tile=16) - whole).max() > 1e-3 * abs(whole).max()


def test_colour_goes_channel_by_channel():
    rng = np.random.default_rng(5)
    model = randomised(LectureDenoiser(width=4), rng)
    image = rng.random((3, 12, 15), dtype=np.float32)
    np.testing.assert_array_equal(inference.denoise(model, image)[1], inference.denoise(model, image[1]))


def test_many_tiles_are_alike_and_replayed(monkeypatch):
    rng = np.random.default_rng(5)
    model = randomised(LectureDenoiser(width=8), rng)
    image, seen = rng.random((75, 90), dtype=np.float32), []
    forward = model.forward
    model.forward = lambda x: seen.append(x.shape) or forward(x)
    tiled = inference.denoise(model, image, tile=9)
    assert set(seen) == {(1, 1, 9 + 8, 9 + 8)} and len(seen) < 4 < tiles.count(model, image.shape, 9) == 9 * 10
    monkeypatch.setattr(tiles, "MANY", 1000)
    np.testing.assert_allclose(inference.denoise(model, image, tile=9), tiled, rtol=0, atol=1e-6 * abs(tiled).max())
    assert len(seen) > 90


@pytest.mark.parametrize("bits", [8, 16])
def test_a_picture_in_the_numbers_of_its_file_is_denoised_as_one_in_floats(bits, tmp_path):
    rng = np.random.default_rng(5)
    model = randomised(LectureDenoiser(width=4), rng)
    Picture(rng.random((3, 40, 30), dtype=np.float32), None, bits).write(tmp_path / "a.png")
    picture = Picture.read(tmp_path / "a.png")
    assert picture.values.dtype == picture.dtype
    floats = inference.denoise(model, picture.channels, tile=16)
    how = {"prepare": picture.shares, "finish": picture.stored, "dtype": picture.dtype}
    numbers = inference.denoise(model, picture.values, tile=16, **how)
    np.testing.assert_array_equal(numbers, picture.stored(floats))
    replace(picture, values=numbers, white=picture.top).write(tmp_path / "b.png")
    Picture(floats, None, bits).write(tmp_path / "c.png")
    assert (tmp_path / "b.png").read_bytes() == (tmp_path / "c.png").read_bytes()


# --- measures, filters, table


def test_psnr_of_a_known_error_and_of_what_clipping_mends():
    clean = np.full((16, 16), 0.5, np.float32)
    assert evaluate.psnr(clean, clean + np.float32(0.1)) == pytest.approx(20, abs=1e-4)
    assert evaluate.psnr(np.ones_like(clean), np.full_like(clean, 3)) == np.inf
    assert evaluate.ssim(clean, clean) == pytest.approx(1)


def test_the_table_has_a_row_per_image_stars_the_best_and_adds_the_mean():
    results = {
        "cat": {"noisy": evaluate.Score(20, 0.3), "ours": evaluate.Score(30, 0.8)},
        "dog": {"noisy": evaluate.Score(22, 0.5), "ours": evaluate.Score(21, 0.6)},
    }
    head, cat, dog, mean = evaluate.table(results).splitlines()
    assert head.split() == ["noisy", "ours"]
    assert cat.split() == ["cat", "20.00", "0.300", "30.00*", "0.800*"]
    assert dog.split() == ["dog", "22.00*", "0.500", "21.00", "0.600*"]
    assert mean.split() == ["mean", "21.00", "0.400", "25.50*", "0.700*"]
    verdict = evaluate.verdict(results, "ours", "noisy")
    assert verdict == "in PSNR ours beats noisy on 1 of 2 images (+4.50 dB on average)"


def test_each_filter_is_tuned_to_its_best_setting_on_the_pairs():
    y, x = np.mgrid[:48, :48].astype(np.float32) / 48
    clean = ((x > 0.5) * 0.5 + 0.2 + 0.2 * y).astype(np.float32)
    pairs = [(clean, data.add_noise(clean, 25, np.random.default_rng(i))) for i in range(2)]
    calls = []
    chosen = baselines.tune(pairs, 25, lambda: calls.append(1))
    assert len(calls) == grids.trials(baselines.FILTERS)
    for name, (function, settings) in baselines.FILTERS.items():
        of = [np.mean([evaluate.psnr(c, function(n, 25, **s)) for c, n in pairs]) for s in settings]
        assert chosen[name] == settings[int(np.argmax(of))]
        assert max(of) > 24  # each of them helps: noisy is 20.2


def test_the_line_of_noisy_patches_is_where_they_are():
    for settings in (train.Settings(), train.Settings(blind=True)):
        sigma = train.BLIND if settings.blind else settings.sigma
        noisy, clean = data.Patches(images(), 16, 2000, sigma, seed=0)(0)
        measured = -10 * np.log10(np.mean((noisy - clean) ** 2))
        assert report.level(settings) == pytest.approx(measured, abs=0.2)


# --- a user's pictures


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("count, alpha", [(1, False), (1, True), (3, False), (3, True)])
def test_a_picture_is_written_as_pillow_reads_it(count, alpha, bits, tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.setattr("tasks.denoise.picture.BAND", 2 * 9 * (count + alpha))  # two lines at a time
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 2**bits, (count + alpha, 6, 9))
    planes = (levels / (2**bits - 1)).astype(np.float32)
    Picture(planes[:count], planes[-1] if alpha else None, bits).write(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as file:
        seen = np.asarray(file)
        assert file.size == (9, 6)
    kept = levels >> (bits - 8 * seen.dtype.itemsize)
    assert np.array_equal(np.atleast_3d(seen).transpose(2, 0, 1)[-count - alpha :], kept)
    again = Picture.read(tmp_path / "a.png")  # Pillow keeps the upper byte of colours of 16 bits, we keep both
    assert np.array_equal(again.channels, planes[:count]) and again.bits == bits
    assert (again.alpha is not None) == alpha and (not alpha or np.array_equal(again.alpha, planes[-1]))


def test_sixteen_bit_colour_tiff_keeps_its_bits(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    levels = np.random.default_rng(0).integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", levels, photometric="rgb")
    picture = Picture.read(tmp_path / "a.tif")
    assert picture.bits == 16
    assert np.array_equal(np.rint(picture.channels * 65535), levels.transpose(2, 0, 1))


@pytest.mark.parametrize("mode, count, alpha", [("P", 3, False), ("1", 1, False), ("CMYK", 3, False), ("LA", 1, True)])
def test_other_kinds_of_picture_are_read(mode, count, alpha, tmp_path):
    from PIL import Image

    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.new(mode, (7, 5)).save(path)
    picture = Picture.read(path)
    assert picture.channels.shape == (count, 5, 7)
    assert (picture.alpha is not None) == alpha
