"""`python -m purejaxppo`: the command line, where the script is not on the path."""

from purejaxppo.cli.entry_point import program

program()
