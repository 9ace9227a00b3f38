"""Write docs/settings.md: ``python -m charlm.cli.settings_page > docs/settings.md``."""

from __future__ import annotations

from collections.abc import Iterator

from charlm.config import Section
from charlm.tasks import TASKS

_START = """\
# Settings

`python -m charlm.cli.settings_page > docs/settings.md` writes this page from the code.

Every setting can be given with `--set KEY=VALUE`, in a TOML file for `--config`, or in a preset.
Some also have an option of their own. Later sources win: the defaults, `--preset`, `--config`, the
options, `--set`. `charlm train` first plans settings for the text, the time and the machine.
`--dry-run` shows the values that a training would use.

A list is written with commas, such as `split=0.8,0.1,0.1`. A default in italics describes what
happens when the setting is `none`. The last column says whether `--resume` accepts another value.
"""
_HEAD = """
| setting | default | values | meaning | option | on resume |
| --- | --- | --- | --- | --- | --- |"""


def settings_page() -> str:
    """The text of docs/settings.md: one table for each section of each task."""
    lines = [_START]
    for task in TASKS.values():
        lines.append(f"## `{task.command} train`\n")
        for name, section in task.config_type.sections().items():
            lines += [f"### [{name}]", _HEAD, *_rows(section), ""]
    return "\n".join(lines)


def _rows(section: type[Section]) -> Iterator[str]:
    defaults = section.defaults()
    for key, about in section.settings().items():
        default, kind = defaults[key], section.type_of(key)[0]
        unset = default in (None, ()) and about.none_means is not None
        values = ", ".join(f"`{each}`" for each in about.choices or ()) or about.range or ""
        cells = (
            f"`{key}`",
            f"*{about.none_means}*" if unset else f"`{about.words(default)}`",
            "`true`, `false`" if kind is bool else values,
            about.help + ("" if unset or not about.none_means else f" `none`: {about.none_means}."),
            ", ".join(f"`{name}`" for each in about.option for name in each.split("/")),
            "can change" if about.resumable else "",
        )
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    print(settings_page(), end="")
