"""Looking at examples: which ones (selection), as arrays (examples), drawn (drawing, picture), in a
sheet with their poses (pose_plots, sheet), to a file or a window (run).
"""
