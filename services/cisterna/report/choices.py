"""What a person may choose about an export, and what a part of one answers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cisterna.report.contents import Entry
from cisterna.report.neuroglancer import BASE_URL
from cisterna.report.source import RunSource

SITES_PER_CLASS = 60


@dataclass(frozen=True)
class Choices:
    """What a person may choose about an export."""

    base_url: str = BASE_URL
    at_site: int | None = None
    sites_per_class: int = SITES_PER_CLASS

    def checked(self, source: RunSource, parts: Sequence[str]) -> "Choices":
        """Raises ValueError for a site that is not there, or a choice that no part would heed."""
        if self.at_site is not None:
            if source.run.recipe != "fibsem" or not {"viewer", "meshes"} & set(parts):
                raise ValueError(
                    "--at-site opens the viewer of a fibsem run at a site: export the parts viewer, meshes"
                )
            known = source.rows("sites")["site_id"].tolist()
            if self.at_site not in known:
                span = f"1 to {max(known)}" if known else "none"
                raise ValueError(f"site {self.at_site} is not a site of run {source.run.run_id}; its sites: {span}")
        if self.sites_per_class < 1:
            raise ValueError(f"the contact sheet needs at least one site per class, got {self.sites_per_class}")
        return replace(self, base_url=self.base_url.rstrip("/"))


Written = tuple[list[Entry], list[str]]
"""What a part wrote, and what it could not because the run has it not."""
