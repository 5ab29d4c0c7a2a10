"""3MF as its specifications have it: packages written by hand, their extents and areas known by hand."""

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pointmae_zoo.shapes.formats import assembly, threemf_package
from pointmae_zoo.shapes.formats.threemf import read_3mf
from pointmae_zoo.shapes.notes import collecting
from pointmae_zoo.shapes.read import MeshError, read_points

CORE = "http://schemas.microsoft.com/3dmanufacturing/core/2015/02"
PRODUCTION = "http://schemas.microsoft.com/3dmanufacturing/production/2015/06"
START = "http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"
ROOT = "3D/3dmodel.model"
VERTICES = """<vertex x="0" y="0" z="0"/><vertex x="1" y="0" z="0"/>
<vertex y="1" z="0" x="1."/><vertex x="0e1" y="1E+0" z="-0"/>"""
TRIANGLES = '<triangle v1="0" v2="1" v3="2"/><triangle v1="0" v3="3" v2="2" pid="4" p1="0"/>'
SQUARE = f"<mesh><vertices>{VERTICES}</vertices><triangles>{TRIANGLES}</triangles></mesh>"


def rels(target: str, more: str = "") -> str:
    namespace = "http://schemas.openxmlformats.org/package/2006/relationships"
    start = f'<Relationship Target="{target}" Id="r" Type="{START}"/>'
    return f'<Relationships xmlns="{namespace}">{more}{start}</Relationships>'


def model(objects: str, build: str = "", attributes: str = "", prefix: str = "") -> str:
    declared = f'xmlns{":" + prefix if prefix else ""}="{CORE}" xmlns:p="{PRODUCTION}" {attributes}'
    text = f"<model {declared}><resources>{objects}</resources><build>{build}</build></model>"
    if prefix:
        text = text.replace("</", f"</{prefix}:").replace("<", f"<{prefix}:").replace(f"<{prefix}:/", "</")
    return text


def package(path: Path, root: str | bytes, **others: str | bytes) -> Path:
    """others: parts by their name, with / as __."""
    parts: dict[str, str | bytes] = {"_rels/.rels": rels("/" + ROOT), ROOT: root}
    parts.update({name.replace("__", "/"): content for name, content in others.items()})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


def square(number: int = 1, attributes: str = "") -> str:
    return f'<object id="{number}" {attributes}>{SQUARE}</object>'


def at(x: float, y: float = 0, z: float = 0) -> str:
    return f'transform="1 0 0 0 1 0 0 0 1 {x} {y} {z}"'


def item(number: int = 1, attributes: str = "") -> str:
    return f'<item objectid="{number}" {attributes}/>'


def component(number: int, attributes: str = "") -> str:
    return f'<component objectid="{number}" {attributes}/>'


def assembled(number: int, *components: str, attributes: str = "") -> str:
    return f'<object id="{number}" {attributes}><components>{"".join(components)}</components></object>'


def shape(path: Path) -> tuple[list[float], list[float], float]:
    """The lowest and the highest corner, and the area."""
    a, b, c = read_3mf(path.read_bytes()).triangles.transpose(0, 2, 1).astype(float)
    every = np.concatenate((a, b, c)).round(4) + 0.0
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2
    return every.min(0).tolist(), every.max(0).tolist(), round(float(area), 4)


def square_at(
    x: float, y: float = 0, z: float = 0, area: float = 1
) -> tuple[list[float], list[float], float]:
    return [x, y, z], [x + 1, y + 1, z], area


def refusal(path: Path) -> str:
    with pytest.raises(MeshError) as caught:
        read_points(path)
    assert "\n" not in str(caught.value) and len(caught.value.reason) < 300
    return caught.value.reason


# The build


def test_items_are_placed_by_their_transforms(tmp_path: Path) -> None:
    turned = 'transform="0 1 0 -1 0 0 0 0 1 0 0 7"'  # rows: x becomes y, y becomes -x, z + 7
    path = package(tmp_path / "a.3mf", model(square(), item(1) + item(1, turned)))
    assert shape(path) == ([-1, 0, 0], [1, 1, 7], 2)


def test_objects_outside_of_the_build_are_not_read(tmp_path: Path) -> None:
    assert shape(package(tmp_path / "a.3mf", model(square(1) + square(2), item(2, at(5))))) == square_at(5)


def test_a_file_that_builds_nothing_is_read_as_a_whole(tmp_path: Path) -> None:
    """Without what is only a component of something else."""
    path = package(tmp_path / "a.3mf", model(square(1) + assembled(2, component(1, at(3)))))
    with collecting() as notes:
        assert shape(path) == square_at(3)
    assert notes == ["builds nothing: all its objects are read"]


def test_components_are_nested_and_mirrored(tmp_path: Path) -> None:
    mirror = 'transform="-1 0 0 0 1 0 0 0 1 0 0 0"'
    objects = (
        square()
        + assembled(2, component(1, at(10)), component(1, at(20)))
        + assembled(3, component(2, mirror))
    )
    # squares at 10..11 and 20..21; mirrored -21..-10; placed 5 higher
    path = package(tmp_path / "a.3mf", model(objects, item(3, at(0, 0, 5))))
    assert shape(path) == ([-21, 0, 5], [-10, 1, 5], 2)


@pytest.mark.parametrize("kind", ["support", "solidsupport", "other"])
def test_what_is_not_the_part_is_left_out_and_noted(tmp_path: Path, kind: str) -> None:
    objects = square(1) + square(2, f'type="{kind}"') + assembled(3, component(1), component(2, at(9)))
    for build in (item(1) + item(2, at(9)), item(3)):
        with collecting() as notes:
            assert shape(package(tmp_path / "a.3mf", model(objects, build))) == square_at(0)
        assert notes == [f"left out: 1 object of type {kind}"]
    only = package(tmp_path / "b.3mf", model(objects, item(2)))
    assert f"builds no mesh; left out: 1 object of type {kind}" in refusal(only)


@pytest.mark.parametrize("kind", ["model", "surface"])
def test_models_and_surfaces_are_shapes(tmp_path: Path, kind: str) -> None:
    assert shape(package(tmp_path / "a.3mf", model(square(1, f'type="{kind}"'), item()))) == square_at(0)


@pytest.mark.parametrize("value", ["0", "false"])
def test_items_that_are_not_printable_are_left_out_and_noted(tmp_path: Path, value: str) -> None:
    build = item(1, 'printable="1"') + 2 * item(1, f'printable="{value}" {at(50)}')
    with collecting() as notes:
        assert shape(package(tmp_path / "a.3mf", model(square(), build))) == square_at(0)
    assert notes == ["left out: 2 items marked as not printable"]


def test_volumes_of_prusaslicer_that_only_steer_it_are_left_out(tmp_path: Path) -> None:
    """Its second triangle is a modifier; PrusaSlicer keeps both in one mesh."""

    def settings(key: str, value: str) -> str:
        volume = '<volume firstid="{0}" lastid="{0}"><metadata type="volume" key="{1}" value="{2}"/></volume>'
        volumes = volume.format(0, "volume_type", "ModelPart") + volume.format(1, key, value)
        whole = '<metadata type="object" key="modifier" value="1"/>'
        return f'<config><object id="1">{whole}{volumes}</object></config>'

    for key, value in (("volume_type", "SupportBlocker"), ("modifier", "1")):
        others = {"Metadata__Slic3r_PE_model.config": settings(key, value)}
        path = package(tmp_path / "a.3mf", model(square(), item()), **others)
        with collecting() as notes:
            assert shape(path)[2] == 0.5
        assert len(notes) == 1 and "left out: 1 volume that only steers the slicer" in notes[0]
    others = {"Metadata__Slic3r_PE_model.config": settings("volume_type", "ModelPart")}
    assert shape(package(tmp_path / "a.3mf", model(square(), item()), **others)) == square_at(0)


def test_parts_of_bambu_studio_that_only_steer_it_are_left_out(tmp_path: Path) -> None:
    root = model(assembled(9, component(1, PART), component(2, f"{PART} {at(5)}")), item(9))
    parts = '<part id="1" subtype="normal_part"/><part id="2" subtype="negative_part"/>'
    others = {
        "3D__Objects__o.model": model(square(1) + square(2)),
        "Metadata__model_settings.config": f'<config><object id="9">{parts}</object></config>',
    }
    with collecting() as notes:
        assert shape(package(tmp_path / "a.3mf", root, **others)) == square_at(0)
    assert notes == ["left out: 1 volume that only steers the slicer (negative_part)"]


@pytest.mark.parametrize("settings", ["<config><object", "<config><object/></config>", "R&D"])
def test_slicer_settings_that_cannot_be_read_are_noted(tmp_path: Path, settings: str) -> None:
    others = {"Metadata__model_settings.config": settings}
    with collecting() as notes:
        assert shape(package(tmp_path / "a.3mf", model(square(), item()), **others)) == square_at(0)
    assert len(notes) == 1 and notes[0].startswith("has slicer settings that cannot be read")


# Other parts

PART = 'p:path="/3D/Objects/o.model"'


def test_components_and_items_from_other_parts(tmp_path: Path) -> None:
    """Ids count within their part: object 1 is another one in each."""
    twice = square().replace('x="1', 'x="2')
    others = {"3D__Objects__o.model": model(twice), "3D__other.model": model(square())}
    objects = square(1) + assembled(9, component(1, at(10)), component(1, f"{PART} {at(20)}"))
    build = item(9) + item(1, f'p:path="/3D/other.model" {at(30)}')
    # 10..11 of area 1, 20..22 of area 2, 30..31 of area 1
    assert shape(package(tmp_path / "a.3mf", model(objects, build), **others)) == ([10, 0, 0], [31, 1, 0], 4)


def test_parts_in_other_units_are_scaled_to_that_of_the_root(tmp_path: Path) -> None:
    others = {"3D__Objects__o.model": model(square(), attributes='unit="inch"')}
    root = model(assembled(9, component(1, f"{PART} {at(5)}")), item(9), 'unit="centimeter"')
    low, high, area = shape(package(tmp_path / "a.3mf", root, **others))
    assert (low, high) == ([5, 0, 0], [7.54, 2.54, 0]) and area == pytest.approx(2.54**2, abs=1e-4)


def test_coordinates_stay_in_the_unit_of_the_file(tmp_path: Path) -> None:
    assert shape(package(tmp_path / "a.3mf", model(square(), item(), 'unit="inch"'))) == square_at(0)
    assert "unit 'parsec', expected one of micron" in refusal(
        package(tmp_path / "b.3mf", model(square(), item(), 'unit="parsec"'))
    )


@pytest.mark.parametrize(
    ("objects", "build", "says"),
    [
        (square(), item(2), "places an object 2 that 3d/3dmodel.model does not hold"),
        (assembled(1, component(7)), item(), "places an object 7 that"),
        (square(), item(1, PART), "holds no part of the name 3d/objects/o.model"),
        (square(), item(1, 'p:path="/../../../etc/passwd"'), "holds no part of the name etc/passwd"),
        (square() + square(), item(), "two objects have the id 1"),
        (square(1, 'type="ghost"'), item(), "unknown type 'ghost'"),
        (assembled(1, component(1)), item(), "object 1 contains itself"),
        (assembled(1, component(2)) + assembled(2, component(1)), item(), "contains itself"),
        (f'<object id="1">{SQUARE}{SQUARE}</object>', item(), "or is its second one"),
        (SQUARE, item(), "stands outside of an object"),
        (component(1), item(), "stands outside of an object"),
        (square().replace('v1="0" v2="1"', 'v1="0" v2="4"'), item(), "names vertex 4, but only 0 to 3 exist"),
        (square().replace('v1="0" v2="1"', 'v1="0" v2="-1"'), item(), "names vertex -1"),
        (square().replace('v1="0" v2="1"', 'v1="0" v2="9999999999999999999999"'), item(), "cannot be read"),
        (square().replace('v1="0" v2="1"', 'v1="0"'), item(), "an element without 'v2'"),
        (square().replace('x="0"', 'x="0,5"'), item(), "could not convert string to float: '0,5'"),
        (square().replace('x="0"', 'x="nan"'), item(), "NaN or infinity"),
        (square(), item(1, 'transform="1 0 0"'), "a transform of 12 numbers is expected, found '1 0 0'"),
        (square(), item(1, at(float("inf"))), "a transform of 12 numbers is expected"),
        ('<object id="1"/>', item(), "builds no mesh"),
        ("", "", "builds no mesh"),
    ],
)
def test_references_and_numbers_that_make_no_sense(
    tmp_path: Path, objects: str, build: str, says: str
) -> None:
    assert says in refusal(package(tmp_path / "a.3mf", model(objects, build)))


def test_components_without_end_are_refused_before_they_are_read(tmp_path: Path) -> None:
    """Forty levels of ten: far more squares than fit into any memory."""
    levels = [assembled(n, *[component(n - 1)] * 10) for n in range(2, 42)]
    path = package(tmp_path / "a.3mf", model(square() + "".join(levels), item(41)))
    assert "places 1,000,000,000,000 meshes, more than can be read" in refusal(path)


def test_components_may_be_nested_as_deep_as_they_like(tmp_path: Path) -> None:
    levels = [assembled(n, component(n - 1, at(0.125))) for n in range(2, 4002)]
    assert shape(package(tmp_path / "a.3mf", model(square() + "".join(levels), item(4001)))) == square_at(500)


def test_too_many_triangles_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly, "MOST_TRIANGLES", 3)
    assert "places 4 triangles" in refusal(package(tmp_path / "a.3mf", model(square(), 2 * item())))


# The package


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("3D/part.model", "/3D/part.model"),
        ("3D/part.model", "3D/part.model"),
        ("3D/part.model", "/3D/x/../part.model"),
        ("3D/PART.model", "/3d/part.MODEL"),
        ("3D\\part.model", "/3D/part.model"),
        ("3D/a part ü.model", "/3D/a%20part%20%C3%BC.model"),
        ("/3D/part.model", "/3D/part.model"),
    ],
)
def test_the_root_is_what_the_relationships_name(tmp_path: Path, name: str, target: str) -> None:
    path = tmp_path / "a.3mf"
    other = '<Relationship Target="/pic.png" Id="t" Type="http://example.org/thumbnail"/>'
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("_rels/.rels", rels(target, other))
        archive.writestr(name, model(square(), item(1, at(4))))
        archive.writestr("3D/3dmodel.model.bak", "not this one")
    assert shape(path) == square_at(4)


def test_without_relationships_the_usual_name_is_taken(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.3mf", "w") as archive:
        archive.writestr("3D/3DModel.model", model(square(), item()))
    assert shape(tmp_path / "a.3mf") == square_at(0)


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"_rels/.rels": rels("/3D/none.model")}, "begins with a part 3d/none.model that it does not hold"),
        ({"word/document.xml": "<w/>"}, "is an Office document"),
        ({"3D/3dmodel.model": model(""), "3D/3DMODEL.model": model("")}, "holds 2 parts of the name"),
    ],
)
def test_packages_without_their_root(tmp_path: Path, parts: dict, says: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.3mf", "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    assert says in refusal(tmp_path / "a.3mf")


def test_names_that_lead_out_of_the_package_write_nothing(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = package(
        tmp_path / "in" / "a.3mf", model(square(), item()), **{"..__..__evil.model": "x", "__evil": "x"}
    )
    assert shape(path) == square_at(0)
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["a.3mf", "in"]


def test_what_unpacks_to_far_more_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threemf_package, "SMALL_BYTES", 1 << 20)
    path = package(tmp_path / "a.3mf", model(square() + " " * (4 << 20), item()))
    assert "no shape packs like that" in refusal(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_encodings_of_xml(tmp_path: Path, encoding: str) -> None:
    declared = {"utf-8-sig": "utf-8"}.get(encoding, encoding)
    text = f'<?xml version="1.0" encoding="{declared}"?>' + model(square(1, 'name="Stück"'), item())
    assert shape(package(tmp_path / "a.3mf", text.encode(encoding))) == square_at(0)


def test_namespaces_with_and_without_prefix(tmp_path: Path) -> None:
    assert shape(package(tmp_path / "a.3mf", model(square(), item(), prefix="core"))) == square_at(0)
    vendor = f'<v:thing xmlns:v="http://example.org"><v:triangle v1="7"/><v:object/></v:thing>{square()}'
    assert shape(package(tmp_path / "b.3mf", model(vendor, item()))) == square_at(0)


@pytest.mark.parametrize(
    ("root", "says"),
    [
        ("", "not proper XML"),
        ("<model", "not proper XML"),
        (model(square(), item())[:-20], "not proper XML"),
        (b"\x00\xff\xfe", "not proper XML"),
        ("<html></html>", "begins with <html> where <model> is expected"),
        ('<!DOCTYPE m [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>' + model(square(), item()), "document type"),
        ('<!DOCTYPE m SYSTEM "file:///etc/passwd">' + model(square(), item()), "document type declaration"),
        (b"%3McF" + bytes(100), "is encrypted (3MF Secure Content, 3d/3dmodel.model)"),
    ],
)
def test_roots_that_are_no_model(tmp_path: Path, root: Any, says: str) -> None:
    assert says in refusal(package(tmp_path / "a.3mf", root))


def test_archives_that_were_damaged(tmp_path: Path) -> None:
    whole = package(tmp_path / "a.3mf", model(square(), item())).read_bytes()
    assert "is not a 3MF file" in refusal(written(tmp_path, b"<model/>"))
    assert "was cut off" in refusal(written(tmp_path, whole[:-30]))
    entry = whole.index(b"PK\x01\x02") + 8  # the flags of the first part in the table of contents
    locked = whole[:entry] + b"\x01" + whole[entry + 1 :]
    assert "locked with a password" in refusal(written(tmp_path, locked))
    start = whole.index(ROOT.encode()) + len(ROOT)
    assert "cannot be read" in refusal(written(tmp_path, whole[:start] + b"\xff" * 20 + whole[start + 20 :]))


def written(folder: Path, content: bytes) -> Path:
    (folder / "damaged.3mf").write_bytes(content)
    return folder / "damaged.3mf"


# Extensions


def extension(name: str, keyword: str) -> str:
    return f'xmlns:e="http://schemas.microsoft.com/3dmanufacturing/{name}" {keyword}="e"'


@pytest.mark.parametrize("name", ["material/2015/02", "production/2015/06", "trianglesets/2021/07"])
def test_required_extensions_that_are_followed_or_harmless(tmp_path: Path, name: str) -> None:
    root = model(square(), item(), extension(name, "requiredextensions"))
    assert shape(package(tmp_path / "a.3mf", root)) == square_at(0)


@pytest.mark.parametrize(
    "name",
    [
        "beamlattice/2017/02",
        "slice/2015/07",
        "volumetric/2022/01",
        "booleanoperations/2023/07",
        "displacement/2022/07",
        "securecontent/2019/04",
        "new/2030/01",
    ],
)
def test_other_required_extensions_are_refused_by_name(tmp_path: Path, name: str) -> None:
    root = model(square(), item(), extension(name, "requiredextensions"))
    assert f"3dmanufacturing/{name}, which cannot be read" in refusal(package(tmp_path / "a.3mf", root))


def test_a_required_prefix_that_is_not_declared_is_named(tmp_path: Path) -> None:
    root = model(square(), item(), 'requiredextensions="zz"')
    assert "extension zz" in refusal(package(tmp_path / "a.3mf", root))


def test_an_extension_required_by_another_part_is_refused(tmp_path: Path) -> None:
    other = model(square(), attributes=extension("slice/2015/07", "requiredextensions"))
    path = package(tmp_path / "a.3mf", model("", item(1, PART)), **{"3D__Objects__o.model": other})
    assert "slice/2015/07" in refusal(path)


def test_recommended_extensions_that_are_not_read_are_noted(tmp_path: Path) -> None:
    root = model(square(), item(), extension("slice/2015/07", "recommendedextensions"))
    with collecting() as notes:
        assert shape(package(tmp_path / "a.3mf", root)) == square_at(0)
    assert len(notes) == 1 and "slice/2015/07, which is not read" in notes[0]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_geometry_of_extensions_is_noted_or_refused_if_there_is_no_mesh(tmp_path: Path) -> None:
    beams = (
        '<e:beamlattice xmlns:e="http://schemas.microsoft.com/3dmanufacturing/beamlattice/2017/02"/></mesh>'
    )
    with collecting() as notes:
        both = square().replace("</mesh>", beams)
        assert shape(package(tmp_path / "a.3mf", model(both, item()))) == square_at(0)
    assert notes == ["holds a beam lattice, which is not read"]
    only = f'<object id="1"><mesh><vertices><vertex x="0" y="0" z="0"/></vertices>{beams}</object>'
    assert "builds no mesh, only a beam lattice" in refusal(package(tmp_path / "b.3mf", model(only, item())))


def test_an_object_that_is_only_shown_obfuscated_is_refused(tmp_path: Path) -> None:
    alternatives = "http://schemas.microsoft.com/3dmanufacturing/production/alternatives/2021/04"
    root = model(square(1, 'pa:modelresolution="obfuscated"'), item(), f'xmlns:pa="{alternatives}"')
    assert "shows object 1 only as obfuscated" in refusal(package(tmp_path / "a.3mf", root))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("value", ["", "-1", "1e999", "nan", "99999999999999999999", "x y", "&lt;", "<"])
def test_every_value_may_be_wrong(tmp_path: Path, value: str) -> None:
    """Points or a reason, in one line."""
    root = model(
        square() + assembled(2, component(1, at(3)), component(1, PART)), item(2, at(0, 1)), 'unit="inch"'
    )
    other = {"3D__Objects__o.model": model(square(1, 'type="surface"'), attributes='unit="inch"')}
    assert shape(package(tmp_path / "a.3mf", root, **other))[2] == 2
    for found in re.finditer('"[^"]*"', root):
        changed = root[: found.start() + 1] + value + root[found.end() - 1 :]
        try:
            assert np.isfinite(read_points(package(tmp_path / "a.3mf", changed, **other), 9)).all()
        except MeshError as error:
            assert "\n" not in str(error) and len(error.reason) < 300, found[0]


def test_the_points_of_ordinary_files_stay_the_same(tmp_path: Path) -> None:
    """As the first reader, trimesh's, gave them: the weights' published numbers rest on such points."""
    turned = 'transform="0.36 0.48 -0.8 -0.8 0.6 0 0.48 0.64 0.6 2 0 0"'
    objects = square(1) + assembled(2, component(1), component(1, turned), component(1, at(7)))
    build = item(2, at(0, 0, 9)) + item(1, at(20)) + item(2, turned)
    path = package(tmp_path / "a.3mf", model(objects, build))
    expected = [
        [0.4843007, 0.5763693, 9.0],
        [7.2030859, 0.6581238, 9.0],
        [3.9647682, 3.9333246, -5.7673607],
        [2.2310688, 0.3457997, -0.5537083],
        [0.4560829, 0.5145758, 9.0],
    ]
    np.testing.assert_allclose(read_points(path, 5, seed=3), expected, atol=1e-6)
