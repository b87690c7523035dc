import type { Command, Option } from 'commander';

/** A place in the tree of commands. */
export interface CommandPlace {
  /** `countersign keys rotate`. */
  readonly place: string;
  /** `--overlap`, `-h`. */
  readonly flags: readonly string[];
}

/** One command, as completions need it. */
export interface CommandNode {
  /** `countersign keys rotate`. */
  readonly place: string;
  /** What may follow: commands, or the values of an argument. */
  readonly words: readonly Word[];
  readonly options: readonly Flag[];
}

export interface Word {
  readonly name: string;
  readonly description: string;
}

export interface Flag {
  readonly names: readonly string[];
  readonly description: string;
  /** What follows it. */
  readonly value: 'none' | 'text' | 'file' | 'choice';
  readonly choices: readonly string[];
}

/** An option of one command, and the values that may follow it. */
interface Followed {
  /** `countersign callbacks list --state`. */
  readonly place: string;
  readonly choices: readonly string[];
}

/** All commands of a program, each before its subcommands. */
export function listCommands(program: Command): CommandNode[] {
  return listBelow(program, program.name());
}

/** All options that take this kind of value. */
export function followedBy(value: Flag['value'], commands: readonly CommandNode[]): Followed[] {
  return commands.flatMap(({ place, options }) =>
    options
      .filter((option) => option.value === value)
      .flatMap(({ names, choices }) =>
        names.map((name) => ({ place: `${place} ${name}`, choices })),
      ),
  );
}

/** The command that the first words of `argv` name. */
export function commandOf(program: Command, argv: readonly string[]): CommandPlace {
  let command = program;
  let place = program.name();
  for (const word of argv) {
    const next = command.commands.find((it) => it.name() === word);
    if (next === undefined) break;
    command = next;
    place += ` ${word}`;
  }
  const options = command.createHelp().visibleOptions(command);
  return { place, flags: options.flatMap((option) => flagOf(option).names) };
}

function listBelow(command: Command, place: string): CommandNode[] {
  const help = command.createHelp();
  const commands = help.visibleCommands(command);
  const words = commands.map((it) => ({ name: it.name(), description: it.description() }));
  const choices = command.registeredArguments.flatMap(({ argChoices = [] }) => argChoices);
  const node = {
    place,
    words: [...words, ...choices.map((name) => ({ name, description: '' }))],
    options: help.visibleOptions(command).map(flagOf),
  };
  return [node, ...commands.flatMap((it) => listBelow(it, `${place} ${it.name()}`))];
}

function flagOf(option: Option): Flag {
  const { short, long, description, argChoices: choices = [] } = option;
  return {
    names: [short, long].filter((name) => name !== undefined),
    description,
    value: followerOf(option),
    choices,
  };
}

function followerOf({ flags, required, argChoices }: Option): Flag['value'] {
  if (!required) return 'none';
  if (argChoices !== undefined) return 'choice';
  return flags.endsWith('<path>') ? 'file' : 'text';
}
