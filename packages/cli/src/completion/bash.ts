import { type CommandNode, followedBy } from '../lib/command-tree.ts';
import { anyOf, quoteWord } from './quote-word.ts';

/** Makes a script for bash 3.2 and newer. */
export function bashScript(commands: readonly CommandNode[]): string {
  return `# Completion of countersign for bash: eval "$(countersign completion bash)"
_countersign() {
  local cur=\${COMP_WORDS[COMP_CWORD]} place=countersign word i IFS=$'\\n'
  local -a from
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$place \${COMP_WORDS[i]}" in
      ${anyOf(commands.slice(1))}) place+=" \${COMP_WORDS[i]}" ;;
    esac
  done
  COMPREPLY=()
  case "$place" in
${commands.map(caseOf).join('\n')}
  esac
  case "$place \${COMP_WORDS[COMP_CWORD-1]}" in
    ${anyOf(followedBy('text', commands))}) return ;;
    ${anyOf(followedBy('file', commands))})
      compopt -o filenames 2>/dev/null
      from=(-f) ;;
${followedBy('choice', commands)
  .map(({ place, choices }) => from(place, choices))
  .join('\n')}
  esac
  # Not COMPREPLY=($(…)): the name of a file may hold a *, which would match other files.
  while IFS= read -r word; do
    COMPREPLY+=("$word")
  done < <(compgen "\${from[@]}" -- "$cur")
}
complete -F _countersign countersign
`;
}

function caseOf({ place, words, options }: CommandNode): string {
  return from(place, [...words.map(({ name }) => name), ...options.flatMap(({ names }) => names)]);
}

function from(place: string, words: readonly string[]): string {
  return `    ${quoteWord(place)}) from=(-W $'${words.join('\\n')}') ;;`;
}
