"""What people say about site candidates: random blinded samples, and their decisions as a layer over the results."""

from cisterna.review.decisions import FORMS, Decision
from cisterna.review.layer import read_review, review_tables
from cisterna.review.sampling import Item, Sample, draw_sample

__all__ = ["FORMS", "Decision", "Item", "Sample", "draw_sample", "read_review", "review_tables"]
