from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    OUTCOME_COMPUTED: _ClassVar[Outcome]
    OUTCOME_CACHED: _ClassVar[Outcome]
    OUTCOME_LOST_RACE: _ClassVar[Outcome]

class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REASON_UNSPECIFIED: _ClassVar[Reason]
    REASON_BAD_REQUEST: _ClassVar[Reason]
    REASON_MISSING_INPUT: _ClassVar[Reason]
    REASON_STAGE_VERSION: _ClassVar[Reason]
    REASON_MODEL_MISMATCH: _ClassVar[Reason]
    REASON_CORRUPT_CHUNK: _ClassVar[Reason]
    REASON_BUSY: _ClassVar[Reason]
    REASON_OUT_OF_MEMORY: _ClassVar[Reason]
    REASON_STORE_UNAVAILABLE: _ClassVar[Reason]
    REASON_TRITON_UNAVAILABLE: _ClassVar[Reason]
    REASON_GOING_AWAY: _ClassVar[Reason]
    REASON_STORE_FULL: _ClassVar[Reason]
    REASON_BAD_TOKEN: _ClassVar[Reason]
    REASON_INTERNAL: _ClassVar[Reason]
OUTCOME_UNSPECIFIED: Outcome
OUTCOME_COMPUTED: Outcome
OUTCOME_CACHED: Outcome
OUTCOME_LOST_RACE: Outcome
REASON_UNSPECIFIED: Reason
REASON_BAD_REQUEST: Reason
REASON_MISSING_INPUT: Reason
REASON_STAGE_VERSION: Reason
REASON_MODEL_MISMATCH: Reason
REASON_CORRUPT_CHUNK: Reason
REASON_BUSY: Reason
REASON_OUT_OF_MEMORY: Reason
REASON_STORE_UNAVAILABLE: Reason
REASON_TRITON_UNAVAILABLE: Reason
REASON_GOING_AWAY: Reason
REASON_STORE_FULL: Reason
REASON_BAD_TOKEN: Reason
REASON_INTERNAL: Reason

class Box(_message.Message):
    __slots__ = ("offset", "shape")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    offset: _containers.RepeatedScalarFieldContainer[int]
    shape: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, offset: _Optional[_Iterable[int]] = ..., shape: _Optional[_Iterable[int]] = ...) -> None: ...

class ArrayRef(_message.Message):
    __slots__ = ("path", "identity")
    PATH_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    path: str
    identity: str
    def __init__(self, path: _Optional[str] = ..., identity: _Optional[str] = ...) -> None: ...

class ChunkRef(_message.Message):
    __slots__ = ("array", "box", "halo")
    ARRAY_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    HALO_FIELD_NUMBER: _ClassVar[int]
    array: ArrayRef
    box: Box
    halo: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, array: _Optional[_Union[ArrayRef, _Mapping]] = ..., box: _Optional[_Union[Box, _Mapping]] = ..., halo: _Optional[_Iterable[int]] = ...) -> None: ...

class ModelRef(_message.Message):
    __slots__ = ("name", "digest")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    name: str
    digest: str
    def __init__(self, name: _Optional[str] = ..., digest: _Optional[str] = ...) -> None: ...

class TaskRef(_message.Message):
    __slots__ = ("stage", "stage_version", "stage_key", "block_index", "attempt")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    STAGE_VERSION_FIELD_NUMBER: _ClassVar[int]
    STAGE_KEY_FIELD_NUMBER: _ClassVar[int]
    BLOCK_INDEX_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    stage: str
    stage_version: int
    stage_key: str
    block_index: int
    attempt: int
    def __init__(self, stage: _Optional[str] = ..., stage_version: _Optional[int] = ..., stage_key: _Optional[str] = ..., block_index: _Optional[int] = ..., attempt: _Optional[int] = ...) -> None: ...

class TaskReply(_message.Message):
    __slots__ = ("outcome", "receipt_path", "worker", "read_s", "compute_s", "write_s", "voxels", "bytes_written")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_PATH_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    READ_S_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_S_FIELD_NUMBER: _ClassVar[int]
    WRITE_S_FIELD_NUMBER: _ClassVar[int]
    VOXELS_FIELD_NUMBER: _ClassVar[int]
    BYTES_WRITTEN_FIELD_NUMBER: _ClassVar[int]
    outcome: Outcome
    receipt_path: str
    worker: str
    read_s: float
    compute_s: float
    write_s: float
    voxels: int
    bytes_written: int
    def __init__(self, outcome: _Optional[_Union[Outcome, str]] = ..., receipt_path: _Optional[str] = ..., worker: _Optional[str] = ..., read_s: _Optional[float] = ..., compute_s: _Optional[float] = ..., write_s: _Optional[float] = ..., voxels: _Optional[int] = ..., bytes_written: _Optional[int] = ...) -> None: ...

class IntensityRange(_message.Message):
    __slots__ = ("low", "high", "invert")
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    INVERT_FIELD_NUMBER: _ClassVar[int]
    low: float
    high: float
    invert: bool
    def __init__(self, low: _Optional[float] = ..., high: _Optional[float] = ..., invert: _Optional[bool] = ...) -> None: ...

class DownsampleBlockRequest(_message.Message):
    __slots__ = ("task", "source", "target", "target_box", "factor", "mode")
    class Mode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        MODE_UNSPECIFIED: _ClassVar[DownsampleBlockRequest.Mode]
        MODE_MEAN: _ClassVar[DownsampleBlockRequest.Mode]
        MODE_NEAREST: _ClassVar[DownsampleBlockRequest.Mode]
    MODE_UNSPECIFIED: DownsampleBlockRequest.Mode
    MODE_MEAN: DownsampleBlockRequest.Mode
    MODE_NEAREST: DownsampleBlockRequest.Mode
    TASK_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    TARGET_BOX_FIELD_NUMBER: _ClassVar[int]
    FACTOR_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    task: TaskRef
    source: ArrayRef
    target: ArrayRef
    target_box: Box
    factor: _containers.RepeatedScalarFieldContainer[int]
    mode: DownsampleBlockRequest.Mode
    def __init__(self, task: _Optional[_Union[TaskRef, _Mapping]] = ..., source: _Optional[_Union[ArrayRef, _Mapping]] = ..., target: _Optional[_Union[ArrayRef, _Mapping]] = ..., target_box: _Optional[_Union[Box, _Mapping]] = ..., factor: _Optional[_Iterable[int]] = ..., mode: _Optional[_Union[DownsampleBlockRequest.Mode, str]] = ...) -> None: ...
