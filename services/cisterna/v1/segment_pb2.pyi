from cisterna.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SegmentBlockRequest(_message.Message):
    __slots__ = ("task", "input", "output", "model", "intensity", "equalisation", "anchor", "equalised", "precision", "resample")
    TASK_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    INTENSITY_FIELD_NUMBER: _ClassVar[int]
    EQUALISATION_FIELD_NUMBER: _ClassVar[int]
    ANCHOR_FIELD_NUMBER: _ClassVar[int]
    EQUALISED_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    RESAMPLE_FIELD_NUMBER: _ClassVar[int]
    task: _common_pb2.TaskRef
    input: _common_pb2.ChunkRef
    output: _common_pb2.ArrayRef
    model: _common_pb2.ModelRef
    intensity: _common_pb2.IntensityRange
    equalisation: _common_pb2.ArrayRef
    anchor: _containers.RepeatedScalarFieldContainer[int]
    equalised: bool
    precision: str
    resample: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, task: _Optional[_Union[_common_pb2.TaskRef, _Mapping]] = ..., input: _Optional[_Union[_common_pb2.ChunkRef, _Mapping]] = ..., output: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., model: _Optional[_Union[_common_pb2.ModelRef, _Mapping]] = ..., intensity: _Optional[_Union[_common_pb2.IntensityRange, _Mapping]] = ..., equalisation: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., anchor: _Optional[_Iterable[int]] = ..., equalised: _Optional[bool] = ..., precision: _Optional[str] = ..., resample: _Optional[_Iterable[float]] = ...) -> None: ...
