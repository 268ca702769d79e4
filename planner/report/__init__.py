"""One self-contained page of a plan, its laws and its runs.

Rooms: `evidence` (what is at hand: plan, laws, runs, sweep), `place` (where a plan lies on its
surface), `lines` (laws against size), `loss` (contours, sliders, the predicted curve), `tables`
(plan, other laws, audit, provenance), `runs` (the table of runs), `sections` (what the page says,
in order), `parts` (what a section is made of), `page` (HTML of sections), `whole` (all of it). The
page's own files lie beside: `page.html.j2`, `page.css`, `page.js`.
"""
