"""From rainy pixels to clean ones: options, graph, engines, tiles, kinds of pixels."""
