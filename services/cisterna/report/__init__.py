"""Reports and exports of a finished run: reads results, computes none of them."""
