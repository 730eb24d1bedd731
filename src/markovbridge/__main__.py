"""`python -m markovbridge` is the command line."""

import sys

from markovbridge.cli import main

sys.exit(main())
