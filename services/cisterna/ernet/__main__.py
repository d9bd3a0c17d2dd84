"""`python -m cisterna.ernet`: the ERnet service."""

from .service import main

if __name__ == "__main__":
    raise SystemExit(main())
