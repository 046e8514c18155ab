"""The rules of the supervision of IEDs, as a page: what each means, its clause, its remedy."""

from __future__ import annotations

from collections.abc import Iterator

from flows.ied_supervision.rule import UNTIL_GONE, Rule, all_rules, explanation

_OPENING = """# What the supervision of IEDs watches

This page is made of the rules' own docstrings: `make docs`. Each rule is one file in `rules/`. An anomaly's `kind` is
its rule's name; `evidence` says what was expected, what was seen, and in which messages. Any rule can be tuned, muted
or given another severity, by device and control block, in the settings:

```toml
[[ied_supervision.rules]]
kind = "SEQUENCE_GAP"      # patterns as of file names, as in all three
ied = "S01-*"
control_block = "*"
mute = false
severity = "INFO"
hold_seconds = 300
```

Three anomalies of one kind and control block that follow one another within five minutes and the rule's own
time are three; those that go on to follow are the third one's, which is raised again: its `message_count` goes on, its
`end_time` is taken back. Of those that are an ALARM by themselves, which may each be another attack, it is the tenth.
"""


def rules_page() -> str:
    """All rules in Markdown."""
    return "\n".join([_OPENING, *(part for rule in all_rules().values() for part in _section(rule))])


def rule_text(kind: str) -> str:
    """One rule in Markdown."""
    return "\n".join(_section(all_rules()[kind]))


def _section(rule: Rule) -> Iterator[str]:
    yield f"## {rule.kind}\n"
    yield explanation(rule.kind) + "\n"
    facts = [f"severity {rule.severity}"]
    seconds = rule.hold // 1_000_000
    if rule.hold == UNTIL_GONE:
        facts.append("until messages have said otherwise for 10 s")
    elif rule.returns:
        facts.append(f"the same one if it comes back within {seconds} s")
    else:
        facts.append(f"until {seconds} s without it")
    if rule.unit:
        facts.append(f"limit {rule.limit:g} {rule.unit}")
    yield f"*By default: {', '.join(facts)}.*\n"
