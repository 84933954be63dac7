"""What a run leaves for people: the report page, the student's model card, and one picture of the results."""

from .card import model_card, write_card
from .page import render_report, write_report
from .picture import results_picture

__all__ = ["model_card", "render_report", "results_picture", "write_card", "write_report"]
