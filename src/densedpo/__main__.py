"""`python -m densedpo` is the same as `densedpo`."""

from densedpo.cli import main

main()
