"""Finding wrong labels: what is measured (bones, sides, reprojection, outlines, pictures), over a
whole store (scan) and closely in a sample (closeup), judged against thresholds (checks, findings),
written as a page and as metrics (page, run).
"""
