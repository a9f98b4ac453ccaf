import io
import threading

import pytest
from report_worlds import outcome

from onnxbuild.execute.events import ActionFinished, ActionProgress, ActionStarted, Reason, RunStarted
from onnxbuild.report.progress.frame import Running, Screen, frame
from onnxbuild.report.progress.live import LiveView
from onnxbuild.report.wording import cells, cropped, shortened_id


class Terminal(io.StringIO):
    """Enough of a terminal to know what it shows: lines, a cursor, and the few sequences that the view uses."""

    encoding = "utf-8"
    columns, rows = 80, 24

    def __init__(self):
        super().__init__()
        self.lines, self.row, self.column, self.cursor = [""], 0, 0, True

    def isatty(self):
        return True

    def write(self, text):
        while text:
            if text.startswith("\x1b["):
                text = self._control(text[2:])
            else:
                self._character(text[0])
                text = text[1:]

    def reflow(self, columns):
        """Become narrower as terminals do: what no longer fits a row goes on in the next one."""
        rows = [
            [line[start : start + columns] for start in range(0, max(len(line), 1), columns)] for line in self.lines
        ]
        self.lines, self.columns = [row for wrapped in rows for row in wrapped], columns
        self.row, self.column = len(self.lines) - 1, len(self.lines[-1])

    def _control(self, text):
        end = next(n for n, c in enumerate(text) if c.isalpha())
        argument, name = text[:end], text[end]
        if name == "A":
            self.row -= int(argument)
        elif name == "K":
            assert argument == "2"
            self.lines[self.row] = ""
        elif argument == "?25":
            self.cursor = name == "h"
        else:
            assert name == "m", f"unknown sequence {argument}{name}"
        return text[end + 1 :]

    def _character(self, character):
        if character == "\r":
            self.column = 0
        elif character == "\n":
            self.row, self.column = self.row + 1, 0
            if self.row == len(self.lines):
                self.lines.append("")
        else:
            self.lines[self.row] = self.lines[self.row][: self.column] + character
            self.column += 1
            assert cells(self.lines[self.row]) <= self.columns, "a line is wider than the terminal"


class World:
    def __init__(self, *, colour=False, timer=False):
        self.terminal, self.now = Terminal(), 0.0
        self.live = LiveView(self.terminal, colour=colour, clock=lambda: self.now, size=self.size, timer=timer)

    def size(self):
        return self.terminal.columns, self.terminal.rows

    def screen(self):
        """What the terminal shows, without the empty rows below."""
        return "\n".join(line.rstrip() for line in self.terminal.lines).rstrip("\n")


def running_world(**options):
    world = World(**options)
    world.live.event(RunStarted(actions=("a:fetch", "a:export", "a:quantize", "a:validate"), jobs=2))
    world.live.event(ActionFinished(outcome=outcome("a:fetch", "hit")))
    world.live.event(ActionStarted(id="a:export", kind="export"))
    world.live.event(ActionStarted(id="a:quantize", kind="quantize"))
    world.live.event(ActionProgress(id="a:export", text="tracing", done=5, total=20))
    world.now = 3.0
    return world


def test_a_frame_shows_what_runs_for_how_long_how_far_and_what_is_left():
    world = running_world()
    world.live.draw()
    assert world.screen() == (
        "  a:export       3s  ━━━━╌╌╌╌╌╌╌╌╌╌╌╌  25%  tracing\n"
        "  a:quantize     3s\n"
        "  3s  1/4 done, 2 running, 1 left, 1 hit"
    )


def test_a_finished_action_scrolls_above_the_frame():
    world = running_world()
    world.live.draw()
    built = outcome("a:quantize", "built", seconds=3.0, reasons=(Reason("params.bits", 4, 8),))
    world.live.event(ActionFinished(outcome=built))
    world.live.draw()
    world.live.draw()
    assert world.screen() == (
        "built     a:quantize  3.0s\n"
        "          params.bits: 4 → 8\n"
        "  a:export     3s  ━━━━╌╌╌╌╌╌╌╌╌╌╌╌  25%  tracing\n"
        "  3s  2/4 done, 1 running, 1 left, 1 hit, 1 built"
    )


def test_close_takes_the_frame_away_and_gives_the_cursor_back():
    world = running_world()
    world.live.draw()
    assert not world.terminal.cursor
    world.live.close()
    world.live.close()
    world.live.draw()
    assert (world.screen(), world.terminal.cursor) == ("", True)


def test_colour_changes_no_word():
    plain, coloured = running_world(), running_world(colour=True)
    for world in (plain, coloured):
        world.live.draw()
        world.live.event(ActionFinished(outcome=outcome("a:export", "failed", seconds=1)))
        world.live.draw()
    assert coloured.screen() == plain.screen()


def test_a_frame_is_drawn_over_when_a_narrower_terminal_has_wrapped_it():
    world = running_world()
    world.live.draw()
    world.terminal.reflow(30)  # the three lines of 50, 19 and 40 cells now take 2, 1 and 2 rows
    assert len(world.terminal.lines) == 5
    world.live.draw()
    assert world.screen() == ("  a:export       3s  25%  tr…\n  a:quantize     3s\n  3s  1/4 done, 2 running, 1…")


def test_a_wider_terminal_gets_the_whole_frame():
    world = running_world()
    world.terminal.columns = 30
    world.live.draw()
    world.terminal.columns = 80
    world.live.draw()
    assert world.screen().splitlines()[-1] == "  3s  1/4 done, 2 running, 1 left, 1 hit"


def test_nothing_is_drawn_while_nothing_changes():
    world = running_world()
    world.live.draw()
    writes = []
    world.terminal.write = writes.append
    world.now = 3.9  # the view shows whole seconds
    world.live.draw()
    assert writes == []
    world.now = 4.0
    world.live.draw()
    assert len(writes) == 1


def test_a_long_detail_keeps_its_indentation_where_it_wraps():
    world = running_world()
    world.terminal.columns = 40
    facts = {"warnings": ["the attention of 12 layers did not fuse into one kernel"]}
    world.live.event(ActionFinished(outcome=outcome("a:quantize", "built", seconds=3.0, facts=facts)))
    assert world.screen().startswith(
        "built     a:quantize  3.0s\n"
        "          warning: the attention of 12\n"
        "          layers did not fuse into one\n"
        "          kernel\n"
        "  a:export     3s"
    )


def test_a_step_that_names_markup_is_shown_as_it_is():
    world = running_world()
    world.live.event(ActionProgress(id="a:export", text="layer [red]7[/red] :smile: /tmp"))
    world.live.draw()
    assert "layer [red]7[/red] :smile: /tmp" in world.screen()


def test_a_terminal_that_has_gone_ends_the_view_and_not_the_run():
    world = running_world()

    def gone(_text):
        raise BrokenPipeError

    world.terminal.write = gone
    world.now = 4.0
    world.live.draw()
    world.live.event(ActionFinished(outcome=outcome("a:export", "built")))
    world.live.close()


def test_the_timer_draws_by_itself_and_stops_at_close():
    world = World(timer=True)
    drawn = threading.Event()
    write = world.terminal.write

    def noticing(text):
        write(text)
        if "running" in text:
            drawn.set()

    world.terminal.write = noticing
    world.live.event(RunStarted(actions=("a:x",), jobs=1))
    assert drawn.wait(10)
    world.live.close()
    assert [t.name for t in threading.enumerate() if t.name == "live view"] == []


def plain(*args, **options):
    return [line.plain for line in frame(*args, **options)]


def test_no_line_is_wider_than_the_terminal():
    slow = Running(id="モデル/とても長い名前のターゲット:benchmark", since=0, text="x" * 200, done=1, total=3)
    for width in range(1, 130):
        lines = plain([slow], {"hit": 3}, 9, now=700, start=0, screen=Screen(width=width))
        assert max(map(cells, lines)) <= max(width - 1, 10)


def test_a_long_id_loses_its_middle_and_keeps_target_and_step():
    name = "a-rather-long-model-name-for-the-production-system/int8:quantize"
    slow = [Running(id=name, since=0), Running(id=name.partition("/")[0] + ":fetch", since=0)]
    lines = plain(slow, {}, 2, now=2, start=0, screen=Screen(width=80))
    assert lines[:2] == [
        "  a-rather-long-model-name…/int8:quantize     2s",
        "  a-rather-long-model-name-for-the…:fetch     2s",
    ]
    lines = plain(slow, {}, 2, now=2, start=0, screen=Screen(width=80, unicode=False))
    assert lines[0] == "  a-rather-long-model-nam../int8:quantize     2s"


@pytest.mark.parametrize(
    ("name", "width", "shown"),
    [
        ("m/int8:quantize", 15, "m/int8:quantize"),
        ("model/int8:quantize", 18, "mode…int8:quantize"),
        ("m/a-rather-long-name-of-a-target:validate", 20, "m…-a-target:validate"),
        ("a-long-model/a-long-target:validate", 20, "a-lo…target:validate"),
        ("a-long-model/a-long-target:validate", 10, "…:validate"),
        ("a-long-model/a-long-target:validate", 4, "…ate"),
        ("モデルモデル/o2:fetch", 16, "モデル…/o2:fetch"),
        ("a name without any mark", 10, "… any mark"),
    ],
)
def test_an_id_is_shortened_in_its_model_first(name, width, shown):
    assert shortened_id(name, width) == shown
    assert cells(shown) <= width


def test_more_than_fits_is_counted():
    many = [Running(id=f"m{n}:export", since=0) for n in range(40)]
    lines = plain(many, {}, 50, now=1, start=0, screen=Screen(height=8))
    assert lines[-2:] == ["  and 36 more", "  1s  0/50 done, 40 running, 10 left"]
    assert len(lines) == 6


def test_plain_characters_where_the_encoding_has_no_others():
    running = Running(id="a:x", since=0, done=1, total=2, text="half")
    lines = plain([running], {}, 1, now=0, start=0, screen=Screen(unicode=False))
    assert lines == ["  a:x     0s  ########........  50%  half", "  0s  0/1 done, 1 running, 0 left"]


def test_a_narrow_terminal_without_unicode_cuts_without_an_ellipsis():
    running = Running(id="a:x", since=0, text="a text that is far too long")
    lines = plain([running], {}, 1, now=0, start=0, screen=Screen(width=22, unicode=False))
    assert lines == ["  a:x     0s  a text ", "  0s  0/1 done, 1 run"]


def test_control_characters_of_a_step_do_not_reach_the_terminal():
    lines = plain([Running(id="a:x", since=0, text="a\nb\x1b[2Jc")], {}, 1, now=0, start=0, screen=Screen())
    assert lines[0] == "  a:x     0s  a b [2Jc"


def test_cropping_counts_cells():
    assert [cropped(text, 6) for text in ("abcdef", "abcdefg", "モデル", "モデル名")] == [
        "abcdef",
        "abcde…",
        "モデル",
        "モデ…",
    ]
