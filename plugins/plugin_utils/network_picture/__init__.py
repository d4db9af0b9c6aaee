"""Draws the network of an inventory: what stands in it (model), where each part goes (plan), and the file (svg)."""
