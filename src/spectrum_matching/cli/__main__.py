"""`python -m spectrum_matching.cli` is `specmatch`."""

from .main import main

if __name__ == "__main__":
    main()
