"""``python -m pointmae_zoo.cli``, which ``torchrun`` and ``accelerate launch`` ask for."""

import sys

from pointmae_zoo.cli import main

sys.exit(main())
