"""Conditions over many runs, for sites and for networks: the experiment is the unit, cells are nested in it."""
