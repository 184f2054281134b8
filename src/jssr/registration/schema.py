"""What `result.json` holds: a schema with a version. Grids are numbers, units stand in the names.

`jssr.registration.schema.json_schema()` is published as docs/result.schema.json.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.json_schema import models_json_schema

from jssr.core.grid import Grid
from jssr.core.volume import Modality, Origin
from jssr.errors import JssrError

SCHEMA_VERSION = "1"
CONVENTION = (
    "moved(p) = moving(p + u(p)): u = displacement.nii.gz lies on the fixed grid, in millimetres LPS, rigid step "
    "included; inverse.nii.gz lies on the moving grid and maps the other way"
)
Number = float | None
"""null where a number is not finite: a distance to a structure that is not there."""
States = dict[str, dict[str, Number]]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", defer_build=True)


class GridInfo(_Model):
    """Where voxels lie, LPS."""

    shape: list[int]
    spacing_mm: list[float]
    origin_mm: list[float] = Field(description="Centre of voxel 0.")
    direction: list[list[float]] = Field(description="Unit axes, one a column.")

    @classmethod
    def of(cls, grid: Grid) -> GridInfo:
        return cls(
            shape=list(grid.shape),
            spacing_mm=grid.spacing.tolist(),
            origin_mm=grid.origin.tolist(),
            direction=grid.direction.tolist(),
        )

    def grid(self) -> Grid:
        return Grid.of(self.shape, self.spacing_mm, self.origin_mm, self.direction)


class ScanInfo(_Model):
    """One of the two scans."""

    name: str = Field(description="As it was given: its path as a rule.")
    title: str = Field(
        description="The file's name, with its folder where both scans have one name, or the DICOM series' description."
    )
    grid: GridInfo
    modality: Modality
    modality_from: Origin = Field(description="Where the modality came from.")
    phase: str | None = None
    patient: str | None = Field(None, description="Of a DICOM series: its patient's ID, else name.")
    taken: str | None = Field(None, description="Of a DICOM series: when it was taken.")
    series: str | None = Field(None, description="Of a DICOM series: its number and part, else its UID.")
    path: str | None = Field(None, description="From the result's folder to the scan.")
    labels_path: str | None = Field(None, description="From the result's folder to its label map.")


class WeightsInfo(_Model):
    """What the system was loaded from."""

    file: str
    checksum: str | None
    recipe: str


class MutualInformation(_Model):
    before: Number
    after: Number


class RigidInfo(_Model):
    """The rigid step, where there was one."""

    matrix_lps_mm: list[list[float]] = Field(description="Fixed to moving space, homogeneous.")
    accepted: bool
    mutual_information_nats: MutualInformation
    affine_matrix_lps_mm: list[list[float]] | None = Field(
        description="What the system started from, where an affine transform was better: fixed to moving space."
    )


class OptimisationInfo(_Model):
    """The instance optimisation, where there was one."""

    steps: int
    similarity: Literal["lncc", "mind", "mi", "mixture"] | None = Field(description="null: the method's own.")
    smoothness: float = Field(description="The weight of the regulariser was multiplied by it.")
    spacing_mm: float | None = Field(description="Between control points on the finest level; null in older results.")
    sliding: bool = Field(description="Whether organs could slide along each other.")
    rigid_parts: int = Field(description="How many parts stayed rigid.")


class InitialInfo(_Model):
    """Where the alignment began."""

    start: Literal["geometry", "centre", "linear", "field"] = Field(
        description="The headers, the bodies' centres, or a transform that was given: linear, or a field."
    )
    matrix_lps_mm: list[list[float]] | None = Field(description="Of a linear one: fixed to moving space, homogeneous.")


class MasksInfo(_Model):
    """How much of each scan counted; null: all of it."""

    fixed_percent: float | None = Field(description="Share of the fixed scan's voxels.")
    moving_percent: float | None = Field(description="Share of the moving scan's voxels.")


class InverseError(_Model):
    mean: Number
    max: Number


class ExpectedError(_Model):
    """Over the fixed body; null where nothing could be judged."""

    median: Number
    p95: Number = Field(description="95th percentile.")


class AgreementInfo(_Model):
    """How alike the scans are at blocks of the fixed body."""

    better: float = Field(
        description="What the place that was found is better by than those around it: 1 of equal scans, 0 of others."
    )
    found: float = Field(description="Of the difference of unrelated points, the part that is not there.")
    before: float = Field(description="The same without the field.")


class QualityInfo(_Model):
    """Whether the registration can be relied on."""

    verdict: Literal["PASS", "CHECK", "FAIL"] = Field(
        description="FAIL: the scans could not be aligned, and no field was kept."
    )
    reasons: list[str]
    expected_error_mm: ExpectedError = Field(description="Its map is expected_error.nii.gz.")
    agreement: AgreementInfo
    body_covered_percent: float = Field(description="Share of the fixed body that has data in the moving scan.")
    body_folds_percent: float = Field(description="Of the field that was judged.")
    body_moved_mm: float = Field(description="Median length of the field that was judged, rigid step not counted.")


class Provenance(_Model):
    """Versions and machine."""

    versions: dict[str, str]
    device: str
    threads: int
    deterministic: bool
    system: str = Field(description="Operating system and architecture.")
    processor: str
    precision: str = Field(description="What the networks computed in.")


class DiceInfo(_Model):
    """Dice by state and structure, 0 to 1."""

    segmentations: States | None = Field(None, description="Of the system's own segmentations.")
    labels: States | None = Field(None, description="Of the label maps that were given.")


class VolumeInfo(_Model):
    """A structure of the label maps that were given, in both scans."""

    fixed_ml: float
    moving_ml: float
    change_percent: Number = Field(description="Of the moving scan's against the fixed one's.")
    jacobian: Number = Field(
        description="Mean Jacobian determinant over the structure: moving / fixed volume, as the field has it."
    )


class _Numbers(_Model):
    covered_percent: float = Field(description="Share of the fixed image for which the moving one has data.")
    folds_percent: Number = Field(description="Share of grid cells whose Jacobian determinant is not positive.")
    log_jacobian_sd: Number = Field(description="Standard deviation of the log Jacobian determinant, folds left out.")
    peak_memory_mib: int = Field(description="The most memory that the process held.")
    warnings: list[str]


class ResultModel(_Numbers):
    """`result.json` of one registration."""

    schema_version: Literal["1"] = "1"
    fixed: ScanInfo
    moving: ScanInfo
    convention: str = CONVENTION
    system: str
    weights: WeightsInfo
    provenance: Provenance
    network_grid: GridInfo = Field(description="The grid that the system worked on.")
    reads_fixed_labels: bool = Field(description="Whether the system was given the fixed scan's label map.")
    structures: list[str] = Field(description="What the system segments.")
    label_names: dict[str, str] = Field(description="Label value to structure, of the segmentations.")
    rigid: RigidInfo | None
    optimisation: OptimisationInfo | None = None
    preset: str | None = Field(None, description="The preset that was named.")
    initial: InitialInfo | None = None
    masks: MasksInfo | None = None
    quality: QualityInfo | None = None
    time_s: dict[str, float] = Field(description="Seconds of each stage, and their total.")
    inverse_error_mm: InverseError
    dice: DiceInfo
    tre_mm: dict[str, Number] | None = Field(None, description="Mean target registration error by state.")
    volumes: dict[str, VolumeInfo] = Field(
        default_factory=dict, description="By structure, of 3D label maps of both scans."
    )
    metrics: States | None = Field(
        None,
        description="Every metric by state, of the labels and landmarks that were given: dice (0 to 1), hd95, asd and "
        "tre (mm), folds (per cent), log_jacobian_sd.",
    )


class PhaseInfo(_Numbers):
    """One phase of a study."""

    time_s: float
    modality: Modality
    modality_from: Origin


class StudyModel(_Model):
    """`result.json` of a study."""

    schema_version: Literal["1"] = "1"
    study: str
    reference_phase: str
    convention: str = CONVENTION
    system: str
    weights: WeightsInfo
    provenance: Provenance
    phases: dict[str, PhaseInfo]


def json_schema() -> dict[str, Any]:
    """The JSON Schema of both files: one of a registration, or one of a study."""
    names: dict[str, type[BaseModel]] = {"registration": ResultModel, "study": StudyModel}
    _, schema = models_json_schema([(model, "validation") for model in names.values()])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "result.json of jssr",
        "oneOf": [{"title": name, "$ref": f"#/$defs/{model.__name__}"} for name, model in names.items()],
        **schema,
    }


def check_result(content: object, name: str) -> None:
    """Make sure that this is what `result.json` of a registration or of a study holds.

    Raises:
        JssrError: it is not; `name` says in the message whose it is.
    """
    model: type[_Model] = StudyModel if isinstance(content, dict) and "phases" in content else ResultModel
    try:
        model.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(key) for key in first["loc"])
        raise JssrError(f"{name}: holds no result of jssr{f' ({where})' if where else ''}: {first['msg']}") from None


def write_schema(path: Path) -> None:
    """Write the published schema: `python -m jssr.registration.schema` from the root of the repository."""
    path.write_text(json.dumps(json_schema(), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_schema(Path("docs/result.schema.json"))
