"""From records to tables, figures and pages, through one DataFrame with a row per run (lrbench.report.frame)."""
