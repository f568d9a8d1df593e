"""A group of commands whose list says what each is for in a whole sentence."""

import click

_A_SENTENCE = 200  # longer than any first sentence of ours; click's own limit is what fits beside the name


class Group(click.Group):
    """Wraps the first sentence of each command's help instead of cutting it off."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, command.get_short_help_str(_A_SENTENCE)) for name, command in commands if command]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
