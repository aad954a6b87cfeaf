"""Models loaded, and run over token lists by length. No gradients and no declarations."""
