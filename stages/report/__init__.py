"""Finding wrong labels: measured figures (bones, sides, reprojection, outlines, pictures), collected
from a store (scan, sampled), judged against thresholds (checks), written as a page and as metrics (run).
"""
