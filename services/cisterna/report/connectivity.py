"""The connectivity graph at true coordinates, coloured by component; by degree it is `network_figure`.

Lu et al. 2023 name colours for degrees only. Components take the Okabe–Ito set, which stays apart for the common forms
of colour blindness; the largest is always blue, and all beyond the seventh share a grey.
"""

import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from cisterna.report.canvas import legend_below, new_figure
from cisterna.report.movie_figures import dress_field, edge_segments, field_size, node_area
from cisterna.report.palette import Swatch

COMPONENTS: tuple[Swatch, ...] = (
    Swatch("0", "largest", "#0072B2"),
    Swatch("1", "2nd", "#E69F00"),
    Swatch("2", "3rd", "#009E73"),
    Swatch("3", "4th", "#CC79A7"),
    Swatch("4", "5th", "#D55E00"),
    Swatch("5", "6th", "#56B4E9"),
    Swatch("6", "7th", "#B8A800"),
)
OTHERS = Swatch("others", "others", "#8B96A3")


def component_swatches(component: np.ndarray) -> np.ndarray:
    """Index into `COMPONENTS` for each component number (0 is the largest); -1 for what shares the grey."""
    component = np.asarray(component, dtype=np.int64)
    return np.where((component >= 0) & (component < len(COMPONENTS)), component, -1)


def component_figure(
    nodes: pd.DataFrame, edges: pd.DataFrame, size_um: tuple[float, float], pixel_um: tuple[float, float]
) -> Figure:
    """The network of one frame, edges along their traced path, everything in the colour of its component."""
    figure = new_figure(*field_size(size_um))
    axes = figure.subplots()
    of_node = component_swatches(nodes["component"].to_numpy())
    of_edge = component_swatches(edges["component"].to_numpy())
    for index in (*range(len(COMPONENTS)), -1):
        swatch = COMPONENTS[index] if index >= 0 else OTHERS
        own = nodes[of_node == index]
        lines = edge_segments(edges[of_edge == index])
        axes.add_collection(LineCollection(lines, colors=swatch.colour, linewidths=1.1, zorder=2))
        if len(own):
            words = swatch.label if index >= 0 else f"{own['component'].nunique()} {swatch.label}"
            axes.scatter(
                own["x_um"], own["y_um"], s=0.7 * node_area(len(nodes), size_um), c=swatch.colour, linewidths=0,
                zorder=3, label=f"{words} ({len(own)} node{'s' * (len(own) != 1)})",
            )  # fmt: skip
    dress_field(axes, nodes, edges, size_um, pixel_um)
    if len(nodes):
        legend_below(figure, axes, columns=4)
    return figure
