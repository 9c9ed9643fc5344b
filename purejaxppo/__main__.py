"""`python -m purejaxppo`: the command line, where the script is not on the path."""

import sys

from purejaxppo.cli import main

sys.exit(main())
