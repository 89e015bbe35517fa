"""`python -m spectrum_matching` is `specmatch`."""

from .cli.main import main

if __name__ == "__main__":
    main()
