"""What slicers note beside a 3MF model about volumes that only steer the slicing.

PrusaSlicer puts all volumes of an object into one mesh and tells them apart by their triangles; Bambu
Studio and OrcaSlicer make each a component. A modifier, a support blocker or a negative volume is a shape
in the model, but not part of what is printed.
"""

from dataclasses import dataclass, field

from pointmae_zoo.shapes.formats.threemf_package import Package
from pointmae_zoo.shapes.notes import note
from pointmae_zoo.shapes.surface import MeshError

PRUSA_SETTINGS = "metadata/slic3r_pe_model.config"
BAMBU_SETTINGS = "metadata/model_settings.config"
PRUSA_PART, BAMBU_PART = ("ModelPart", "0"), "normal_part"


@dataclass
class SlicerVolumes:
    """Volumes of the root part that are not part of the shape."""

    # object id -> (first triangle, last triangle, what it is)
    triangles: dict[str, list[tuple[int, int, str]]] = field(default_factory=dict)
    # (object id, id of its component) -> what it is
    components: dict[tuple[str, str], str] = field(default_factory=dict)


def read_slicer_volumes(package: Package) -> SlicerVolumes:
    """Nothing if no slicer wrote the file. Settings that cannot be read are noted; the model is whole."""
    volumes = SlicerVolumes()
    for name, read in ((PRUSA_SETTINGS, _read_prusa), (BAMBU_SETTINGS, _read_bambu)):
        if package.holds(name):
            try:
                read(package, volumes)
            except MeshError as error:
                note(f"has slicer settings that cannot be read, so that modifiers may count ({error.reason})")
    return volumes


def _read_prusa(package: Package, volumes: SlicerVolumes) -> None:
    current, first, last = "", 0, -1

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal current, first, last
        if name == "object":
            current = attributes["id"].strip()
        elif name == "volume":
            first, last = int(attributes["firstid"]), int(attributes["lastid"])
        elif name == "metadata" and attributes.get("type") == "volume":
            kind = attributes.get("value", "")
            if attributes.get("key") == "modifier" and kind == "1":
                kind = "ParameterModifier"
            elif attributes.get("key") != "volume_type":
                return
            if kind not in PRUSA_PART:
                volumes.triangles.setdefault(current, []).append((first, last, kind))

    package.parse(PRUSA_SETTINGS, start)


def _read_bambu(package: Package, volumes: SlicerVolumes) -> None:
    current = ""

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal current
        if name == "object":
            current = attributes["id"].strip()
        elif name == "part" and attributes.get("subtype", BAMBU_PART) != BAMBU_PART:
            volumes.components[current, attributes["id"].strip()] = attributes["subtype"]

    package.parse(BAMBU_SETTINGS, start)
