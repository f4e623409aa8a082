"""What `make soak` promises: all within an hour, and nothing skipped in silence."""

import re


def test_all_parts_of_the_soak_are_bounded_to_an_hour_together_and_may_skip_nothing(checkout):
    text = (checkout / "Makefile").read_text(encoding="utf-8")
    assert "\nsoak: export CI = true\n" in text
    recipe = text.split("\nsoak: $(READY)", 1)[1].split("\n\n", 1)[0].replace("\\\n", " ").splitlines()[1:]
    limits = [re.match(r"\ttimeout -k (\d+) (\d+) ", line) for line in recipe]
    assert all(limits), recipe
    assert sum(int(part) for limit in limits for part in limit.groups()) <= 3600


def test_the_soak_leaves_itself_time_to_end(checkout):
    text = (checkout / "Makefile").read_text(encoding="utf-8")
    minutes = int(re.search(r"^SOAK .*--minutes (\d+)", text, re.MULTILINE)[1])
    limit = int(re.search(r"timeout -k 30 (\d+) \S+ -m tests.soak.soak", text)[1])
    assert 60 * minutes <= limit
