from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from torch.utils.data import DataLoader

from dpenet.errors import DataError
from dpenet.training.config import PhotoData, Recipe
from dpenet.training.dataset import Batches, TrainingSet, ValidationSet
from dpenet.training.sources import PairSource, PhotoSource, open_sources

MakeRecipe = Callable[..., Recipe]


@pytest.fixture
def pairs(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Four scenes, three rainy pictures of each; rainy = clean + 1, so that crops show pairing."""
    root = tmp_path / "pairs"
    for folder in ("rainy image", "ground truth"):
        (root / folder).mkdir(parents=True)
    for scene in range(1, 5):
        clean = rng.integers(0, 200, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(clean).save(root / "ground truth" / f"{scene}.png")
        for k in range(1, 4):
            rainy = Image.fromarray(clean + np.uint8(k))
            rainy.save(root / "rainy image" / f"{scene}_{k}.png")
    return root


def test_an_epoch_visits_everything_once_and_the_next_in_another_order() -> None:
    batches = Batches(5, repeat=4, batch=4, epochs=3, seed=1)
    assert batches.steps_per_epoch == 5
    assert len(batches) == 15
    keys = list(chain.from_iterable(batches))
    by_epoch = [[index for epoch, index in keys if epoch == e] for e in (1, 2, 3)]
    assert all(sorted(indices) == list(range(20)) for indices in by_epoch)
    assert by_epoch[0] != by_epoch[1] != by_epoch[2]


def test_batches_go_on_where_they_stopped() -> None:
    whole = list(Batches(7, repeat=1, batch=2, steps=10, seed=3))
    assert list(Batches(7, repeat=1, batch=2, steps=10, seed=3, start=4)) == whole[4:]
    assert list(Batches(7, repeat=1, batch=2, steps=10, seed=4)) != whole


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_share_what_one_with_the_whole_batch_sees(processes: int) -> None:
    alone = list(Batches(31, repeat=1, batch=2 * processes, epochs=2, seed=3))
    shards = [
        list(Batches(31, repeat=1, batch=2, epochs=2, seed=3, rank=r, processes=processes))
        for r in range(processes)
    ]
    assert [list(chain(*step)) for step in zip(*shards, strict=True)] == alone


def test_an_epoch_shorter_than_a_step_is_refused() -> None:
    with pytest.raises(DataError, match=r"an epoch has 5 crops.*a step takes 6: set data\.repeat"):
        Batches(5, repeat=1, batch=3, epochs=1, seed=0, processes=2)


def test_crops_depend_on_seed_epoch_and_index_alone(tiny: MakeRecipe) -> None:
    training, _ = open_sources(tiny())
    one = TrainingSet(training, patch=16, flips=True, seed=1)
    crop = one[3, 5]
    assert crop[0].shape == crop[1].shape == (3, 16, 16)
    assert crop[0].dtype == torch.float32
    assert all(x.min() >= 0 and x.max() <= 1 for x in crop)
    one[1, 1]
    again = TrainingSet(open_sources(tiny())[0], patch=16, flips=True, seed=1)[3, 5]
    assert all(a.equal(b) for a, b in zip(crop, again, strict=True))
    for other in (one[4, 5], one[3, 6], TrainingSet(training, patch=16, flips=True, seed=2)[3, 5]):
        assert not crop[0].equal(other[0])


def test_workers_make_no_difference(tiny: MakeRecipe) -> None:
    training, _ = open_sources(tiny())
    dataset = TrainingSet(training, patch=16, flips=True, seed=1)
    batches = Batches(len(training), repeat=2, batch=2, steps=6, seed=1)
    alone = list(DataLoader(dataset, batch_sampler=batches))
    helped = list(DataLoader(dataset, batch_sampler=batches, num_workers=2))
    for (a, b), (c, d) in zip(alone, helped, strict=True):
        assert a.equal(c)
        assert b.equal(d)


def test_pairs_stay_together_through_crop_and_flip(tiny: MakeRecipe, pairs: Path) -> None:
    recipe = Recipe.model_validate(
        {"output": "o", "data": {"pairs": pairs, "patch": 16, "flips": True}, "steps": 1}
    )
    training, validation = open_sources(recipe)
    assert isinstance(training, PairSource)
    assert (len(training), len(validation)) == (9, 3), "a scene's pictures stay together"
    dataset = TrainingSet(training, patch=16, flips=True, seed=0)
    crops = [dataset[1, i] for i in range(9)]
    for rainy, clean in crops:
        difference = ((rainy - clean) * 255).round()
        assert difference.min() == difference.max()
        assert 1 <= difference.min() <= 3


def test_flips_mirror_about_half(tiny: MakeRecipe, photos: Path) -> None:
    """A crop as large as the picture can only differ by the flip."""
    for path in photos.iterdir():
        with Image.open(path) as picture:
            picture.crop((0, 0, 34, 34)).save(path)
    recipe = tiny(data={"patch": 34, "scale": [1, 1]})
    training, _ = open_sources(recipe)
    flipped = TrainingSet(training, patch=34, flips=True, seed=1)
    plain = TrainingSet(training, patch=34, flips=False, seed=1)
    mirrored = 0
    for epoch in range(1, 201):
        _, a = flipped[epoch, 0]
        _, b = plain[epoch, 0]
        assert a.equal(b) or a.equal(b.flip(-1))
        mirrored += not a.equal(b)
    assert 70 < mirrored < 130


def test_some_crops_stay_clean(tiny: MakeRecipe) -> None:
    training, _ = open_sources(tiny(data={"rain": {"kind": "heavy", "clean_share": 0.5}}))
    dataset = TrainingSet(training, patch=16, flips=False, seed=1)
    clean = sum(rainy.equal(target) for rainy, target in (dataset[e, 0] for e in range(1, 101)))
    assert 30 < clean < 70


def test_busy_crops_have_more_detail(tiny: MakeRecipe) -> None:
    detail = {}
    for share in (0.0, 1.0):
        training, _ = open_sources(tiny(data={"busy_share": share}))
        dataset = TrainingSet(training, patch=16, flips=False, seed=1)
        crops = [dataset[epoch, i][1] for epoch in range(1, 41) for i in range(len(training))]
        detail[share] = np.mean([float(crop.diff(dim=2).abs().mean()) for crop in crops])
    assert detail[1.0] > 1.1 * detail[0.0]


def shrink(photos: Path) -> None:
    """Make every photo as large as a crop of 34 pixels."""
    for path in photos.iterdir():
        with Image.open(path) as picture:
            picture.crop((0, 0, 34, 34)).save(path)


def dry_crops(tiny: MakeRecipe, photos: Path, **data: float) -> tuple[Any, list[Any]]:
    """A photo of 34 pixels, and the 200 crops of it without rain, in levels of 0..255."""
    shrink(photos)
    rain = {"kind": "heavy", "clean_share": 1.0}
    training, _ = open_sources(tiny(data={"patch": 34, "scale": [1, 1], "rain": rain} | data))
    (scene,) = training.pictures(0)
    dataset = TrainingSet(training, patch=34, flips=False, seed=1)
    crops = []
    for epoch in range(1, 201):
        rainy, clean = dataset[epoch, 0]
        assert rainy.equal(clean), "what is asked of a dry scene is the scene as it is shown"
        levels = clean.numpy().transpose(1, 2, 0) * 255
        assert np.allclose(levels, levels.round(), atol=1e-3)
        crops.append(levels)
    return scene, crops


def test_tones_of_scenes_are_varied_before_the_rain_falls(
    tiny: MakeRecipe, photos: Path, rng: np.random.Generator
) -> None:
    """A crop as large as the picture can only differ by its tones and its sharpness."""
    for path in photos.iterdir():
        levels = np.asarray(Image.open(path)) * 0.8 + rng.uniform(0, 50, (34, 1, 1))
        Image.fromarray(levels.astype(np.uint8)).save(path)
    scene, dry = dry_crops(tiny, photos, toned_share=0.5)
    changed, grey, sharpened = 0, 0, 0

    def detail(levels: Any) -> float:
        grey = np.asarray(levels, float) @ [0.299, 0.587, 0.114]
        return float(np.std(grey - ndimage.gaussian_filter(grey, 0.8)) / np.std(grey))

    for levels in dry:
        assert levels.min() >= 0 and levels.max() <= 255
        changed += not np.array_equal(levels.round(), scene)
        grey += bool(np.ptp(levels, axis=2).max() < 1.5)
        sharpened += detail(levels) > 1.2 * detail(scene)
        # Light stays light: the order of the greys is kept, up to rounding.
        before, after = (np.asarray(x, float) @ [0.299, 0.587, 0.114] for x in (scene, levels))
        assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.9
    assert 70 < changed < 130
    assert 2 < grey < 25
    assert 20 < sharpened < 60


def test_grain_of_scenes_is_not_rain(tiny: MakeRecipe, photos: Path) -> None:
    """A crop as large as the picture can only differ by its grain."""
    scene, dry = dry_crops(tiny, photos, grained_share=0.5)
    strengths = [float(np.std(levels - scene)) for levels in dry]
    grained = [strength for strength in strengths if strength > 0.01]
    assert 70 < len(grained) < 130
    assert min(grained) < 3 and 6 < max(grained) < 20


def test_scenes_are_turned_before_the_rain_falls(tiny: MakeRecipe, photos: Path) -> None:
    """A crop as large as the picture can only differ by the turn."""
    shrink(photos)
    data = {"patch": 34, "scale": [1, 1], "rain": {"kind": "heavy", "clean_share": 0.0}}
    upright, _ = open_sources(tiny(data=data))
    (scene,) = upright.pictures(0)
    turns = [np.rot90(scene, quarter) for quarter in range(4)]
    training, _ = open_sources(tiny(data=data | {"turned": True}))
    dataset = TrainingSet(training, patch=34, flips=False, seed=1)
    seen = np.zeros(4, int)
    for epoch in range(1, 201):
        clean = (dataset[epoch, 0][1].numpy().transpose(1, 2, 0) * 255).round()
        seen += [np.array_equal(clean, turn) for turn in turns]
    assert seen.sum() == 200 and seen.min() > 25


def test_validation_pictures_are_the_same_each_time_and_shared_out(tiny: MakeRecipe) -> None:
    _, validation = open_sources(tiny(validation={"share": 0.5}))
    assert len(validation) == 3
    whole = ValidationSet(validation, crop=24, seed=1)
    shards = [ValidationSet(validation, crop=24, seed=1, rank=r, processes=2) for r in (0, 1)]
    assert [len(shard) for shard in shards] == [2, 1]
    for mine, of_whole in zip([shards[0][0], shards[1][0], shards[0][1]], range(3), strict=True):
        assert mine[0].shape == (3, 24, 24)
        assert all(a.equal(b) for a, b in zip(mine, whole[of_whole], strict=True))
        assert not mine[0].equal(mine[1]), "validation pictures are rainy"


def test_training_and_validation_share_no_scene(tiny: MakeRecipe, photos: Path) -> None:
    (photos / "copy.png").write_bytes((photos / "0.png").read_bytes())
    for seed in range(5):
        training, validation = open_sources(tiny(seed=seed))
        assert not training.clean_digests & validation.clean_digests
        assert len(training) + len(validation) == 7
    with pytest.raises(DataError, match=r"6 clean pictures of .* are also in the training set"):
        open_sources(tiny(validation={"folder": photos}))


def test_one_picture_leaves_nothing_to_validate(tiny: MakeRecipe, photos: Path) -> None:
    for path in sorted(photos.iterdir())[1:]:
        path.unlink()
    with pytest.raises(DataError, match="only clean picture"):
        open_sources(tiny())


def test_the_fingerprint_is_of_contents(tiny: MakeRecipe, photos: Path, tmp_path: Path) -> None:
    before = open_sources(tiny())[0].fingerprint
    (photos / "0.png").rename(photos / "zero.png")
    assert open_sources(tiny())[0].fingerprint == before
    Image.new("RGB", (40, 40)).save(photos / "3.png")
    assert open_sources(tiny())[0].fingerprint != before


def test_pictures_are_kept_within_the_memory_given(photos: Path, tiny: MakeRecipe) -> None:
    data = tiny().data
    assert isinstance(data, PhotoData)
    source = PhotoSource(sorted(photos.iterdir()), data, cache_bytes=2.5 * 42 * 34 * 3)
    first = [source.pictures(i)[0] for i in range(6)]
    again = [source.pictures(i)[0] for i in range(6)]
    assert sum(a is b for a, b in zip(first, again, strict=True)) == 2
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


def test_an_unreadable_photo_is_named(tiny: MakeRecipe, photos: Path) -> None:
    (photos / "2.png").write_bytes(b"\x89PNG not really")
    with pytest.raises(DataError, match=r"2\.png cannot be read"):
        open_sources(tiny())
