"""ER exit sites: objects from probabilities, exact surface distances, and the rules that classify them."""

from cisterna.eres.classify import classify_sites
from cisterna.eres.components import label_components
from cisterna.eres.rules import NAIR2025, Rules, find_rules
from cisterna.eres.sites import Sites
from cisterna.eres.splitting import NO_SPLITTING, SPLITTING, Splitting, split_touching

__all__ = [
    "NAIR2025",
    "NO_SPLITTING",
    "SPLITTING",
    "Rules",
    "Sites",
    "Splitting",
    "classify_sites",
    "find_rules",
    "label_components",
    "split_touching",
]
