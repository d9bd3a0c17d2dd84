"""ER networks: masks to graphs, their figures, and junctions through time."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cisterna.graph.exports import write_vtk
    from cisterna.graph.network import Network
    from cisterna.graph.parameters import TracingParameters, TrackingParameters
    from cisterna.graph.tracing import trace_network

__all__ = ["Network", "TracingParameters", "TrackingParameters", "trace_network", "write_vtk"]

# Loaded when asked for: who only writes networks to files needs neither scipy nor a compiler.
_HOMES = {
    "Network": "network",
    "TracingParameters": "parameters",
    "TrackingParameters": "parameters",
    "trace_network": "tracing",
    "write_vtk": "exports",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__} has no attribute {name}")
