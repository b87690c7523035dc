import { type CommandNode, followedBy, type Word } from '../lib/command-tree.ts';
import { anyOf, quoteWord } from './quote-word.ts';

/** Makes a script for zsh, which works through `$fpath` and through `eval`. */
export function zshScript(commands: readonly CommandNode[]): string {
  return `#compdef countersign
# Completion of countersign for zsh: countersign completion zsh > a folder of $fpath/_countersign
_countersign() {
  local place=countersign word
  local -a items flags
  for word in \${words[2,CURRENT-1]}; do
    case "$place $word" in
      (${anyOf(commands.slice(1))}) place="$place $word" ;;
    esac
  done
  case "$place \${words[CURRENT-1]}" in
    (${anyOf(followedBy('file', commands))}) _files; return ;;
    (${anyOf(followedBy('text', commands))}) _message value; return ;;
${followedBy('choice', commands)
  .map(
    ({ place, choices }) => `    (${quoteWord(place)}) compadd -- ${choices.join(' ')}; return ;;`,
  )
  .join('\n')}
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
