"""What writes numbers, plots and reports."""
