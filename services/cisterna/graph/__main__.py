"""`python -m cisterna.graph`: the ER network service."""

from cisterna.graph.service import main

if __name__ == "__main__":
    raise SystemExit(main())
