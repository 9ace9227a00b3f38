"""Pictures of what was measured; they know numbers and names, no model and no run."""
