"""Names and colours of what a report shows: one place, so that figures, swatches and viewers agree.

The six site classes use the Okabe–Ito set, which stays apart for the common forms of colour blindness; the network
and the ER classes keep the colours of Lu et al. 2023 (tubules cyan, sheets yellow, sheet-based tubules magenta;
degree 1 green, 2 light blue, 3 red, more than 3 dark blue).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Swatch:
    """A thing with a name in the tables, a name for readers, and a colour (#rrggbb)."""

    key: str
    label: str
    colour: str


SITE_CLASSES: tuple[Swatch, ...] = (
    Swatch("vesicular_standalone", "vesicular, stand-alone", "#D55E00"),
    Swatch("vesicular_mixed", "vesicular, mixed", "#CC5FA0"),
    Swatch("tubular_isolated", "tubular, isolated", "#0072B2"),
    Swatch("tubular_mixed", "tubular, mixed", "#009E73"),
    Swatch("dispersed", "dispersed", "#7F8793"),
    Swatch("golgi_associated", "Golgi-associated", "#E69F00"),
)
SITE_COLOURS: dict[str, str] = {swatch.key: swatch.colour for swatch in SITE_CLASSES}
VESICULAR_CLASSES = ("vesicular_standalone", "vesicular_mixed", "dispersed", "golgi_associated")
TUBULAR_CLASSES = ("tubular_isolated", "tubular_mixed")

ER_OUTLINE = Swatch("er", "ER outline", "#56D4F5")
CCV = Swatch("ccv", "clathrin-coated vesicle", "#F5F1E6")

# Index = class index in `ernet/classes` (published order: 0 background, 1 SBT, 2 tubule, 3 sheet).
NETWORK_CLASSES: tuple[Swatch, ...] = (
    Swatch("background", "background", "#000000"),
    Swatch("sbt", "sheet-based tubule", "#FF3DF5"),
    Swatch("tubule", "tubule", "#19E3E3"),
    Swatch("sheet", "sheet", "#FFE11A"),
)

DEGREES: tuple[Swatch, ...] = (
    Swatch("0", "degree 0", "#9AA1AB"),
    Swatch("1", "degree 1", "#1FA84A"),
    Swatch("2", "degree 2", "#5BC0EB"),
    Swatch("3", "degree 3", "#E02B2B"),
    Swatch("more", "degree > 3", "#17307F"),
)

INK = "#1d2733"
MUTED = "#5b6673"
RULE = "#d5dae0"
ACCENT = "#0b6070"
SECOND = "#c2571a"


def degree_colour(degree: int) -> str:
    """Colour of a node of this degree."""
    return DEGREES[min(max(int(degree), 0), 4)].colour
