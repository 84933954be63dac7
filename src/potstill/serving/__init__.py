"""An HTTP service of a student, and the page that shows it beside its teacher."""
