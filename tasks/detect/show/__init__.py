"""Reports: tables, figures, and a page that explains one picture step by step."""
