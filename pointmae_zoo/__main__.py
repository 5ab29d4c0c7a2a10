"""``python -m pointmae_zoo``: the command line, where no ``pointmae-zoo`` is on the path."""

import sys

from pointmae_zoo.cli import main

sys.exit(main())
