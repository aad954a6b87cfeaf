"""Models loaded, and run over token lists by length; no gradients and no declarations."""
