"""`python -m lightcrcf`: the command line."""

from lightcrcf.cli.main import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
