"""Seam-free tiled inference: arrays in, arrays out. numpy; torch only where a torch module is adapted."""

from cisterna.tiles.infer import infer, infer_same, infer_valid, reflect_pad
from cisterna.tiles.plan import NetworkGeometry, Tile, choose_tile, plan_tiles, required_halo

__all__ = [
    "NetworkGeometry",
    "Tile",
    "choose_tile",
    "infer",
    "infer_same",
    "infer_valid",
    "plan_tiles",
    "reflect_pad",
    "required_halo",
]
