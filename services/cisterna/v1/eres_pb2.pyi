from cisterna.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LabelBlockRequest(_message.Message):
    __slots__ = ("task", "probability", "local_labels", "parts", "threshold")
    TASK_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    LOCAL_LABELS_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    task: _common_pb2.TaskRef
    probability: _common_pb2.ChunkRef
    local_labels: _common_pb2.ArrayRef
    parts: _common_pb2.ArrayRef
    threshold: int
    def __init__(self, task: _Optional[_Union[_common_pb2.TaskRef, _Mapping]] = ..., probability: _Optional[_Union[_common_pb2.ChunkRef, _Mapping]] = ..., local_labels: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., parts: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., threshold: _Optional[int] = ...) -> None: ...

class MergeObjectsRequest(_message.Message):
    __slots__ = ("task", "parts", "blocks", "min_voxels", "merged", "voxel_size_nm", "class_name", "volume_shape", "block_shape")
    TASK_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    MIN_VOXELS_FIELD_NUMBER: _ClassVar[int]
    MERGED_FIELD_NUMBER: _ClassVar[int]
    VOXEL_SIZE_NM_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    VOLUME_SHAPE_FIELD_NUMBER: _ClassVar[int]
    BLOCK_SHAPE_FIELD_NUMBER: _ClassVar[int]
    task: _common_pb2.TaskRef
    parts: _common_pb2.ArrayRef
    blocks: int
    min_voxels: int
    merged: _common_pb2.ArrayRef
    voxel_size_nm: _containers.RepeatedScalarFieldContainer[float]
    class_name: str
    volume_shape: _containers.RepeatedScalarFieldContainer[int]
    block_shape: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, task: _Optional[_Union[_common_pb2.TaskRef, _Mapping]] = ..., parts: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., blocks: _Optional[int] = ..., min_voxels: _Optional[int] = ..., merged: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., voxel_size_nm: _Optional[_Iterable[float]] = ..., class_name: _Optional[str] = ..., volume_shape: _Optional[_Iterable[int]] = ..., block_shape: _Optional[_Iterable[int]] = ...) -> None: ...

class RelabelBlockRequest(_message.Message):
    __slots__ = ("task", "local_labels", "merged", "labels", "numbered", "split_parts")
    TASK_FIELD_NUMBER: _ClassVar[int]
    LOCAL_LABELS_FIELD_NUMBER: _ClassVar[int]
    MERGED_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    NUMBERED_FIELD_NUMBER: _ClassVar[int]
    SPLIT_PARTS_FIELD_NUMBER: _ClassVar[int]
    task: _common_pb2.TaskRef
    local_labels: _common_pb2.ChunkRef
    merged: _common_pb2.ArrayRef
    labels: _common_pb2.ArrayRef
    numbered: _common_pb2.ArrayRef
    split_parts: _common_pb2.ArrayRef
    def __init__(self, task: _Optional[_Union[_common_pb2.TaskRef, _Mapping]] = ..., local_labels: _Optional[_Union[_common_pb2.ChunkRef, _Mapping]] = ..., merged: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., labels: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., numbered: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., split_parts: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ...) -> None: ...

class SplitBlockRequest(_message.Message):
    __slots__ = ("task", "probability", "merged", "parts", "voxel_size_nm", "threshold", "min_voxels", "splitting_json")
    TASK_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    MERGED_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    VOXEL_SIZE_NM_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    MIN_VOXELS_FIELD_NUMBER: _ClassVar[int]
    SPLITTING_JSON_FIELD_NUMBER: _ClassVar[int]
    task: _common_pb2.TaskRef
    probability: _common_pb2.ChunkRef
    merged: _common_pb2.ArrayRef
    parts: _common_pb2.ArrayRef
    voxel_size_nm: _containers.RepeatedScalarFieldContainer[float]
    threshold: int
    min_voxels: int
    splitting_json: str
    def __init__(self, task: _Optional[_Union[_common_pb2.TaskRef, _Mapping]] = ..., probability: _Optional[_Union[_common_pb2.ChunkRef, _Mapping]] = ..., merged: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., parts: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., voxel_size_nm: _Optional[_Iterable[float]] = ..., threshold: _Optional[int] = ..., min_voxels: _Optional[int] = ..., splitting_json: _Optional[str] = ...) -> None: ...

class NumberObjectsRequest(_message.Message):
    __slots__ = ("task", "merged", "split_parts", "blocks", "numbered", "voxel_size_nm", "class_name", "volume_shape")
    TASK_FIELD_NUMBER: _ClassVar[int]
    MERGED_FIELD_NUMBER: _ClassVar[int]
    SPLIT_PARTS_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    NUMBERED_FIELD_NUMBER: _ClassVar[int]
    VOXEL_SIZE_NM_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    VOLUME_SHAPE_FIELD_NUMBER: _ClassVar[int]
    task: _common_pb2.TaskRef
    merged: _common_pb2.ArrayRef
    split_parts: _common_pb2.ArrayRef
    blocks: int
    numbered: _common_pb2.ArrayRef
    voxel_size_nm: _containers.RepeatedScalarFieldContainer[float]
    class_name: str
    volume_shape: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, task: _Optional[_Union[_common_pb2.TaskRef, _Mapping]] = ..., merged: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., split_parts: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., blocks: _Optional[int] = ..., numbered: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., voxel_size_nm: _Optional[_Iterable[float]] = ..., class_name: _Optional[str] = ..., volume_shape: _Optional[_Iterable[int]] = ...) -> None: ...

class ProfileBlockRequest(_message.Message):
    __slots__ = ("task", "labels", "image", "objects", "parts", "voxel_size_nm", "invert", "class_name", "er_labels")
    TASK_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    VOXEL_SIZE_NM_FIELD_NUMBER: _ClassVar[int]
    INVERT_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    ER_LABELS_FIELD_NUMBER: _ClassVar[int]
    task: _common_pb2.TaskRef
    labels: _common_pb2.ChunkRef
    image: _common_pb2.ChunkRef
    objects: _common_pb2.ArrayRef
    parts: _common_pb2.ArrayRef
    voxel_size_nm: _containers.RepeatedScalarFieldContainer[float]
    invert: bool
    class_name: str
    er_labels: _common_pb2.ChunkRef
    def __init__(self, task: _Optional[_Union[_common_pb2.TaskRef, _Mapping]] = ..., labels: _Optional[_Union[_common_pb2.ChunkRef, _Mapping]] = ..., image: _Optional[_Union[_common_pb2.ChunkRef, _Mapping]] = ..., objects: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., parts: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., voxel_size_nm: _Optional[_Iterable[float]] = ..., invert: _Optional[bool] = ..., class_name: _Optional[str] = ..., er_labels: _Optional[_Union[_common_pb2.ChunkRef, _Mapping]] = ...) -> None: ...

class MeasureBlockRequest(_message.Message):
    __slots__ = ("task", "vesicle_labels", "tubular_labels", "er_labels", "golgi_labels", "parts", "voxel_size_nm", "rules_json", "overlap_labels", "widened")
    TASK_FIELD_NUMBER: _ClassVar[int]
    VESICLE_LABELS_FIELD_NUMBER: _ClassVar[int]
    TUBULAR_LABELS_FIELD_NUMBER: _ClassVar[int]
    ER_LABELS_FIELD_NUMBER: _ClassVar[int]
    GOLGI_LABELS_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    VOXEL_SIZE_NM_FIELD_NUMBER: _ClassVar[int]
    RULES_JSON_FIELD_NUMBER: _ClassVar[int]
    OVERLAP_LABELS_FIELD_NUMBER: _ClassVar[int]
    WIDENED_FIELD_NUMBER: _ClassVar[int]
    task: _common_pb2.TaskRef
    vesicle_labels: _common_pb2.ChunkRef
    tubular_labels: _common_pb2.ChunkRef
    er_labels: _common_pb2.ChunkRef
    golgi_labels: _common_pb2.ChunkRef
    parts: _common_pb2.ArrayRef
    voxel_size_nm: _containers.RepeatedScalarFieldContainer[float]
    rules_json: str
    overlap_labels: _common_pb2.ChunkRef
    widened: float
    def __init__(self, task: _Optional[_Union[_common_pb2.TaskRef, _Mapping]] = ..., vesicle_labels: _Optional[_Union[_common_pb2.ChunkRef, _Mapping]] = ..., tubular_labels: _Optional[_Union[_common_pb2.ChunkRef, _Mapping]] = ..., er_labels: _Optional[_Union[_common_pb2.ChunkRef, _Mapping]] = ..., golgi_labels: _Optional[_Union[_common_pb2.ChunkRef, _Mapping]] = ..., parts: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., voxel_size_nm: _Optional[_Iterable[float]] = ..., rules_json: _Optional[str] = ..., overlap_labels: _Optional[_Union[_common_pb2.ChunkRef, _Mapping]] = ..., widened: _Optional[float] = ...) -> None: ...

class ClassifySitesRequest(_message.Message):
    __slots__ = ("task", "vesicle_objects", "tubular_objects", "parts", "blocks", "output", "voxel_size_nm", "rules_json", "volume_shape", "vesicle_profiles", "tubular_profiles", "region_parts")
    TASK_FIELD_NUMBER: _ClassVar[int]
    VESICLE_OBJECTS_FIELD_NUMBER: _ClassVar[int]
    TUBULAR_OBJECTS_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    VOXEL_SIZE_NM_FIELD_NUMBER: _ClassVar[int]
    RULES_JSON_FIELD_NUMBER: _ClassVar[int]
    VOLUME_SHAPE_FIELD_NUMBER: _ClassVar[int]
    VESICLE_PROFILES_FIELD_NUMBER: _ClassVar[int]
    TUBULAR_PROFILES_FIELD_NUMBER: _ClassVar[int]
    REGION_PARTS_FIELD_NUMBER: _ClassVar[int]
    task: _common_pb2.TaskRef
    vesicle_objects: _common_pb2.ArrayRef
    tubular_objects: _common_pb2.ArrayRef
    parts: _common_pb2.ArrayRef
    blocks: int
    output: _common_pb2.ArrayRef
    voxel_size_nm: _containers.RepeatedScalarFieldContainer[float]
    rules_json: str
    volume_shape: _containers.RepeatedScalarFieldContainer[int]
    vesicle_profiles: _common_pb2.ArrayRef
    tubular_profiles: _common_pb2.ArrayRef
    region_parts: _common_pb2.ArrayRef
    def __init__(self, task: _Optional[_Union[_common_pb2.TaskRef, _Mapping]] = ..., vesicle_objects: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., tubular_objects: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., parts: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., blocks: _Optional[int] = ..., output: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., voxel_size_nm: _Optional[_Iterable[float]] = ..., rules_json: _Optional[str] = ..., volume_shape: _Optional[_Iterable[int]] = ..., vesicle_profiles: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., tubular_profiles: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., region_parts: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ...) -> None: ...

class FindRegionsRequest(_message.Message):
    __slots__ = ("task", "vesicle_objects", "parts", "blocks", "output", "rules_json", "widened")
    TASK_FIELD_NUMBER: _ClassVar[int]
    VESICLE_OBJECTS_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    RULES_JSON_FIELD_NUMBER: _ClassVar[int]
    WIDENED_FIELD_NUMBER: _ClassVar[int]
    task: _common_pb2.TaskRef
    vesicle_objects: _common_pb2.ArrayRef
    parts: _common_pb2.ArrayRef
    blocks: int
    output: _common_pb2.ArrayRef
    rules_json: str
    widened: float
    def __init__(self, task: _Optional[_Union[_common_pb2.TaskRef, _Mapping]] = ..., vesicle_objects: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., parts: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., blocks: _Optional[int] = ..., output: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., rules_json: _Optional[str] = ..., widened: _Optional[float] = ...) -> None: ...

class MeasureRegionsRequest(_message.Message):
    __slots__ = ("task", "vesicle_labels", "regions", "parts", "voxel_size_nm", "rules_json", "widened")
    TASK_FIELD_NUMBER: _ClassVar[int]
    VESICLE_LABELS_FIELD_NUMBER: _ClassVar[int]
    REGIONS_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    VOXEL_SIZE_NM_FIELD_NUMBER: _ClassVar[int]
    RULES_JSON_FIELD_NUMBER: _ClassVar[int]
    WIDENED_FIELD_NUMBER: _ClassVar[int]
    task: _common_pb2.TaskRef
    vesicle_labels: _common_pb2.ChunkRef
    regions: _common_pb2.ArrayRef
    parts: _common_pb2.ArrayRef
    voxel_size_nm: _containers.RepeatedScalarFieldContainer[float]
    rules_json: str
    widened: float
    def __init__(self, task: _Optional[_Union[_common_pb2.TaskRef, _Mapping]] = ..., vesicle_labels: _Optional[_Union[_common_pb2.ChunkRef, _Mapping]] = ..., regions: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., parts: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., voxel_size_nm: _Optional[_Iterable[float]] = ..., rules_json: _Optional[str] = ..., widened: _Optional[float] = ...) -> None: ...

class SurveyBlockRequest(_message.Message):
    __slots__ = ("task", "er_labels", "tubular_labels", "vesicle_labels", "golgi_labels", "cell", "organelles", "sites", "parts", "voxel_size_nm", "rules_json", "volume_shape", "places", "seed")
    TASK_FIELD_NUMBER: _ClassVar[int]
    ER_LABELS_FIELD_NUMBER: _ClassVar[int]
    TUBULAR_LABELS_FIELD_NUMBER: _ClassVar[int]
    VESICLE_LABELS_FIELD_NUMBER: _ClassVar[int]
    GOLGI_LABELS_FIELD_NUMBER: _ClassVar[int]
    CELL_FIELD_NUMBER: _ClassVar[int]
    ORGANELLES_FIELD_NUMBER: _ClassVar[int]
    SITES_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    VOXEL_SIZE_NM_FIELD_NUMBER: _ClassVar[int]
    RULES_JSON_FIELD_NUMBER: _ClassVar[int]
    VOLUME_SHAPE_FIELD_NUMBER: _ClassVar[int]
    PLACES_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    task: _common_pb2.TaskRef
    er_labels: _common_pb2.ChunkRef
    tubular_labels: _common_pb2.ChunkRef
    vesicle_labels: _common_pb2.ChunkRef
    golgi_labels: _common_pb2.ChunkRef
    cell: _common_pb2.ChunkRef
    organelles: _common_pb2.ChunkRef
    sites: _common_pb2.ArrayRef
    parts: _common_pb2.ArrayRef
    voxel_size_nm: _containers.RepeatedScalarFieldContainer[float]
    rules_json: str
    volume_shape: _containers.RepeatedScalarFieldContainer[int]
    places: int
    seed: int
    def __init__(self, task: _Optional[_Union[_common_pb2.TaskRef, _Mapping]] = ..., er_labels: _Optional[_Union[_common_pb2.ChunkRef, _Mapping]] = ..., tubular_labels: _Optional[_Union[_common_pb2.ChunkRef, _Mapping]] = ..., vesicle_labels: _Optional[_Union[_common_pb2.ChunkRef, _Mapping]] = ..., golgi_labels: _Optional[_Union[_common_pb2.ChunkRef, _Mapping]] = ..., cell: _Optional[_Union[_common_pb2.ChunkRef, _Mapping]] = ..., organelles: _Optional[_Union[_common_pb2.ChunkRef, _Mapping]] = ..., sites: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., parts: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., voxel_size_nm: _Optional[_Iterable[float]] = ..., rules_json: _Optional[str] = ..., volume_shape: _Optional[_Iterable[int]] = ..., places: _Optional[int] = ..., seed: _Optional[int] = ...) -> None: ...

class SensitivityVariant(_message.Message):
    __slots__ = ("class_name", "factor", "threshold", "counts")
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    FACTOR_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    class_name: str
    factor: float
    threshold: float
    counts: _common_pb2.ArrayRef
    def __init__(self, class_name: _Optional[str] = ..., factor: _Optional[float] = ..., threshold: _Optional[float] = ..., counts: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ...) -> None: ...

class SummariseSitesRequest(_message.Message):
    __slots__ = ("task", "sites", "survey_parts", "measure_parts", "region_parts", "blocks", "voxel_size_nm", "volume_shape", "rules_json", "places", "seed", "relocations", "widened", "variants", "output", "cell_given")
    TASK_FIELD_NUMBER: _ClassVar[int]
    SITES_FIELD_NUMBER: _ClassVar[int]
    SURVEY_PARTS_FIELD_NUMBER: _ClassVar[int]
    MEASURE_PARTS_FIELD_NUMBER: _ClassVar[int]
    REGION_PARTS_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    VOXEL_SIZE_NM_FIELD_NUMBER: _ClassVar[int]
    VOLUME_SHAPE_FIELD_NUMBER: _ClassVar[int]
    RULES_JSON_FIELD_NUMBER: _ClassVar[int]
    PLACES_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    RELOCATIONS_FIELD_NUMBER: _ClassVar[int]
    WIDENED_FIELD_NUMBER: _ClassVar[int]
    VARIANTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    CELL_GIVEN_FIELD_NUMBER: _ClassVar[int]
    task: _common_pb2.TaskRef
    sites: _common_pb2.ArrayRef
    survey_parts: _common_pb2.ArrayRef
    measure_parts: _common_pb2.ArrayRef
    region_parts: _common_pb2.ArrayRef
    blocks: int
    voxel_size_nm: _containers.RepeatedScalarFieldContainer[float]
    volume_shape: _containers.RepeatedScalarFieldContainer[int]
    rules_json: str
    places: int
    seed: int
    relocations: int
    widened: float
    variants: _containers.RepeatedCompositeFieldContainer[SensitivityVariant]
    output: _common_pb2.ArrayRef
    cell_given: bool
    def __init__(self, task: _Optional[_Union[_common_pb2.TaskRef, _Mapping]] = ..., sites: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., survey_parts: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., measure_parts: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., region_parts: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., blocks: _Optional[int] = ..., voxel_size_nm: _Optional[_Iterable[float]] = ..., volume_shape: _Optional[_Iterable[int]] = ..., rules_json: _Optional[str] = ..., places: _Optional[int] = ..., seed: _Optional[int] = ..., relocations: _Optional[int] = ..., widened: _Optional[float] = ..., variants: _Optional[_Iterable[_Union[SensitivityVariant, _Mapping]]] = ..., output: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., cell_given: _Optional[bool] = ...) -> None: ...
