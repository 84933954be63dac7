from potstill.pipeline.run import outcome


def test_a_teacher_that_finds_nothing_is_told_not_divided_by():
    found = {
        "retention": {"nDCG@10": {"value": None, "low": None, "high": None}},
        "systems": {"student": {"nDCG@10": 0.1}, "teacher": {"nDCG@10": 0.0}},
    }
    assert outcome(found) == "nDCG@10 0.1000, no retention: the teacher's is 0"
