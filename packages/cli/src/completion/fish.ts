import type { CommandNode, Flag } from '../lib/command-tree.ts';

/** Makes a script for fish. */
export function fishScript(commands: readonly CommandNode[]): string {
  const places = commands.slice(1).map(({ place }) => quoted(place));
  return `# Completion of countersign for fish: countersign completion fish > ~/.config/fish/completions/countersign.fish
function __countersign_at
    set -l place countersign
    for word in (commandline -opc)[2..]
        switch "$place $word"
            case ${places.join(' ')}
                set place "$place $word"
        end
    end
    test "$place" = "$argv[1]"
end
complete -c countersign -e
complete -c countersign -f
${commands.flatMap(linesOf).join('\n')}
`;
}

function linesOf({ place, words, options }: CommandNode): string[] {
  const here = `complete -c countersign -n ${quoted(`__countersign_at "${place}"`)}`;
  return [
    ...words.map(({ name, description }) => `${here} -a ${name} -d ${quoted(description)}`),
    ...options.map((option) => `${here} ${namesOf(option)} -d ${quoted(option.description)}`),
  ];
}

function namesOf({ names, value, choices }: Flag): string {
  const kinds = {
    none: '',
    text: ' -x',
    file: ' -r -F',
    choice: ` -x -a ${quoted(choices.join(' '))}`,
  };
  const flags = names.map((name) =>
    name.startsWith('--') ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`,
  );
  return flags.join(' ') + kinds[value];
}

function quoted(text: string): string {
  return `'${text.replace(/[\\']/g, '\\$&')}'`;
}
