"""A small local page that draws what a sentence says; its words can be painted.

Nothing that a person types, paints or shows is kept: a wish arrives in one request, and what was
drawn leaves with its answer. `serve` runs the page, `page` builds it, `gate` stands before it.
"""
