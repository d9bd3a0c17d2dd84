"""Schemas of every table that Cisterna writes."""

from cisterna.tables.schema import Column, Table

__all__ = ["Column", "Table"]
