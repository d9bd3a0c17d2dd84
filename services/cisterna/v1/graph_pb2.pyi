from cisterna.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TraceStackRequest(_message.Message):
    __slots__ = ("task", "classes", "confidence", "raw", "parts", "voxel_size_um", "frame_interval_s", "tracing_json", "figures_json")
    TASK_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    RAW_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    VOXEL_SIZE_UM_FIELD_NUMBER: _ClassVar[int]
    FRAME_INTERVAL_S_FIELD_NUMBER: _ClassVar[int]
    TRACING_JSON_FIELD_NUMBER: _ClassVar[int]
    FIGURES_JSON_FIELD_NUMBER: _ClassVar[int]
    task: _common_pb2.TaskRef
    classes: _common_pb2.ChunkRef
    confidence: _common_pb2.ChunkRef
    raw: _common_pb2.ChunkRef
    parts: _common_pb2.ArrayRef
    voxel_size_um: _containers.RepeatedScalarFieldContainer[float]
    frame_interval_s: float
    tracing_json: str
    figures_json: str
    def __init__(self, task: _Optional[_Union[_common_pb2.TaskRef, _Mapping]] = ..., classes: _Optional[_Union[_common_pb2.ChunkRef, _Mapping]] = ..., confidence: _Optional[_Union[_common_pb2.ChunkRef, _Mapping]] = ..., raw: _Optional[_Union[_common_pb2.ChunkRef, _Mapping]] = ..., parts: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., voxel_size_um: _Optional[_Iterable[float]] = ..., frame_interval_s: _Optional[float] = ..., tracing_json: _Optional[str] = ..., figures_json: _Optional[str] = ...) -> None: ...

class SummariseStacksRequest(_message.Message):
    __slots__ = ("task", "parts", "blocks", "output")
    TASK_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    task: _common_pb2.TaskRef
    parts: _common_pb2.ArrayRef
    blocks: int
    output: _common_pb2.ArrayRef
    def __init__(self, task: _Optional[_Union[_common_pb2.TaskRef, _Mapping]] = ..., parts: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., blocks: _Optional[int] = ..., output: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ...) -> None: ...

class DrawStaticFrameRequest(_message.Message):
    __slots__ = ("task", "classes", "raw", "scene", "scene_box", "frames", "output")
    TASK_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    RAW_FIELD_NUMBER: _ClassVar[int]
    SCENE_FIELD_NUMBER: _ClassVar[int]
    SCENE_BOX_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    task: _common_pb2.TaskRef
    classes: _common_pb2.ChunkRef
    raw: _common_pb2.ChunkRef
    scene: _common_pb2.ArrayRef
    scene_box: _common_pb2.Box
    frames: int
    output: _common_pb2.ArrayRef
    def __init__(self, task: _Optional[_Union[_common_pb2.TaskRef, _Mapping]] = ..., classes: _Optional[_Union[_common_pb2.ChunkRef, _Mapping]] = ..., raw: _Optional[_Union[_common_pb2.ChunkRef, _Mapping]] = ..., scene: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., scene_box: _Optional[_Union[_common_pb2.Box, _Mapping]] = ..., frames: _Optional[int] = ..., output: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ...) -> None: ...

class TraceFramesRequest(_message.Message):
    __slots__ = ("task", "classes", "confidence", "raw", "parts", "pixel_size_um", "frame_interval_s", "tracing_json", "cells", "figures_json")
    TASK_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    RAW_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    PIXEL_SIZE_UM_FIELD_NUMBER: _ClassVar[int]
    FRAME_INTERVAL_S_FIELD_NUMBER: _ClassVar[int]
    TRACING_JSON_FIELD_NUMBER: _ClassVar[int]
    CELLS_FIELD_NUMBER: _ClassVar[int]
    FIGURES_JSON_FIELD_NUMBER: _ClassVar[int]
    task: _common_pb2.TaskRef
    classes: _common_pb2.ChunkRef
    confidence: _common_pb2.ChunkRef
    raw: _common_pb2.ChunkRef
    parts: _common_pb2.ArrayRef
    pixel_size_um: _containers.RepeatedScalarFieldContainer[float]
    frame_interval_s: float
    tracing_json: str
    cells: _common_pb2.ChunkRef
    figures_json: str
    def __init__(self, task: _Optional[_Union[_common_pb2.TaskRef, _Mapping]] = ..., classes: _Optional[_Union[_common_pb2.ChunkRef, _Mapping]] = ..., confidence: _Optional[_Union[_common_pb2.ChunkRef, _Mapping]] = ..., raw: _Optional[_Union[_common_pb2.ChunkRef, _Mapping]] = ..., parts: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., pixel_size_um: _Optional[_Iterable[float]] = ..., frame_interval_s: _Optional[float] = ..., tracing_json: _Optional[str] = ..., cells: _Optional[_Union[_common_pb2.ChunkRef, _Mapping]] = ..., figures_json: _Optional[str] = ...) -> None: ...

class SummariseMovieRequest(_message.Message):
    __slots__ = ("task", "parts", "blocks", "output", "pixel_size_um", "frame_interval_s", "tracking_json", "field_um", "note")
    TASK_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    PIXEL_SIZE_UM_FIELD_NUMBER: _ClassVar[int]
    FRAME_INTERVAL_S_FIELD_NUMBER: _ClassVar[int]
    TRACKING_JSON_FIELD_NUMBER: _ClassVar[int]
    FIELD_UM_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    task: _common_pb2.TaskRef
    parts: _common_pb2.ArrayRef
    blocks: int
    output: _common_pb2.ArrayRef
    pixel_size_um: _containers.RepeatedScalarFieldContainer[float]
    frame_interval_s: float
    tracking_json: str
    field_um: _containers.RepeatedScalarFieldContainer[float]
    note: str
    def __init__(self, task: _Optional[_Union[_common_pb2.TaskRef, _Mapping]] = ..., parts: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., blocks: _Optional[int] = ..., output: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., pixel_size_um: _Optional[_Iterable[float]] = ..., frame_interval_s: _Optional[float] = ..., tracking_json: _Optional[str] = ..., field_um: _Optional[_Iterable[float]] = ..., note: _Optional[str] = ...) -> None: ...
