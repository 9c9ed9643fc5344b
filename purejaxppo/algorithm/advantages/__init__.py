"""Advantage estimators and value targets."""
