"""How well a model predicts, and what simpler predictors make of the same text."""
