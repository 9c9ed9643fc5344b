"""Planning, compiling and running the programs of a study."""
