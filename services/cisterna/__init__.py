"""Cisterna: from microscope to ER exit sites and ER networks."""

__version__ = "0.1.0"
