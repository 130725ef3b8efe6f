"""A small local page, put together from the tabs that systems declare.

Nothing that a person types, paints or shows is kept: a request arrives whole, and what was drawn
leaves with its answer. `serve` runs the page, `tab` is what a system adds, `gate` stands before it.
"""
