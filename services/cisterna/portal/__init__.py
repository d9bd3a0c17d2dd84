"""A read-only web page over the store: runs, their state and their reports."""
