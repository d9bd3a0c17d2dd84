"""`python -m cisterna.eres`: the exit-site service."""

from cisterna.eres.service import main

if __name__ == "__main__":
    raise SystemExit(main())
