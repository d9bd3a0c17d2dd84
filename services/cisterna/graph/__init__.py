"""ER networks: masks to graphs, their figures, and junctions through time."""

from cisterna.graph.network import Network
from cisterna.graph.parameters import TracingParameters, TrackingParameters
from cisterna.graph.tracing import trace_network

__all__ = ["Network", "TracingParameters", "TrackingParameters", "trace_network"]
