"`python -m animegan_nb` is the command `animegan`."
# Written by hand, like __init__.py: the other modules are generated from nbs/ by `make export`.
import sys

from animegan_nb.cli import main

if __name__ == '__main__':
    sys.exit(main())
