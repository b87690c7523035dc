import type { CommandNode, Flag, Word } from '../command-tree.ts';
import { quoteWord } from './quote-word.ts';

/** A script for zsh: to be found through `$fpath`, or to be evaluated. */
export function zshScript(commands: readonly CommandNode[]): string {
  return `#compdef countersign
# Completion of countersign for zsh: countersign completion zsh > a folder of $fpath/_countersign
_countersign() {
  local place=countersign word
  local -a items flags
  for word in \${words[2,CURRENT-1]}; do
    case "$place $word" in
      (${either(commands.slice(1).map(({ place }) => place))}) place="$place $word" ;;
    esac
  done
  case "$place \${words[CURRENT-1]}" in
    (${either(withValue(commands, 'file'))}) _files; return ;;
    (${either(withValue(commands, 'text'))}) _message value; return ;;
  esac
  case $place in
${commands.map(caseOf).join('\n')}
  esac
  _describe -t commands command items
  _describe -o -t options option flags
}
if [[ \${funcstack[1]} == _countersign ]]; then
  _countersign "$@"
else
  compdef _countersign countersign
fi
`;
}

function caseOf({ place, words, options }: CommandNode): string {
  const flags = options.flatMap(({ names, description }) =>
    names.map((name) => ({ name, description })),
  );
  return `    (${quoteWord(place)}) items=(${list(words)}) flags=(${list(flags)}) ;;`;
}

/** `name:description`, as _describe wants them. */
function list(words: readonly Word[]): string {
  return words.map(({ name, description }) => quoteWord(`${name}:${description}`)).join(' ');
}

function withValue(commands: readonly CommandNode[], value: Flag['value']): string[] {
  return commands.flatMap(({ place, options }) =>
    options
      .filter((option) => option.value === value)
      .flatMap(({ names }) => names.map((name) => `${place} ${name}`)),
  );
}

function either(patterns: readonly string[]): string {
  return patterns.map(quoteWord).join(' | ');
}
