"""Data sets of rainy and rain-free pictures: layouts, pairs, and what is wrong in them."""
