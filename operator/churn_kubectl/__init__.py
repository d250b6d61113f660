"""`kubectl churn`: what people ask of their ChurnModels, in words."""
