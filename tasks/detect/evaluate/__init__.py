"""How well detections agree with the truth: overlap, average precision."""
