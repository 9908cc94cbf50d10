from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpenet.errors import UsageError
from dpenet.media.files import make_folder, new_file
from dpenet.media.jobs import Job, plan_jobs

Make = Callable[..., None]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes (empty) files in a fresh working folder."""
    monkeypatch.chdir(tmp_path)

    def files(*names: str) -> None:
        for name in names:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).touch()

    return files


def targets(jobs: Sequence[Job]) -> list[tuple[str, str]]:
    return [(str(job.source), str(job.target)) for job in jobs]


@pytest.mark.parametrize(
    ("files", "inputs", "options", "expected"),
    [
        ("street.jpg", "street.jpg", {}, "street.jpg>street.derained.jpg"),
        ("a/street.JPG", "a/street.JPG", {}, "a/street.JPG>a/street.derained.JPG"),
        ("a.png", "a.png", {"suffix": "_dry"}, "a.png>a_dry.png"),
        ("a.heic", "a.heic", {}, "a.heic>a.derained.jpg"),
        ("photo", "photo", {}, "photo>photo.derained.png"),
        ("p.2024", "p.2024", {}, "p.2024>p.2024.derained.png"),
        ("a.png", "a.png", {"out": "b.jpg"}, "a.png>b.jpg"),
        ("a.png", "a.png", {"out": "-"}, "a.png>None"),
        ("a.png", "a.png", {"out": "dry"}, "a.png>dry/a.png"),
        ("a.png", "a.png", {"out": "dry.d/"}, "a.png>dry.d/a.png"),
        ("a.png dry.png/x", "a.png", {"out": "dry.png"}, "a.png>dry.png/a.png"),
        ("a.heic", "a.heic", {"out": "dry"}, "a.heic>dry/a.jpg"),
        ("a.png s/b.png", "a.png s/b.png", {"out": "d.1"}, "a.png>d.1/a.png s/b.png>d.1/b.png"),
        ("b.png a.png", "b.png a.png b.png", {}, "b.png>b.derained.png a.png>a.derained.png"),
        # Folders: natural order, pictures only, neither hidden files nor earlier results.
        (
            "f/im10.png f/im2.png f/notes.txt f/.im3.png f/im2.derained.png f/im2.rain.png",
            "f",
            {},
            "f/im2.png>f/im2.derained.png f/im10.png>f/im10.derained.png",
        ),
        ("f/a.png f/a_dry.png", "f", {"suffix": "_dry"}, "f/a.png>f/a_dry.png"),
        ("f/a.png f/s/b.png", "f", {}, "f/a.png>f/a.derained.png"),
        (
            "f/a.png f/s/b.png f/.git/c.png",
            "f",
            {"recursive": True},
            "f/a.png>f/a.derained.png f/s/b.png>f/s/b.derained.png",
        ),
        (
            "f/a.png f/s/a.png",
            "f",
            {"recursive": True, "out": "dry"},
            "f/a.png>dry/a.png f/s/a.png>dry/s/a.png",
        ),
        # An output folder inside the input folder is not searched, one around it changes nothing.
        ("f/a.png f/dry/a.png", "f", {"recursive": True, "out": "f/dry"}, "f/a.png>f/dry/a.png"),
        ("f/a.png", "f", {"out": "."}, "f/a.png>a.png"),
        ("f/a.png", "f/*.png", {"out": "."}, "f/a.png>a.png"),
        # Quoted patterns.
        ("a1.png a2.png b.png", "a*.png", {}, "a1.png>a1.derained.png a2.png>a2.derained.png"),
        ("a.png a.txt a.derained.png d/x", "*", {}, "a.png>a.derained.png"),
        ("f/a.png f/s/b.png", "f/**/*.png", {"out": "o"}, "f/a.png>o/a.png f/s/b.png>o/s/b.png"),
        ("f/a.png f/o/a.png", "f/**/*.png", {"out": "f/o"}, "f/a.png>f/o/a.png"),
        ("a[1].png a1.png", "a[1].png", {}, "a[1].png>a[1].derained.png"),
        # A pattern that the shell expanded, on a second run; and a result meant as an input.
        ("a.png a.derained.png", "a.derained.png a.png", {}, "a.png>a.derained.png"),
        ("a.png a.rain.png", "a.png a.rain.png", {}, "a.png>a.derained.png"),
        ("a.derained.png", "a.derained.png", {}, "a.derained.png>a.derained.derained.png"),
        ("-a.png", "-a.png", {}, "-a.png>-a.derained.png"),
    ],
)  # fmt: skip
def test_where_results_go(
    make: Make, files: str, inputs: str, options: dict[str, str | bool], expected: str
) -> None:
    make(*files.split())
    jobs = plan_jobs(inputs.split(), **options)  # type: ignore[arg-type]
    assert targets(jobs) == [tuple(job.split(">")) for job in expected.split()]


@pytest.mark.parametrize(
    ("name", "content", "target"),
    [
        ("a.jpg", b"\xff\xd8\xff", "a.derained.jpg"),
        ("a.JPEG", b"\xff\xd8\xff", "a.derained.JPEG"),
        ("a.jpg", b"\x89PNG\r\n\x1a\n", "a.derained.png"),
        ("a.png", b"\xff\xd8\xff", "a.derained.jpg"),
        ("photo", b"\xff\xd8\xff", "photo.derained.jpg"),
        ("p.2024", b"II*\0", "p.2024.derained.tif"),
        ("a.jpg", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a.derained.jpg"),
        ("a.heic", b"\xff\xd8\xff", "a.derained.jpg"),
        ("a.heic", b"\0\0\0\x18ftypavif\0\0\0\0mif1avif", "a.derained.avif"),
        ("a.tga", b"\0\0\2", "a.derained.png"),
        ("a.mp4", b"\xff\xd8\xff", "a.derained.jpg"),
        ("photo.jpg", b"\0\0\0\x18ftypisom", "photo.derained.mp4"),
        ("clip", b"\0\0\0\x18ftypqt  ", "clip.derained.mov"),
        ("clip", b"\x1a\x45\xdf\xa3" + bytes(20) + b"webm", "clip.derained.webm"),
        ("clip", b"\x1a\x45\xdf\xa3" + bytes(20) + b"matroska", "clip.derained.mkv"),
        ("clip.2024", b"OggS", "clip.2024.derained.ogv"),
        ("dvd.vob", b"\0\0\1\xba", "dvd.derained.mpg"),
        ("a.asf", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a.derained.wmv"),
        ("b.f4v", b"\0\0\0\x18ftypf4v ", "b.derained.mp4"),
        ("c.divx", b"RIFF\0\0\0\0AVI ", "c.derained.avi"),
        ("a", (b"\x47" + bytes(187)) * 3, "a.derained.ts"),
        ("a", (bytes(4) + b"\x47" + bytes(187)) * 3, "a.derained.m2ts"),
        ("a.mkv", b"\0\0\0\x18ftypisom", "a.derained.mkv"),
    ],
)
def test_a_result_is_named_by_content_where_the_name_is_wrong(
    make: Make, name: str, content: bytes, target: str
) -> None:
    make()
    Path(name).write_bytes(content)
    assert targets(plan_jobs([name], save_rain=True)) == [(name, target)]
    place = target.replace(".derained", "")
    (job,) = plan_jobs([name], out="dry", save_rain=True)
    assert job.target == Path("dry", place)
    assert job.rain == Path("dry", place).with_suffix(f".rain{Path(place).suffix}")


def test_names_with_spaces_and_unicode(make: Make) -> None:
    make("my photos/pluie d'été.jpg", "my photos/雨 10.jpg", "my photos/雨 9.jpg")
    jobs = plan_jobs(["my photos"], out="dry ones")
    assert [str(job.target) for job in jobs] == [
        "dry ones/pluie d'été.jpg",
        "dry ones/雨 9.jpg",
        "dry ones/雨 10.jpg",
    ]


@pytest.mark.parametrize(
    ("out", "expected"),
    [(None, "f/a.rain.jpg"), ("dry", "dry/a.rain.jpg"), ("b.png", "b.rain.png")],
)
def test_the_rain_lies_beside_the_result(make: Make, out: str | None, expected: str) -> None:
    make("f/a.jpg")
    (job,) = plan_jobs(["f/a.jpg"], out=out, save_rain=True)
    assert job.rain == Path(expected)
    (job,) = plan_jobs(["f/a.jpg"], out=out)
    assert job.rain is None


def test_standard_input() -> None:
    assert plan_jobs(["-"]) == plan_jobs(["-"], out="-") == [Job(None, None, None)]
    assert plan_jobs(["-"], out="dry.png") == [Job(None, Path("dry.png"), None)]
    rain = Path("dry.rain.png")
    assert plan_jobs(["-"], out="dry.png", save_rain=True) == [Job(None, Path("dry.png"), rain)]


@pytest.mark.parametrize(
    ("files", "inputs", "options", "said"),
    [
        ("", "", {}, "no picture given"),
        ("", "none.png", {}, "no file or folder none.png"),
        ("a.png", "a.png x.png y.png", {}, "x.png, y.png"),
        ("", "*.png", {}, r"\*.png: there is no picture"),
        ("f/x.txt f/s/a.png", "f", {}, "f: there is no picture .*--recursive"),
        ("f/a.derained.png", "f", {}, "f: there is no picture"),
        ("a.png", "- a.png", {}, "standard input"),
        ("a.png b.png", "a.png b.png", {"out": "c.png"}, "c.png is one file, but there are 2"),
        ("a.png b.png", "a.png b.png", {"out": "-"}, "one file, but there are 2"),
        ("a.png", "a.png", {"out": "c.xyz"}, r"cannot write .xyz; use one of .*\.jpg"),
        ("a.png", "a.png", {"suffix": ""}, "suffix"),
        ("a.png", "a.png", {"suffix": "/x"}, "suffix"),
        ("a.png", "a.png", {"out": "-", "save_rain": True}, "need a file beside the result"),
        ("", "-", {"out": "dry/"}, "no name to keep"),
        ("", "-", {"save_rain": True}, "need a file beside the result"),
        ("a.png", "a.png", {"out": "a.png"}, "a.png would replace an input"),
        ("a.png", "a.png", {"out": "."}, "would replace an input"),
        ("f/a.png", "f", {"out": "f"}, "would replace an input"),
        ("f/a.png", "f/a.png", {"out": "f/../f/a.png"}, "would replace an input"),
        ("a.png b.png", "a.png b.png", {"out": "link/"}, "would replace an input"),
        ("f/a.png g/a.png", "f g", {"out": "o"}, "f/a.png and g/a.png would both .*o/a.png"),
        ("a.heic a.jpg", "a.heic a.jpg", {}, "a.heic and a.jpg would both"),
        ("x.png", "x.png", {"suffix": ".rain", "save_rain": True}, "would both"),
        ("a.png", "**.png", {}, "\\*\\* stands for whole folders"),
    ],
)
def test_what_cannot_be_is_refused(
    make: Make, files: str, inputs: str, options: dict[str, str | bool], said: str
) -> None:
    make(*files.split())
    Path("link").symlink_to(".")
    with pytest.raises(UsageError, match=said):
        plan_jobs(inputs.split(), **options)  # type: ignore[arg-type]


@pytest.mark.skipif(os.name != "posix", reason="needs named pipes")
def test_pipes_are_left_out_of_folders_and_refused_by_name(make: Make) -> None:
    make("f/a.png")
    os.mkfifo("f/b.png")
    os.mkfifo("f/c.mp4")
    for text in ("f", "f/*", "f/**/*.png"):
        assert targets(plan_jobs([text])) == [("f/a.png", "f/a.derained.png")]
    with pytest.raises(UsageError, match=r"f/b\.png: is neither a file nor a folder"):
        plan_jobs(["f/b.png"])


def test_folders_may_be_deep(make: Make) -> None:
    """Far deeper than functions of Python can call themselves."""
    make("f/0.png")
    deep, result = (Path(root, *["d"] * 1500, "a.png") for root in "fo")
    make_folder(deep.parent)
    try:
        deep.touch()
        expected = [("f/0.png", "o/0.png"), (str(deep), str(result))]
        assert targets(plan_jobs(["f"], recursive=True, out="o")) == expected
        for pattern in ("f/**/*.png", "f/**/**/?.png"):
            assert sorted(targets(plan_jobs([pattern], out="o"))) == sorted(expected)
        with new_file(result, overwrite=False) as temporary:
            temporary.write_bytes(b"there")
        assert result.read_bytes() == b"there"
    finally:  # pytest cannot take away what is so deep
        for path in (deep, result):
            path.unlink(missing_ok=True)
            if path.parent.exists():
                os.removedirs(path.parent)


def test_nothing_is_written(make: Make, tmp_path: Path) -> None:
    make("f/a.png")
    before = sorted(tmp_path.rglob("*"))
    plan_jobs(["f"], out="new", save_rain=True)
    assert sorted(tmp_path.rglob("*")) == before


NAMES = st.text("ab1.- é[*", min_size=1, max_size=6).map(lambda stem: f"{stem}.png")


@given(st.sets(NAMES, min_size=1, max_size=8), st.sampled_from([None, "out/"]))
def test_jobs_are_one_to_one(
    tmp_path_factory: pytest.TempPathFactory, names: set[str], out: str | None
) -> None:
    folder = tmp_path_factory.mktemp("jobs")
    for name in names:
        (folder / name).touch()
    inputs = [str(folder / name) for name in names]
    jobs = plan_jobs(inputs, out=out and str(folder / out) + "/")
    assert [str(job.source) for job in jobs] == inputs
    outputs = {job.target for job in jobs}
    assert len(outputs) == len(inputs)
    assert not outputs & {job.source for job in jobs}
    # Every result is known as one: a second run over the folder has the same jobs.
    for path in outputs:
        assert path is not None
        path.parent.mkdir(exist_ok=True)
        path.touch()
    visible = [job for job in jobs if not Path(str(job.source)).name.startswith(".")]
    if visible:
        again = plan_jobs([str(folder)], out=out and str(folder / out) + "/")
        assert {job.source for job in again} == {job.source for job in visible}
