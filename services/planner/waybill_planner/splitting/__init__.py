"""Splitting a goal into questions by the forms that people write goals in: deterministic, and without a model.

A form that nothing here knows stays as it is: one question too few reads better than one torn apart.
"""
