from cisterna.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DenoiseBlockRequest(_message.Message):
    __slots__ = ("task", "inputs", "output", "model", "intensity", "precision", "region_offset", "upsample")
    TASK_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    INTENSITY_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    REGION_OFFSET_FIELD_NUMBER: _ClassVar[int]
    UPSAMPLE_FIELD_NUMBER: _ClassVar[int]
    task: _common_pb2.TaskRef
    inputs: _containers.RepeatedCompositeFieldContainer[_common_pb2.ChunkRef]
    output: _common_pb2.ArrayRef
    model: _common_pb2.ModelRef
    intensity: _containers.RepeatedCompositeFieldContainer[_common_pb2.IntensityRange]
    precision: str
    region_offset: _containers.RepeatedScalarFieldContainer[int]
    upsample: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, task: _Optional[_Union[_common_pb2.TaskRef, _Mapping]] = ..., inputs: _Optional[_Iterable[_Union[_common_pb2.ChunkRef, _Mapping]]] = ..., output: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., model: _Optional[_Union[_common_pb2.ModelRef, _Mapping]] = ..., intensity: _Optional[_Iterable[_Union[_common_pb2.IntensityRange, _Mapping]]] = ..., precision: _Optional[str] = ..., region_offset: _Optional[_Iterable[int]] = ..., upsample: _Optional[_Iterable[float]] = ...) -> None: ...
