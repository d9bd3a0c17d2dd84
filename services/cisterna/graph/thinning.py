"""Medial lines of masks.

2-D: Guo & Hall 1989, algorithm A1, 64 pixels at a time: its rules are Boolean, so a row of the mask is a row of 64-bit
words and every operation judges 64 pixels. It gives the lines of `skimage.morphology.thin` in a tenth of its time.

3-D: layer by layer, eight subfields in turn (Bertrand & Aktouf 1994): voxels of one subfield do not touch, so all that
are simple (Malandain & Bertrand 1992) and do not end a line go at once, the topology stays and no side is favoured. A
voxel is judged again only when one beside it has gone, so the work grows with the surface, not with the volume.
scikit-image's 3-D thinning is not used: it deletes whole straight tubules (15 of 56 drawn ones).
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from cisterna.compiled import compiled

_OFFSETS_3D = list(itertools.product((-1, 0, 1), repeat=3))
_CENTRE = 13


def _adjacency(places: list[int], reach: int) -> NDArray[np.int64]:
    """For each of the 27 places a bit mask of those among `places` that touch it, by at most `reach` axis steps."""
    masks = np.zeros(27, np.int64)
    for a in places:
        for b in places:
            step = [abs(p - q) for p, q in zip(_OFFSETS_3D[a], _OFFSETS_3D[b], strict=True)]
            if a != b and max(step) == 1 and sum(step) <= reach:
                masks[a] |= 1 << b
    return masks


_ALL = [k for k in range(27) if k != _CENTRE]
_EIGHTEEN = [k for k in _ALL if sum(map(abs, _OFFSETS_3D[k])) <= 2]
_SIX_BITS = sum(1 << k for k in _ALL if sum(map(abs, _OFFSETS_3D[k])) == 1)
_EIGHTEEN_BITS = sum(1 << k for k in _EIGHTEEN)
_TOUCHING = _adjacency(_ALL, 3)
_FACING = _adjacency(_EIGHTEEN, 1)


def thin(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The medial line of a mask (y, x) or (z, y, x), one pixel wide, with the mask's parts and holes."""
    if mask.ndim == 2:
        return _thin_frame(mask)
    padded = np.pad(mask, 1).view(np.uint8)
    strides = np.array(padded.strides, np.int64)
    _peel(padded.ravel(), np.array(_OFFSETS_3D) @ strides, strides)
    return padded.view(bool)[1:-1, 1:-1, 1:-1]


def _thin_frame(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    height, width = mask.shape
    # One word beyond each end of a row and one row above and below are outside.
    bits = np.zeros((height + 2, 64 * (width // 64 + 3)), bool)
    bits[1:-1, 64 : 64 + width] = mask
    words = np.packbits(bits, axis=1, bitorder="little").view("<u8")
    _guo_hall(words)
    return np.unpackbits(words.view(np.uint8), axis=1, bitorder="little")[1:-1, 64 : 64 + width].view(bool)


@compiled
def _guo_hall(words: NDArray[np.uint64]) -> None:
    """Thins in place. Bit k of a word is the pixel k to the right of its first."""
    rows, columns = words.shape
    one, far = np.uint64(1), np.uint64(63)
    before = words.copy()
    busy = np.ones(rows, np.bool_)
    while True:
        changed = False
        touched = np.zeros(rows, np.bool_)
        for half in range(2):
            before[:] = words
            for y in range(1, rows - 1):
                if not (busy[y] or touched[y - 1] or touched[y] or touched[y + 1]):
                    continue
                for x in range(1, columns - 1):
                    here = before[y, x]
                    if here == 0:
                        continue
                    # Neighbours as Guo & Hall number them: 2 above, then clockwise to 9.
                    p2, p6 = before[y - 1, x], before[y + 1, x]
                    p4 = (here >> one) | (before[y, x + 1] << far)
                    p8 = (here << one) | (before[y, x - 1] >> far)
                    p3 = (p2 >> one) | (before[y - 1, x + 1] << far)
                    p9 = (p2 << one) | (before[y - 1, x - 1] >> far)
                    p5 = (p6 >> one) | (before[y + 1, x + 1] << far)
                    p7 = (p6 << one) | (before[y + 1, x - 1] >> far)
                    a, b = ~p2 & (p3 | p4), ~p4 & (p5 | p6)
                    c, d = ~p6 & (p7 | p8), ~p8 & (p9 | p2)
                    one_part = (a ^ b ^ c ^ d) & ~((a & b) | (c & d))
                    few = _two_or_three(p9 | p2, p3 | p4, p5 | p6, p7 | p8, p2 | p3, p4 | p5, p6 | p7, p8 | p9)
                    side = (p6 | p7 | ~p9) & p8 if half else (p2 | p3 | ~p5) & p4
                    left = here & ~(one_part & few & ~side)
                    if left != here:
                        words[y, x] = left
                        touched[y] = True
                        changed = True
        if not changed:
            return
        for y in range(1, rows - 1):
            busy[y] = touched[y - 1] or touched[y] or touched[y + 1]


@compiled
def _two_or_three(
    a: np.uint64, b: np.uint64, c: np.uint64, d: np.uint64, e: np.uint64, f: np.uint64, g: np.uint64, h: np.uint64
) -> np.uint64:
    """Where the smaller of the counts of a…d and of e…h is 2 or 3."""
    two = ((a & b) | (c & d) | ((a | b) & (c | d))) & ((e & f) | (g & h) | ((e | f) & (g | h)))
    return two & ~(a & b & c & d & e & f & g & h)


@compiled
def _peel(on: NDArray[np.uint8], around: NDArray[np.int64], strides: NDArray[np.int64]) -> None:
    """Thins in place. While it runs a set voxel holds 2 when it stands in the list of those to be judged next."""
    front = np.empty(1024, np.int64)
    count = 0
    for p in range(len(on)):
        if on[p] and _faces_outside(on, p, strides):
            if count == len(front):
                front = np.concatenate((front, np.empty(len(front), np.int64)))
            front[count] = p
            count += 1
    while count:
        later = np.empty(1024, np.int64)
        waiting = 0
        for field in range(8):
            for k in range(count):
                p = front[k]
                z, y, x = p // strides[0], p % strides[0] // strides[1], p % strides[1]
                if (z & 1) * 4 + (y & 1) * 2 + (x & 1) != field or not _goes(on, p, around):
                    continue
                on[p] = 0
                for step in around:
                    q = p + step
                    if on[q] == 1:
                        if waiting == len(later):
                            later = np.concatenate((later, np.empty(len(later), np.int64)))
                        later[waiting] = q
                        waiting += 1
                        on[q] = 2
        count = 0
        for k in range(waiting):
            p = later[k]
            if on[p]:
                on[p] = 1
                if _faces_outside(on, p, strides):
                    later[count] = p
                    count += 1
        front = later


@compiled
def _faces_outside(on: NDArray[np.uint8], p: int, strides: NDArray[np.int64]) -> bool:
    outside = False
    for step in strides:
        outside |= on[p - step] == 0 or on[p + step] == 0
    return outside


@compiled
def _goes(on: NDArray[np.uint8], p: int, around: NDArray[np.int64]) -> bool:
    code = 0
    for k in range(27):
        if k != _CENTRE and on[p + around[k]]:
            code |= 1 << k
    if code & (code - 1) == 0:
        return False  # no neighbour, or one: the end of a line
    if _grown(code & -code, code, _TOUCHING) != code:
        return False
    outside = ~code & _EIGHTEEN_BITS
    faces = outside & _SIX_BITS
    return faces != 0 and faces & ~_grown(faces & -faces, outside, _FACING) == 0


@compiled
def _grown(seed: int, allowed: int, adjacency: NDArray[np.int64]) -> int:
    """All places of `allowed` that the seed reaches, as a bit mask."""
    reached = seed
    fresh = seed
    while fresh:
        wider = 0
        for k in range(27):
            if fresh >> k & 1:
                wider |= adjacency[k]
        fresh = wider & allowed & ~reached
        reached |= fresh
    return reached
