"""What people see: figures, tables, and a page that steps through one picture."""
