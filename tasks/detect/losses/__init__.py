"""What the losses of all detectors share: matching and sampling of boxes, steps between boxes, sums of terms."""
