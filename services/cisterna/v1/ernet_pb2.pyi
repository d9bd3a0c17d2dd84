from cisterna.v1 import common_pb2 as _common_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SegmentFramesRequest(_message.Message):
    __slots__ = ("task", "input", "classes", "confidence", "model", "stack_min", "stack_max")
    TASK_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    STACK_MIN_FIELD_NUMBER: _ClassVar[int]
    STACK_MAX_FIELD_NUMBER: _ClassVar[int]
    task: _common_pb2.TaskRef
    input: _common_pb2.ChunkRef
    classes: _common_pb2.ArrayRef
    confidence: _common_pb2.ArrayRef
    model: _common_pb2.ModelRef
    stack_min: float
    stack_max: float
    def __init__(self, task: _Optional[_Union[_common_pb2.TaskRef, _Mapping]] = ..., input: _Optional[_Union[_common_pb2.ChunkRef, _Mapping]] = ..., classes: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., confidence: _Optional[_Union[_common_pb2.ArrayRef, _Mapping]] = ..., model: _Optional[_Union[_common_pb2.ModelRef, _Mapping]] = ..., stack_min: _Optional[float] = ..., stack_max: _Optional[float] = ...) -> None: ...
