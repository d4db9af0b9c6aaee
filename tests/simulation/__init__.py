"""The simulation: the product's own core and daemons in virtual time, under random faults (README.md)."""
